//! Cookies: what is in the fields, and what is sealed in the sidecar's own.
//!
//! Pure: no clock, no random source, no files. Times are arguments, in Unix time, with the unit in
//! their names. Random bytes come from the caller, as a function that fills a slice and cannot
//! fail: keys and nonces are made with it, so it has to be the system's source or one as good.
//!
//! `jar` finds cookies in requests and takes them out; `pin` is what a session's cookie says,
//! `seal` what of that a client sees, `ring` the keys; `set_cookie`, `rewrite` and `cache` are for
//! answers.

pub mod cache;
mod date;
pub mod jar;
pub mod pin;
pub mod rewrite;
pub mod ring;
#[cfg(test)]
pub(crate) mod samples;
pub mod seal;
pub mod set_cookie;
