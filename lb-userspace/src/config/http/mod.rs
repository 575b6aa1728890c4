//! What layer 7 is configured with: the types.
//!
//! Owns their meaning. Reading them is the business of the modules below. They are serialised for one
//! reader, the sidecar: a child of the agent, and of its very program.

pub(super) mod cookie;
pub(super) mod host;
pub(super) mod listener;
pub(super) mod persistence;
pub(super) mod pool;
pub(super) mod sidecar;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Persistence, Prefix};

/// `[sidecar]`: the process that serves `http` and `https` listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Threads, each with its own listening sockets. Default: one a CPU. 1 to 256.
    pub workers: Option<u16>,
    /// The name of the user it runs as; never root. Default `nobody`.
    pub user: String,
    /// Where a line is written for each request. Default: nowhere.
    pub access_log: Option<AccessLog>,
    /// Whose `X-Forwarded-*`, `Forwarded` and PROXY headers are believed. Default: nobody's.
    pub trusted_proxies: Vec<Prefix>,
    /// How long a sidecar that is replaced or stopped has for what is under way. Default 30 s; 0
    /// to 1 h.
    pub drain: Duration,
    /// What clients may take.
    pub limits: HttpLimits,
}

/// `sidecar.access_log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The file, appended to; opened again on reload.
    pub path: PathBuf,
    /// Default `json`.
    pub format: LogFormat,
}

/// `sidecar.access_log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// An object a line.
    Json,
    /// Apache's combined format, with persistence, backend and times behind it.
    Combined,
}

impl LogFormat {
    /// Each with its word in the file.
    pub const WORDS: [(&'static str, Self); 2] =
        [("json", Self::Json), ("combined", Self::Combined)];
}

/// `[sidecar.limits]`: times are between 10 ms and 24 h; 0 only where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Bytes of a request's or an answer's head. Default 32 KiB; 1 KiB to 1 MiB.
    pub head_bytes: u32,
    /// Fields in a head. Default 100; 10 to 1,000.
    pub head_fields: u16,
    /// Bytes of a request's body; up to 1,024 TiB. Default 0: no bound.
    pub body_bytes: u64,
    /// From a request's first byte to the end of its head. Default 10 s.
    pub head_timeout: Duration,
    /// Between requests of a connection. Default 60 s.
    pub idle_timeout: Duration,
    /// Without a byte of a body, in either direction. Default 60 s.
    pub body_timeout: Duration,
    /// Until a backend has accepted a connection. Default 2 s.
    pub connect_timeout: Duration,
    /// From the end of a request to the first byte of its answer. Default 60 s.
    pub answer_timeout: Duration,
    /// A whole request. Default 0: no bound.
    pub total_timeout: Duration,
    /// Without a byte through a tunnel (an upgraded connection). Default 1 h; 0: no bound.
    pub tunnel_timeout: Duration,
    /// Connections of clients. Default 50,000; 1 to 10,000,000.
    pub connections: u32,
    /// Connections of each client address. Default 1,000; 1 to 10,000,000.
    pub client_connections: u32,
    /// Streams of an HTTP/2 connection at a time. Default 100; 1 to 10,000.
    pub streams: u32,
    /// Streams of an HTTP/2 connection that its client has reset and that are not done with.
    /// Default 20; 1 to 10,000.
    pub resets: u32,
}

/// `[[listener]]` with protocol `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpListener {
    /// Unique among all listeners; `[A-Za-z0-9._-]`, 1 to 63 characters.
    pub name: String,
    /// Address and port that clients use; unique among `tcp`, `http` and `https`.
    pub address: SocketAddr,
    /// `https`: its certificates, the first for names that none has. Empty: `http`.
    pub certificates: Vec<Certificate>,
    /// `http` only: every request is answered with a redirect to https, at this port. Then there
    /// are no rules.
    pub https_redirect: Option<u16>,
    /// Connections begin with a PROXY header (v1 or v2); others are refused. Needs
    /// `sidecar.trusted_proxies`.
    pub accept_proxy: bool,
    /// What requests are told apart by, in the order of the file; last the listener's own `pool`,
    /// if it has one, for any host and path. No two have the same host and path.
    pub rules: Vec<HttpRule>,
}

/// A certificate of `listener.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the chain, leaf first. Absolute.
    pub chain: PathBuf,
    /// PEM: its private key. Absolute.
    pub key: PathBuf,
}

/// `[[listener.rule]]`, or the listener's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRule {
    /// The host of requests.
    pub host: HostPattern,
    /// Begin of the path, whole segments: `/api` is `/api` and `/api/x`, not `/apis`. It ends in
    /// `/` only where it is that alone, has no empty, `.` or `..` segments, and is compared as it
    /// is written. Default `/`.
    pub path: String,
    /// Index into [`super::Config::pools`].
    pub pool: usize,
    /// How its sessions are kept. A rule without the key has the listener's.
    pub persistence: Option<HttpPersistence>,
}

/// `rule.host`: lower case, no port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPattern {
    /// Any, also none. No `host` key.
    Any,
    /// That name.
    Exact(String),
    /// `*.example.com` is kept as `example.com`: any name that ends in a dot and this.
    Below(String),
}

/// `persistence` of an `http` or `https` listener or rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPersistence {
    /// By what.
    pub mode: HttpMode,
    /// A field of answers that says what happened (C14), with no other meaning. Key `header`.
    /// Default none.
    pub header: Option<String>,
}

/// `persistence.mode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpMode {
    /// `cookie-insert`: a cookie of the sidecar's own (C1).
    Insert(CookieInsert),
    /// `cookie-rewrite`: the named cookie of the backend's (C2). Key `cookie`, required.
    Rewrite {
        /// Its name.
        cookie: String,
    },
    /// `source-ip`: by the client's address, as at layer 4, in the same tables; a `group` may have
    /// listeners of both layers.
    SourceIp(Persistence),
}

/// `persistence` with `mode = "cookie-insert"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieInsert {
    /// Its name, a token (RFC 6265, 4.1.1), up to 128 characters; `__Host-` and `__Secure-` demand
    /// their attributes (RFC 6265bis, 4.1.3). Default `SERVERID`.
    pub cookie: String,
    /// Idle time; whole seconds, 1 to 86,400 (C1, C7). Required. 0: no persistence.
    pub timeout: Duration,
    /// Bound on a session's whole life; whole seconds, `timeout` to 30 days. Default none.
    pub max_lifetime: Option<Duration>,
    /// What else the cookie says to browsers (C9).
    pub attributes: CookieAttributes,
    /// Also on 4xx and 5xx (C4). Default false.
    pub insert_on_error: bool,
    /// How long the choice for a client address without a cookie is remembered (C12). Default 2 s;
    /// 0 to 60 s; 0: not at all.
    pub first_flight: Duration,
}

/// Attributes of a cookie (RFC 6265; Partitioned: CHIPS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieAttributes {
    /// `Path`. Default: the rule's own path, so that cookies of rules with different pools do not
    /// replace one another; `/` for a name with `__Host-`.
    pub path: String,
    /// `Domain`: the rule's host, or a name above it. Default none: the host alone.
    pub domain: Option<String>,
    /// `HttpOnly`. Default true.
    pub http_only: bool,
    /// `Secure`. Default: on `https` listeners. `SameSite=None` and `Partitioned` need it.
    pub secure: bool,
    /// `SameSite`. Default `lax`.
    pub same_site: SameSite,
    /// `Partitioned`. Default false.
    pub partitioned: bool,
}

/// `persistence.same_site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    /// `Lax`.
    Lax,
    /// `Strict`.
    Strict,
    /// `None`.
    None,
}

impl SameSite {
    /// Each with its word in the file.
    pub const WORDS: [(&'static str, Self); 3] =
        [("lax", Self::Lax), ("strict", Self::Strict), ("none", Self::None)];
}

/// `[pool.http]`: how a pool serves `http` and `https` listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolHttp {
    /// `version`. Default 1.1.
    pub version: HttpVersion,
    /// How a backend is chosen for a new session. Default `round-robin`.
    pub scheduler: HttpScheduler,
    /// Backends speak TLS. Default no.
    pub tls: Option<BackendTls>,
    /// `send_proxy`: each connection begins with a PROXY header of this version, 1 or 2; it is then
    /// one client's. Default none.
    pub send_proxy: Option<ProxyVersion>,
    /// Connections to each backend, of all workers. Default 1,000; 1 to 100,000.
    pub connections: u32,
    /// Requests that may wait for one of them, for each backend. Default 100; 0 to 100,000.
    pub queue: u32,
    /// How long one waits. Default 5 s; 10 ms to 1 min.
    pub queue_timeout: Duration,
    /// Retries, as a share of requests in percent. Default 20; 0 to 100. Requests that were
    /// certainly not processed do not count.
    pub retry_percent: u8,
}

/// `pool.http.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1. `"1.1"`.
    One,
    /// HTTP/2; without TLS by prior knowledge. `"2"`.
    Two,
}

impl HttpVersion {
    /// Each with its word in the file.
    pub const WORDS: [(&'static str, Self); 2] = [("1.1", Self::One), ("2", Self::Two)];
}

/// `pool.http.scheduler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpScheduler {
    /// Each in its turn, by weight.
    RoundRobin,
    /// The less loaded of two drawn at random.
    LeastRequests,
    /// By the hash of the client's address.
    Hash,
}

impl HttpScheduler {
    /// Each with its word in the file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("round-robin", Self::RoundRobin),
        ("least-requests", Self::LeastRequests),
        ("hash", Self::Hash),
    ];
}

/// `pool.http.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTls {
    /// The name or address that backends' certificates must have; a name is what they are asked
    /// for. Required unless `verify = false`.
    pub name: Option<String>,
    /// PEM: who may sign them; not with `verify = false`. Default: the system's.
    pub ca: Option<PathBuf>,
    /// False: any certificate is taken. Default true.
    pub verify: bool,
}

/// `pool.http.send_proxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}
