//! The configuration: what the file says, checked, in types that cannot hold nonsense.
//!
//! Owns reading and checking. Never touches the kernel: what only the machine can refuse (an
//! interface that is not there, a privilege that is missing) is `preflight`'s business.

mod address;
mod agent;
mod check;
mod error;
mod flood;
mod group;
pub mod http;
mod listener;
mod load;
mod place;
mod pool;
mod raw;
mod size;
mod source_ip;
#[cfg(test)]
mod tests;
mod tunnel;
mod value;

pub use error::{ConfigError, ConfigErrors, Position};
pub use load::{load, parse};
pub use place::{Step, placed};

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A whole configuration, valid by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The agent's own settings.
    pub agent: Agent,
    /// Sizes of the instance, fixed while it is attached.
    pub limits: Limits,
    /// How many new flows are made.
    pub flood: Flood,
    /// Pools, in the order of the file, names unique.
    pub pools: Vec<Pool>,
    /// Layer-4 listeners, in the order of the file, names and addresses unique.
    pub listeners: Vec<Listener>,
    /// The process that serves those of layer 7.
    pub sidecar: http::Sidecar,
    /// Layer-7 listeners, in the order of the file.
    pub http_listeners: Vec<http::HttpListener>,
}

impl Config {
    /// Do only layer-7 listeners use the pool of that index? Then its backends may be anywhere that
    /// this machine's own connections reach.
    #[must_use]
    pub fn serves_requests_only(&self, pool: usize) -> bool {
        let mut rules = self.http_listeners.iter().flat_map(|listener| &listener.rules);
        rules.any(|rule| rule.pool == pool)
            && !self.listeners.iter().any(|listener| listener.pool == pool)
    }
}

/// `[agent]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Interfaces that the XDP program is attached to; at least one, no duplicates.
    pub interfaces: Vec<String>,
    /// How it is attached. Default `auto`.
    pub xdp_mode: XdpMode,
    /// The admin API's Unix socket. Default `/run/holdfast/admin.sock`.
    pub admin: PathBuf,
    /// The instance's directory in bpffs. Default `/sys/fs/bpf/holdfast`.
    pub bpffs: PathBuf,
    /// What outlives a reboot: secret seed, operator intent, lock. Default `/var/lib/holdfast`.
    pub state: PathBuf,
    /// Put listener addresses on the interface and take them off again. Default true.
    pub manage_addresses: bool,
    /// Answer echo requests to listener addresses in the data path. Default true; else they are
    /// the kernel's.
    pub echo: bool,
    /// Log the data path's debug events (aya-log). Default false: no cost.
    pub packet_events: bool,
    /// When an idle flow is forgotten.
    pub flow_timeouts: FlowTimeouts,
}

/// `agent.xdp_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic.
    Auto,
    /// In the driver; an error where the driver cannot.
    Native,
    /// On socket buffers: any interface, slower.
    Generic,
}

/// `[agent.flow_timeouts]`: idle times, one second to seven days each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// TCP, handshake seen from both sides. Default 2 h 4 min (RFC 5382, REQ-5).
    pub tcp_established: Duration,
    /// TCP before that, and half-closed. Default 4 min (RFC 5382, REQ-5).
    pub tcp_transitory: Duration,
    /// TCP closed by the backend first, whose end then waits in TIME-WAIT. Default 60 s.
    pub tcp_time_wait: Duration,
    /// UDP. Default 5 min (RFC 4787, REQ-5).
    pub udp: Duration,
}

/// `[limits]`: map capacities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pins held. Default 1,000,000; 1,024 to 100,000,000.
    pub pins: u32,
    /// Flows held. Default 1,000,000; 1,024 to 32,000,000.
    pub flows: u32,
    /// Listeners, of both layers. Default 512; 1 to 32,767.
    pub listeners: u32,
    /// Backends over all pools. Default 4,096; 1 to 65,535.
    pub backends: u32,
    /// Pools. Default 64; 1 to 4,096.
    pub pools: u32,
    /// Slots of each pool's Maglev table. Default 65,537; a prime from 251 to 5,000,011.
    pub maglev_slots: u32,
}

/// `[flood]`: how many new flows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// Of all clients without a pin, and as many of all with one. Default 100,000; 1 to
    /// 10,000,000.
    pub flows_per_second: u32,
    /// Of each network without pins, and of each client with one. Default 5,000; 1 to 10,000,000.
    pub network_flows_per_second: u32,
    /// Bits of an IPv4 address that make its network. Default 24; 1 to 32.
    pub network_v4: u8,
    /// Bits of an IPv6 address that make its network. Default 56; 1 to 128.
    pub network_v6: u8,
}

/// `[[pool]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Unique among pools; `[A-Za-z0-9._-]`, 1 to 63 characters.
    pub name: String,
    /// Forwarding mode. Default `nat`.
    pub forward: Forward,
    /// What a down or removed backend's running flows get. Default `reset`.
    pub on_down: OnDown,
    /// How a backend is chosen where no pin says it. Default `maglev`.
    pub scheduler: Scheduler,
    /// How long a backend that comes to the others takes to get all of its weight; zero, the
    /// default: no time. 1 s to 1 h.
    pub slow_start: Duration,
    /// Source addresses for `nat`, of the backends' family; empty: the one that the route to the
    /// backend prefers.
    pub nat_sources: Vec<IpAddr>,
    /// How backends are probed. Default: not at all, always healthy.
    pub health: Option<Health>,
    /// How it serves layer-7 listeners.
    pub http: http::PoolHttp,
    /// At least one; names unique over all pools, addresses within the pool; one address family.
    pub backends: Vec<Backend>,
}

/// `pool.forward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Full NAT: both addresses rewritten, replies come back through here.
    Nat,
    /// Direct server return: only the destination MAC is rewritten.
    Dsr,
    /// Packets go into another, to backends that may be anywhere and answer clients themselves.
    Tunnel(Tunnel),
}

impl Forward {
    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Tunnel(_) => "tunnel",
        }
    }
}

/// `pool.tunnel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// What packets go into. Default `ipip`.
    pub kind: TunnelKind,
    /// Outer source addresses: a prefix, of which each flow uses one address. Default: the one
    /// address that the route to the backend prefers.
    pub source: Option<Prefix>,
    /// The largest IP packet on the way to the backends, in bytes; 1,328 to 65,535. Default: what
    /// the route or the interface takes.
    pub mtu: Option<u16>,
}

/// `pool.tunnel.kind` and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelKind {
    /// Another IP header before the packet's.
    IpIp,
    /// An IP and a UDP header: GUE, variant 1.
    Gue {
        /// Destination port. Default 6080.
        port: u16,
    },
}

impl TunnelKind {
    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpIp => "ipip",
            Self::Gue { .. } => "gue",
        }
    }
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The first of them.
    pub address: IpAddr,
    /// How many bits are the same; up to 32 or 128.
    pub length: u8,
}

/// `pool.scheduler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// By the hash of the client's address, or without persistence of the flow.
    Maglev,
    /// Each in its turn.
    RoundRobin,
    /// Where fewer flows run.
    LeastConnections,
}

impl Scheduler {
    /// Each with its word in the file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("maglev", Self::Maglev),
        ("round-robin", Self::RoundRobin),
        ("least-connections", Self::LeastConnections),
    ];

    /// Its word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, one)| *one == self).map_or("", |(word, _)| word)
    }
}

/// `pool.on_down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// A TCP reset on the flow's next packet.
    Reset,
    /// Forward as before.
    Keep,
}

/// `pool.health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What a probe does.
    pub probe: Probe,
    /// Port to probe; `None`: the backend's own (then every backend has one).
    pub port: Option<u16>,
    /// From one probe's start to the next. Default 2 s; 100 ms to 1 h.
    pub interval: Duration,
    /// A probe that takes longer has failed. Default 1 s, or `interval` where that is shorter;
    /// 10 ms to `interval`.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up. Default 2; 1 to 100.
    pub rise: u8,
    /// Failures in a row that take it down. Default 3; 1 to 100.
    pub fall: u8,
}

/// `pool.health.kind` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp,
    /// `GET path` answers with `expect`.
    Http {
        /// Request target. Default `/`.
        path: String,
        /// `Host` field. Default: the backend's address.
        host: Option<String>,
        /// Statuses that count as success, inclusive. Default 200 to 399.
        expect: (u16, u16),
    },
}

/// `[[pool.backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique over all pools; `[A-Za-z0-9._-]`, 1 to 63 characters.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// `None`: the port that the client asked for.
    pub port: Option<u16>,
    /// Share of new clients against the pool's others. Default 1; 0 to 1,000; 0: none.
    pub weight: u16,
}

/// `[[listener]]` with protocol `tcp` or `udp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique; `[A-Za-z0-9._-]`, 1 to 63 characters.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address and port that clients use; unique per protocol.
    pub address: SocketAddr,
    /// Index into [`Config::pools`].
    pub pool: usize,
    /// `None`: each flow is balanced by its five-tuple.
    pub persistence: Option<Persistence>,
}

/// `listener.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `listener.persistence`, mode `source-ip`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// Listeners of one group share pins; they have the same pool and the same settings here.
    /// Same characters as a name. `None`: the listener is alone.
    pub group: Option<String>,
    /// Whole seconds, 1 to 3,600 (P2).
    pub timeout: Duration,
    /// What keeps a pin alive (P4). Default `activity`.
    pub refresh: Refresh,
    /// Bound on a pin's whole life; whole seconds, `timeout` to 30 days. Default none.
    pub max_lifetime: Option<Duration>,
    /// Bits of an IPv4 client address that make the pin. Default 32; 1 to 32.
    pub prefix_v4: u8,
    /// Bits of an IPv6 client address that make the pin. Default 128; 1 to 128.
    pub prefix_v6: u8,
}

/// `persistence.refresh` (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresh {
    /// Any packet of a flow on the pinned backend.
    Activity,
    /// Only a new flow.
    NewConnection,
    /// Nothing: it lives `timeout` from its making.
    Never,
}
