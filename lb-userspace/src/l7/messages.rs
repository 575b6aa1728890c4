//! What agent and sidecar say to each other.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{counts::Counts, seen::Seen, snapshot::Snapshot};

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first: how many workers there are. The socket at which the next agent will be waited for
    /// comes with it.
    Begin {
        /// Threads.
        workers: u16,
    },
    /// A listening socket comes with this, for one worker.
    Listen {
        /// Its address.
        address: SocketAddr,
        /// Whose it is.
        worker: u16,
    },
    /// The access log comes with this; without a descriptor there is none from now on.
    Log,
    /// Serve by this from now on.
    Serve {
        /// Counts snapshots.
        version: u64,
        /// What to serve by.
        snapshot: Box<Snapshot>,
    },
    /// Say what was counted.
    Count,
    /// From another agent, since the one before is gone: give it the sockets.
    HandOver,
    /// Take no new connections, finish what is under way, and end.
    Finish {
        /// What is not finished by then is cut off.
        within_ms: u64,
    },
}

/// From the sidecar.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// That snapshot is in force.
    Serving {
        /// Its number.
        version: u64,
    },
    /// It cannot be; the one before is.
    Refused {
        /// Its number.
        version: u64,
        /// Why.
        why: String,
    },
    /// A listening socket comes with this.
    Socket {
        /// Its address.
        address: SocketAddr,
    },
    /// That was the last.
    HandedOver,
    /// All that was counted since the sidecar began, by listener and backend.
    Counted(Box<Totals>),
}

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// By listener.
    pub listeners: BTreeMap<String, Counts>,
    /// By backend.
    pub backends: BTreeMap<String, BackendCounts>,
    /// Connections of clients that are open.
    pub connections: u64,
    /// Lines of the access log that could not be written.
    pub log_lost: u64,
}

/// What a backend's requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounts {
    /// Requests sent there.
    pub requests: u64,
    /// Requests under way.
    pub active: u64,
    /// Requests that got no answer there, by why.
    pub failed: BTreeMap<String, u64>,
    /// Sessions that began there.
    pub placed: u64,
    /// Sessions that are not over.
    #[serde(default)]
    pub seen: Seen,
    /// When the last of these ends if its client stays away: Unix time, seconds; 0: no session.
    pub last_ends: u64,
}
