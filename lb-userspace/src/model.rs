//! What should be: the configuration in the data path's terms. Pure.
//!
//! Owns what follows from the configuration alone. Never looks at ids, at maps, or at what is
//! known of backends.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lb_common::{
    address::Address,
    features::Features,
    flood,
    flow::IdleTimes,
    layout::{self, Encapsulation, Kind, VipKey},
};

use crate::config::{self, Config, OnDown};

/// The desired state, names in place of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Idle times of flows.
    pub idle: IdleTimes,
    /// Rates of new flows.
    pub flood: layout::Flood,
    /// Are echo requests to listeners' addresses answered?
    pub echo: bool,
    /// Pools, in the order of the file.
    pub pools: Vec<Pool>,
    /// Listeners of layer 4 in the order of the file, then those of layer 7.
    pub listeners: Vec<Listener>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Forwarding mode.
    pub forward: layout::Forward,
    /// How packets to its backends are wrapped up (`tunnel`).
    pub tunnel: Option<Tunnel>,
    /// What flows of a backend that goes down get.
    pub on_down: OnDown,
    /// How a backend is chosen where no pin says it.
    pub scheduler: layout::Scheduler,
    /// How long a backend that comes to others takes to get all of its weight, nanoseconds.
    pub slow_start_ns: u64,
    /// Are its backends probed? Else they are always healthy.
    pub checked: bool,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// What is wanted of the tunnels of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// What stands between the outer IP header and the packet.
    pub kind: Encapsulation,
    /// GUE: the destination port, network byte order.
    pub port_be: u16,
    /// Outer source address, and which bits of it each flow fills; `None`: the one address that
    /// the route prefers.
    pub source: Option<(Address, Address)>,
    /// Largest IP packet on the way, in bytes; `None`: what the route takes.
    pub mtu: Option<u16>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// Its port, network byte order; 0: the one that the client asked for.
    pub port_be: u16,
    /// Its share of new clients.
    pub weight: u16,
    /// What its place in Maglev tables follows from: name, address and port.
    pub identity: String,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its address, port and protocol.
    pub key: VipKey,
    /// Who gets its packets.
    pub target: Target,
}

/// Who gets a listener's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The backends of a pool.
    Pool {
        /// Index into [`Model::pools`].
        pool: usize,
        /// `None`: flows are balanced one by one.
        pins: Option<Pins>,
    },
    /// The sidecar, which has pools of its own choice.
    Sidecar,
}

/// How a listener pins clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// Whose pins it shares.
    pub scope: Scope,
    /// Bits of an IPv4 client address that count.
    pub mask_v4: Address,
    /// Bits of an IPv6 client address that count.
    pub mask_v6: Address,
    /// Nanoseconds (P2, P3).
    pub timeout_ns: u64,
    /// Nanoseconds; 0: unbounded (P4).
    pub max_lifetime_ns: u64,
    /// What refreshes a pin.
    pub refresh: layout::Refresh,
}

impl Pins {
    /// The bits of a client address of that family that count.
    #[must_use]
    pub fn mask(&self, v4: bool) -> Address {
        if v4 { self.mask_v4 } else { self.mask_v6 }
    }
}

/// Who shares pins: a listener alone, or a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// [`Kind::ListenerScope`] or [`Kind::GroupScope`].
    pub kind: Kind,
    /// The listener's or the group's name.
    pub name: String,
}

impl Model {
    /// What that configuration asks for.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let timeouts = &config.agent.flow_timeouts;
        Self {
            idle: IdleTimes {
                tcp_established_ns: nanoseconds(timeouts.tcp_established),
                tcp_transitory_ns: nanoseconds(timeouts.tcp_transitory),
                tcp_time_wait_ns: nanoseconds(timeouts.tcp_time_wait),
                stateless_ns: nanoseconds(timeouts.udp),
            },
            flood: flood(&config.flood),
            echo: config.agent.echo,
            pools: config.pools.iter().map(pool).collect(),
            listeners: config
                .listeners
                .iter()
                .map(listener)
                .chain(config.http_listeners.iter().map(http_listener))
                .collect(),
        }
    }

    /// What the data path needs for it.
    #[must_use]
    pub fn features(&self) -> Features {
        let family = |v4: bool| if v4 { Features::V4 } else { Features::V6 };
        let of_listener = |listener: &Listener| {
            let tcp = listener.key.protocol == layout::Protocol::Tcp.code();
            let protocol = if tcp { Features::TCP } else { Features::UDP };
            family(listener.key.address.is_v4()).with(protocol)
        };
        let used: HashSet<usize> = self.listeners.iter().filter_map(Listener::pool).collect();
        let of_pool = |(place, pool): (usize, &Pool)| match pool.forward {
            // The sidecar translates nothing; flows that were translated say so themselves.
            layout::Forward::Nat if !used.contains(&place) => Features::default(),
            layout::Forward::Nat => Features::NAT,
            layout::Forward::Dsr => Features::default(),
            // Errors from inside a tunnel are of its own family.
            layout::Forward::Tunnel => pool
                .backends
                .iter()
                .map(|backend| family(backend.address.is_v4()))
                .fold(Features::TUNNEL, Features::with),
        };
        let of_listeners = self.listeners.iter().map(of_listener);
        let of_pools = self.pools.iter().enumerate().map(of_pool);
        of_listeners.chain(of_pools).fold(Features::default(), Features::with)
    }

    /// All backends with their pools.
    pub fn backends(&self) -> impl Iterator<Item = (&Pool, &Backend)> {
        self.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
    }
}

impl Listener {
    /// The pool that its packets go to; index into [`Model::pools`].
    #[must_use]
    pub fn pool(&self) -> Option<usize> {
        match self.target {
            Target::Pool { pool, .. } => Some(pool),
            Target::Sidecar => None,
        }
    }
}

fn flood(flood: &config::Flood) -> layout::Flood {
    layout::Flood {
        all: flood::per_second(flood.flows_per_second),
        network: flood::per_second(flood.network_flows_per_second),
        mask_v4: Address::mask(96 + flood.network_v4),
        mask_v6: Address::mask(flood.network_v6),
    }
}

fn pool(pool: &config::Pool) -> Pool {
    Pool {
        name: pool.name.clone(),
        forward: match pool.forward {
            config::Forward::Nat => layout::Forward::Nat,
            config::Forward::Dsr => layout::Forward::Dsr,
            config::Forward::Tunnel(_) => layout::Forward::Tunnel,
        },
        tunnel: match pool.forward {
            config::Forward::Nat | config::Forward::Dsr => None,
            config::Forward::Tunnel(wanted) => Some(tunnel(&wanted)),
        },
        on_down: pool.on_down,
        scheduler: match pool.scheduler {
            config::Scheduler::Maglev => layout::Scheduler::Maglev,
            config::Scheduler::RoundRobin => layout::Scheduler::RoundRobin,
            config::Scheduler::LeastConnections => layout::Scheduler::LeastConnections,
        },
        slow_start_ns: nanoseconds(pool.slow_start),
        checked: pool.health.is_some(),
        backends: pool.backends.iter().map(backend).collect(),
    }
}

fn tunnel(tunnel: &config::Tunnel) -> Tunnel {
    let (kind, port) = match tunnel.kind {
        config::TunnelKind::IpIp => (Encapsulation::IpIp, 0),
        config::TunnelKind::Gue { port } => (Encapsulation::Gue, port),
    };
    let source = tunnel.source.map(|prefix| {
        let bits = prefix.length.saturating_add(if prefix.address.is_ipv4() { 96 } else { 0 });
        let words_be = Address::mask(bits).words_be.map(|word| !word);
        (prefix.address.into(), Address { words_be })
    });
    Tunnel { kind, port_be: port.to_be(), source, mtu: tunnel.mtu }
}

fn backend(backend: &config::Backend) -> Backend {
    let port = backend.port.unwrap_or(0);
    let at = match backend.address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    };
    Backend {
        name: backend.name.clone(),
        address: backend.address.into(),
        port_be: port.to_be(),
        weight: backend.weight,
        identity: format!("{} {at}", backend.name),
    }
}

fn listener(listener: &config::Listener) -> Listener {
    let protocol = match listener.protocol {
        config::Protocol::Tcp => layout::Protocol::Tcp,
        config::Protocol::Udp => layout::Protocol::Udp,
    };
    let pins = listener.persistence.as_ref().map(|persistence| pins(&listener.name, persistence));
    Listener {
        name: listener.name.clone(),
        key: key(listener.address, protocol),
        target: Target::Pool { pool: listener.pool, pins },
    }
}

fn http_listener(listener: &config::http::HttpListener) -> Listener {
    Listener {
        name: listener.name.clone(),
        key: key(listener.address, layout::Protocol::Tcp),
        target: Target::Sidecar,
    }
}

fn key(at: SocketAddr, protocol: layout::Protocol) -> VipKey {
    let (address, port_be) = (at.ip().into(), at.port().to_be());
    VipKey { address, port_be, protocol: protocol.code(), pad: 0 }
}

fn pins(listener: &str, persistence: &config::Persistence) -> Pins {
    let scope = match &persistence.group {
        Some(group) => Scope { kind: Kind::GroupScope, name: group.clone() },
        None => Scope { kind: Kind::ListenerScope, name: listener.to_owned() },
    };
    Pins {
        scope,
        mask_v4: Address::mask(persistence.prefix_v4.saturating_add(96)),
        mask_v6: Address::mask(persistence.prefix_v6),
        timeout_ns: nanoseconds(persistence.timeout),
        max_lifetime_ns: persistence.max_lifetime.map_or(0, nanoseconds),
        refresh: match persistence.refresh {
            config::Refresh::Activity => layout::Refresh::Activity,
            config::Refresh::NewConnection => layout::Refresh::NewConnection,
            config::Refresh::Never => layout::Refresh::Never,
        },
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn what_a_configuration_uses() {
        let check = |address: &str, protocol: &str, forward: &str, backend: &str, want| {
            let text = format!(
                "[agent]\ninterfaces = [\"lo\"]\n[[pool]]\nname = \"p\"\nforward = \"{forward}\"\n\
                 backend = [{{ name = \"b\", address = \"{backend}\" }}]\n[[listener]]\nname = \
                 \"l\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\npool = \"p\"\n"
            );
            let config = config::parse(&text, Path::new("f.toml")).expect(&text);
            assert_eq!(Model::new(&config).features(), want, "{text}");
        };
        let (v4, v6) = ("203.0.113.1:80", "[2001:db8::1]:80");
        let both = Features::V4.with(Features::TCP);
        check(v4, "tcp", "nat", "10.0.0.1", both.with(Features::NAT));
        check(v4, "tcp", "dsr", "10.0.0.1", both);
        let tunnel = both.with(Features::TUNNEL);
        check(v4, "tcp", "tunnel", "10.0.0.1", tunnel);
        check(v4, "tcp", "tunnel", "fd00::1", tunnel.with(Features::V6));
        let both = Features::V6.with(Features::UDP);
        check(v6, "udp", "dsr", "fd00::1", both);
        // The sidecar connects to backends itself, whatever the pool does with packets.
        let both = Features::V6.with(Features::TCP);
        check(v6, "http", "nat", "10.0.0.1:80", both);
        check(v6, "http", "dsr", "10.0.0.1:80", both);
    }
}
