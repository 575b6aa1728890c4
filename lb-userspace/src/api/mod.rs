//! The admin API: HTTP/1.1 with JSON on a Unix socket that only root may open.
//!
//! `wire` is what is said, `routes` turns requests into commands for the writer task, `server`
//! and `socket` hold the listening end, `client` the other one. Never touches maps or
//! configuration: what a command does is the writer's business.

pub mod client;
pub mod command;
pub mod convert;
mod crowd;
mod cursor;
pub mod prefix;
mod query;
mod room;
mod routes;
pub mod server;
mod socket;
#[cfg(test)]
mod tests;
pub mod wire;

pub use command::{Command, CommandError, Filter, Reply, SessionsQuery};
pub use cursor::encode as encode_cursor;
pub use prefix::Prefix;
pub use server::Server;
pub use socket::{BindError, open_private as open_socket};

/// Where the agent listens and the command line looks unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/holdfast/admin.sock";

/// Most sessions of one page: some hundred KiB.
pub const PAGE_MAX: usize = 1_000;

/// Sessions of a page when the request does not say.
pub const PAGE_DEFAULT: usize = 1_000;
