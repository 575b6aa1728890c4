//! Header fields that a proxy takes out, sets or checks. Pure.
//!
//! In the order of use: `request` (HTTP/2 requests are checked as HTTP/1 ones are by the gate),
//! `authority` (the host to route by), `hop_by_hop`, `forwarded`, `via`, `request_id`.

pub mod authority;
pub mod forwarded;
pub mod hop_by_hop;
pub mod request;
pub mod request_id;
pub mod via;
