//! Layer 7: the sidecar, and what it shares with the agent.
//!
//! A request passes, in this order: `accept` (connections, PROXY headers, TLS), `gate` (framing),
//! `route` (host, path), `session` (the cookie or pin it brings), `pick` (a backend for those without),
//! `upstream` (connections to backends), `answer` (fields and cookie back). Pure: `cookie`, `fields`,
//! `gate::head`, `route`, `session`, `pick`.

pub mod cookie;
pub mod fields;
pub mod gate;
pub mod proxy_header;
pub mod session;
