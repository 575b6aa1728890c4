//! Layer 7: the sidecar, and what it shares with the agent.
//!
//! A request passes, in this order: `accept` (connections, PROXY headers, TLS), `gate` (framing),
//! `route` (host, path), `session` (the cookie or pin it brings), `pick` (a backend for those without),
//! `upstream` (connections to backends), `answer` (fields and cookie back). Pure: `cookie`, `fields`,
//! `gate::head`, `route`, `session`, `pick`, `seen`.

pub mod body;
pub mod channel;
pub mod cookie;
pub mod counts;
pub mod early;
pub mod fence;
pub mod fields;
pub mod flight;
pub mod gate;
pub mod io;
pub mod limits;
pub mod messages;
pub mod pick;
pub mod process;
pub mod progress;
pub mod proxy_header;
pub mod random;
pub mod route;
pub mod seen;
pub mod session;
pub mod snapshot;
pub mod timers;
pub mod tls;
pub mod upstream;
pub mod view;
pub mod wall;
pub mod worker;
