//! Layer 7: the sidecar, and what it shares with the agent.
//!
//! A request passes, in this order: `accept` (connections, PROXY headers, TLS), `gate` (framing),
//! `route` (host, path), `session` (the cookie or pin it brings), `pick` (a backend for those without),
//! `upstream` (connections to backends), `answer` (fields and cookie back). Pure: `cookie`, `fields`,
//! `gate::head`, `route`, `session`, `pick`.

mod body;
pub mod channel;
pub mod cookie;
mod counts;
mod early;
mod fence;
pub mod fields;
mod flight;
pub mod gate;
mod io;
mod limits;
pub mod messages;
mod pick;
pub mod process;
mod progress;
pub mod proxy_header;
mod route;
pub mod session;
pub mod snapshot;
mod timers;
pub mod tls;
mod upstream;
pub mod view;
mod worker;
