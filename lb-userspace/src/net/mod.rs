//! The machine's network as the data path needs it: next hops of backends, and listener addresses.
//!
//! Owns everything that is asked of the kernel through route netlink and packet sockets. Never
//! touches BPF maps: what it finds goes out as facts.

pub mod addresses;
pub mod announce;
pub mod links;
pub mod neighbours;
pub mod present;
pub mod reach;
pub mod routes;
pub mod watch;

use std::io;

/// Requests to route netlink that are under way at once: one after another, thousands would take
/// seconds.
const AT_ONCE: usize = 64;

/// What goes wrong between the agent and route netlink.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a route netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel refused, or answered what was not asked.
    #[error("cannot {what}: {source}")]
    Request {
        /// The operation and its object, as in "add 192.0.2.1 to eth0".
        what: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// An interface of the configuration is not there.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The netlink connection ended.
    #[error("the route netlink connection ended")]
    Closed,
}

impl Error {
    /// For `map_err`: names the operation that `source` ended.
    fn request(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let what = what.into();
        move |source| Self::Request { what, source }
    }
}

/// A netlink handle for requests; its connection is a task of the present tokio runtime and ends
/// with the last clone of the handle.
pub fn connect() -> Result<rtnetlink::Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// The error number of a refused request, positive; `None` when it failed otherwise.
fn error_number(error: &rtnetlink::Error) -> Option<i32> {
    if let rtnetlink::Error::NetlinkError(message) = error {
        message.code.map(|code| code.get().abs())
    } else {
        None
    }
}
