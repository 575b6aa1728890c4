//! From the configuration's types to those of the wire.

use std::net::{IpAddr, SocketAddr};

use super::wire;
use crate::config::{
    Forward, Persistence, Pool, Protocol, Refresh, TunnelKind,
    http::{HostPattern, HttpListener, HttpMode, HttpPersistence},
};

/// `tcp` or `udp`.
#[must_use]
pub const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// `http` or `https`.
#[must_use]
pub const fn http_protocol(listener: &HttpListener) -> &'static str {
    if listener.certificates.is_empty() { "http" } else { "https" }
}

/// `None`: any.
#[must_use]
pub fn host(host: &HostPattern) -> Option<String> {
    (*host != HostPattern::Any).then(|| host.to_string())
}

/// Where a backend is, with its port if it has one of its own.
#[must_use]
pub fn backend_address(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

impl From<&Pool> for wire::Pool {
    fn from(pool: &Pool) -> Self {
        let tunnel = match pool.forward {
            Forward::Nat | Forward::Dsr => None,
            Forward::Tunnel(tunnel) => Some(tunnel),
        };
        Self {
            name: pool.name.clone(),
            forward: pool.forward.name().to_owned(),
            tunnel: tunnel.map(|tunnel| wire::Tunnel {
                kind: tunnel.kind.name().to_owned(),
                port: match tunnel.kind {
                    TunnelKind::IpIp => None,
                    TunnelKind::Gue { port } => Some(port),
                },
                source: tunnel.source.map(|source| source.to_string()),
                mtu: tunnel.mtu,
            }),
            nat_sources: pool.nat_sources.clone(),
            scheduler: pool.scheduler.word().to_owned(),
            slow_start_ms: u64::try_from(pool.slow_start.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<&Persistence> for wire::Persistence {
    fn from(persistence: &Persistence) -> Self {
        let refresh = match persistence.refresh {
            Refresh::Activity => "activity",
            Refresh::NewConnection => "new-connection",
            Refresh::Never => "never",
        };
        Self {
            timeout_s: persistence.timeout.as_secs(),
            refresh: refresh.to_owned(),
            group: persistence.group.clone(),
            max_lifetime_s: persistence.max_lifetime.map(|bound| bound.as_secs()),
            prefix_v4: persistence.prefix_v4,
            prefix_v6: persistence.prefix_v6,
        }
    }
}

impl From<&HttpPersistence> for wire::HttpPersistence {
    fn from(persistence: &HttpPersistence) -> Self {
        let (mode, cookie) = match &persistence.mode {
            HttpMode::Insert(insert) => ("cookie-insert", Some(&insert.cookie)),
            HttpMode::Rewrite { cookie } => ("cookie-rewrite", Some(cookie)),
            HttpMode::SourceIp(_) => ("source-ip", None),
        };
        let (insert, by_address) = match &persistence.mode {
            HttpMode::Insert(insert) => (Some(insert), None),
            HttpMode::Rewrite { .. } => (None, None),
            HttpMode::SourceIp(by_address) => (None, Some(by_address)),
        };
        Self {
            mode: mode.to_owned(),
            cookie: cookie.cloned(),
            timeout_s: insert.map(|insert| insert.timeout.as_secs()),
            max_lifetime_s: insert
                .and_then(|insert| insert.max_lifetime)
                .map(|bound| bound.as_secs()),
            by_address: by_address.map(wire::Persistence::from),
        }
    }
}
