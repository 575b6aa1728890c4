//! Sessions as a browser has them: Chromium, driven by `WebDriver`, on an HTTP and an HTTPS listener.

mod driver;
mod images;
mod leave;
mod session;
mod shop;
