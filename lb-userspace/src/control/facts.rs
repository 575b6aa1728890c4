//! What is known of backends apart from the configuration: health, operator intent, next hops.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use lb_common::{address::Address, layout::Hop};

use crate::config::{self, Pool, Probe};

/// What the operator wants of a backend; kept across restarts, apart from its health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// In service.
    #[default]
    Ready,
    /// No new clients; pinned clients and running flows go on.
    Drain,
    /// No new connections; running flows go on.
    Evacuate,
    /// Out of service at once.
    Down,
}

/// What the health check last found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// In order, or not checked.
    Up,
    /// Not in order, and why.
    Down(String),
}

/// How packets get to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Not looked up yet, or there has been no way for a moment; and what is waited for. It is
    /// reached as it was before, if it was.
    Pending(String),
    /// There has been no way to it for longer than a moment, and why.
    Lost(String),
    /// The way is known.
    Known {
        /// Link-layer way to the backend or the router before it.
        hop: Hop,
        /// Source addresses for `nat`: those configured, else the one that the route prefers.
        /// For `tunnel` the latter.
        nat_sources: Vec<Address>,
        /// Largest IP packet that the route takes, in bytes.
        mtu: u32,
    },
}

/// What a probe is of: what was found of another one says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What the probe does.
    pub probe: Probe,
    /// Where to.
    pub target: SocketAddr,
}

impl Subject {
    /// What is probed of a pool's backend; `None`: nothing, it counts as up.
    #[must_use]
    pub fn of(pool: &Pool, backend: &config::Backend) -> Option<Self> {
        let health = pool.health.as_ref()?;
        let port = health.port.or(backend.port)?;
        let target = SocketAddr::new(backend.address, port);
        Some(Self { probe: health.probe.clone(), target })
    }
}

/// A health check's verdict, with what it is about: it may have waited while the backend's
/// configuration changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// The backend's name.
    pub backend: String,
    /// What was probed.
    pub subject: Option<Subject>,
    /// What was found.
    pub health: Health,
}

/// How a backend is reached, with the address that this is about, likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachReport {
    /// The backend's name.
    pub backend: String,
    /// Its address when it was looked up.
    pub address: IpAddr,
    /// What was found.
    pub reach: Reach,
}

/// Everything known of backends, by name. A backend that is missing is `Ready`, `Unknown` and
/// pending.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Operator intent.
    pub intent: BTreeMap<String, Intent>,
    /// Observed health.
    pub health: BTreeMap<String, Health>,
    /// Next hops.
    pub reach: BTreeMap<String, Reach>,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Evacuate => "evacuate",
            Self::Down => "down",
        })
    }
}

impl FromStr for Intent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ready, Self::Drain, Self::Evacuate, Self::Down]
            .into_iter()
            .find(|intent| intent.to_string() == text)
            .ok_or_else(|| format!("`{text}` is none of ready, drain, evacuate, down"))
    }
}
