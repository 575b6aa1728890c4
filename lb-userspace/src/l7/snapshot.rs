//! What the agent tells the sidecar: everything that requests are served by, at one time.
//!
//! Owns the form. It is immutable: a change is another snapshot, whole.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::session::Standing;

use crate::config::http::{HttpRule, PoolHttp, Sidecar};

/// Everything.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Settings of the sidecar.
    pub settings: Sidecar,
    /// Which instance counts the generations of backends.
    pub epoch: u32,
    /// Seed of hashes of client addresses.
    pub seed: [u64; 2],
    /// Keys of cookies: a [`super::cookie::ring::Ring`] as JSON.
    pub ring: String,
    /// Listeners, in the order of the configuration.
    pub listeners: Vec<Listener>,
    /// Pools, likewise; all, so that rules name them by index.
    pub pools: Vec<Pool>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens; its sockets are known by that.
    pub address: SocketAddr,
    /// `https`: its certificates.
    pub certificates: Vec<Pem>,
    /// Every request is answered with a redirect to https, at this port.
    pub https_redirect: Option<u16>,
    /// Connections begin with a PROXY header.
    pub accept_proxy: bool,
    /// Its rules.
    pub rules: Vec<HttpRule>,
}

/// A certificate chain and its key, as in their files.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pem {
    /// Leaf first.
    pub chain: String,
    /// Private.
    pub key: String,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How it serves.
    pub http: PoolHttp,
    /// PEM: who may sign its backends' certificates, if they are looked at.
    pub authorities: Option<String>,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// `None`: the port that the client asked for.
    pub port: Option<u16>,
    /// Share of new clients against the pool's others, as it is now; 0: none.
    pub weight: u16,
    /// Counts its lives.
    pub generation: u32,
    /// What it is there for.
    pub standing: Standing,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without keys.
        f.debug_struct("Snapshot").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("chain", &self.chain).finish_non_exhaustive()
    }
}
