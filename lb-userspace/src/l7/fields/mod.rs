//! stub
pub mod authority;
