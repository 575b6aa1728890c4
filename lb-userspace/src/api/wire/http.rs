//! Layer 7 in the status.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::Persistence;

/// Layer 7. It counts from when this agent started, whatever sidecars there were; as of a second ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// The process that serves it.
    pub sidecar: Sidecar,
    /// In the order of the configuration.
    pub listeners: Vec<HttpListener>,
    /// Of pools that serve it, in the order of the configuration.
    pub backends: Vec<HttpBackend>,
}

/// The sidecar's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Null: none runs at the moment.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When it started, RFC 3339 in UTC.
    #[serde(default)]
    pub since: Option<String>,
    /// How long ago that was.
    #[serde(default)]
    pub uptime_s: Option<u64>,
    /// How often another was started since one ended by itself.
    pub crashes: u64,
    /// Sidecars before this one that finish what they have.
    pub finishing: u64,
    /// What is wrong; null: nothing.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Connections of clients that are open.
    pub connections: u64,
    /// Lines of the access log that could not be written.
    pub log_lost: u64,
}

/// A listener of layer 7.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpListener {
    /// Its name.
    pub name: String,
    /// `http` or `https`.
    pub protocol: String,
    /// Where clients come to.
    pub address: SocketAddr,
    /// Every request is answered with a redirect to https, at this port; null: it has rules.
    #[serde(default)]
    pub https_redirect: Option<u16>,
    /// What requests are told apart by. The last may be the listener's own `pool`.
    pub rules: Vec<HttpRule>,
    /// Connections of clients.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
    /// Answers by the class of their status, `1xx` to `5xx`.
    pub answers: BTreeMap<String, u64>,
    /// Requests by what became of their session: `hit`, `new`, `expired`, `forged`, `drained` or
    /// `down`.
    pub verdicts: BTreeMap<String, u64>,
    /// Requests that were refused or got no answer of a backend, by why.
    pub refused: BTreeMap<String, u64>,
    /// Requests that were sent to a backend once more.
    pub retries: u64,
    /// Connections that became another protocol's.
    pub tunnels: u64,
}

/// A rule of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRule {
    /// Null: any.
    #[serde(default)]
    pub host: Option<String>,
    /// Begin of the path.
    pub path: String,
    /// Name of its pool.
    pub pool: String,
    /// Null: each request is balanced by itself.
    #[serde(default)]
    pub persistence: Option<HttpPersistence>,
}

/// How a rule keeps its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPersistence {
    /// `cookie-insert`, `cookie-rewrite` or `source-ip`.
    pub mode: String,
    /// Name of the cookie; null: `source-ip`.
    #[serde(default)]
    pub cookie: Option<String>,
    /// `cookie-insert`: a session is over when its last request was so long ago.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// `cookie-insert`: bound on a session's whole life.
    #[serde(default)]
    pub max_lifetime_s: Option<u64>,
    /// `source-ip`: as at layer 4.
    #[serde(default)]
    pub by_address: Option<Persistence>,
}

/// A backend's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpBackend {
    /// Its name.
    pub name: String,
    /// Name of its pool.
    pub pool: String,
    /// Requests sent to it.
    pub requests: u64,
    /// Requests under way.
    pub active: u64,
    /// Requests that got no answer there, by why.
    pub failed: BTreeMap<String, u64>,
    /// Sessions that began there, or moved there.
    pub placed: u64,
    /// Sessions that were seen within their idle time, about: give or take 7 %, and a quarter of the
    /// idle time. Of a backend's own cookies, that were seen within half an hour.
    pub sessions: u64,
    /// When the last of its sessions that a cookie of the sidecar's own holds ends at the latest if no
    /// client comes back, Unix time in seconds; null: it has none.
    #[serde(default)]
    pub last_ends: Option<u64>,
    /// How long that is from now.
    #[serde(default)]
    pub last_ends_in_s: Option<u64>,
    /// It may have sessions that end when its own cookies do, which only it and browsers know.
    #[serde(default)]
    pub own_cookies: bool,
}
