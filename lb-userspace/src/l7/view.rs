//! A snapshot made ready for requests: routes built, certificates parsed, keys prepared. Shared by
//! all workers, and immutable.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    cookie::{
        pin::backend_identity,
        ring::{Ring, RingError},
        seal::Sealer,
    },
    pick::Candidate,
    route::Routes,
    session::Standing,
    snapshot::{self, Snapshot},
    tls,
};
use crate::config::http::{HttpPersistence, PoolHttp, Sidecar};

/// A snapshot cannot be served by.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// Keys of cookies.
    #[error("keys: {0}")]
    Ring(#[from] RingError),
}

/// Everything.
pub struct View {
    /// Settings of the sidecar.
    pub settings: Sidecar,
    /// Which instance counts generations.
    pub epoch: u32,
    /// Seed of hashes of client addresses.
    pub seed: [u64; 2],
    /// Keys of cookies.
    pub sealer: Sealer,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Pools; rules name them by index.
    pub pools: Vec<Pool>,
    by_address: HashMap<SocketAddr, usize>,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// `https`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Every request is answered with a redirect to https, at this port.
    pub https_redirect: Option<u16>,
    /// Connections begin with a PROXY header.
    pub accept_proxy: bool,
    /// Finds the rule of a request.
    pub routes: Routes,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Index into [`View::pools`].
    pub pool: usize,
    /// How sessions are kept.
    pub persistence: Option<HttpPersistence>,
    /// What its cookies are sealed for.
    pub scope: Vec<u8>,
    /// A hash of that.
    pub scope_hash: u64,
}

/// A pool.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How it serves.
    pub http: PoolHttp,
    /// PEM: who may sign its backends' certificates.
    pub authorities: Option<String>,
    /// What TLS to its backends needs.
    pub tls: Option<tls::Outgoing>,
    /// Its backends.
    pub backends: Vec<Backend>,
    by_identity: HashMap<u64, usize>,
}

/// A backend.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub address: IpAddr,
    /// `None`: the port that the client asked for.
    pub port: Option<u16>,
    /// Share of new clients; 0: none.
    pub weight: u16,
    /// Counts its lives.
    pub generation: u32,
    /// What it is there for.
    pub standing: Standing,
    /// What its cookies call it.
    pub identity: u64,
    /// Its place among all backends of all pools.
    pub place: usize,
}

impl View {
    /// Of a snapshot. The agent has looked at keys and certificates before; what it has not seen is
    /// an error here.
    pub fn new(snapshot: Snapshot, tickets: &tls::Tickets) -> Result<Self, ViewError> {
        let Snapshot { settings, epoch, seed, ring, listeners, pools } = snapshot;
        let by_address = listeners.iter().enumerate().map(|(index, one)| (one.address, index));
        let by_address = by_address.collect();
        let names: Vec<String> = pools.iter().map(|pool| pool.name.clone()).collect();
        let listeners = listeners.into_iter().map(|one| Listener::new(one, &names, tickets));
        let mut place = 0;
        let pools = pools.into_iter().map(|pool| Pool::new(pool, &mut place));
        Ok(Self {
            settings,
            epoch,
            seed,
            sealer: Sealer::new(&Ring::from_json(ring.as_bytes())?),
            listeners: listeners.collect::<Result<_, _>>()?,
            pools: pools.collect::<Result<_, _>>()?,
            by_address,
        })
    }

    /// The index of the listener that listens there.
    #[must_use]
    pub fn listener_at(&self, address: SocketAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// Is this one of the proxies that are believed?
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted_proxies.iter().any(|prefix| prefix.holds(address))
    }

    /// All backends, in the order of their places.
    pub fn backends(&self) -> impl Iterator<Item = (&Pool, &Backend)> {
        self.pools.iter().flat_map(|pool| pool.backends.iter().map(move |one| (pool, one)))
    }
}

impl Listener {
    fn new(
        listener: snapshot::Listener,
        pool_names: &[String],
        tickets: &tls::Tickets,
    ) -> Result<Self, tls::TlsError> {
        let tls = match listener.certificates.as_slice() {
            [] => None,
            certificates => Some(tls::incoming(certificates, tickets)?),
        };
        let routes = Routes::new(&listener.rules);
        let rules = listener.rules.into_iter().map(|rule| {
            let scope = scope(&listener.name, pool_names.get(rule.pool).map_or("", |name| name));
            Rule {
                pool: rule.pool,
                persistence: rule.persistence,
                scope_hash: backend_identity(&scope),
                scope: scope.into_bytes(),
            }
        });
        Ok(Self {
            rules: rules.collect(),
            name: listener.name,
            address: listener.address,
            tls,
            https_redirect: listener.https_redirect,
            accept_proxy: listener.accept_proxy,
            routes,
        })
    }
}

/// What cookies of a listener's rules with that pool are sealed for: those of another listener, or for
/// another pool, cannot be brought there. Rules of one pool share them, since a browser has one
/// cookie of a name. The same on every node with one configuration.
#[must_use]
pub fn scope(listener: &str, pool: &str) -> String {
    // Names have no spaces.
    format!("{listener} {pool}")
}

/// What a backend is to cookies: one that moves is another.
#[must_use]
pub fn identity(name: &str, address: IpAddr, port: Option<u16>) -> u64 {
    backend_identity(&format!("{name} {}", SocketAddr::new(address, port.unwrap_or(0))))
}

impl Pool {
    fn new(pool: snapshot::Pool, next_place: &mut usize) -> Result<Self, tls::TlsError> {
        let tls = match &pool.http.tls {
            None => None,
            Some(settings) => {
                Some(tls::outgoing(settings, pool.authorities.as_deref(), pool.http.version)?)
            }
        };
        let backends: Vec<Backend> = pool
            .backends
            .into_iter()
            .map(|backend| {
                let identity = identity(&backend.name, backend.address, backend.port);
                let place = *next_place;
                *next_place += 1;
                Backend {
                    name: backend.name.into(),
                    address: backend.address,
                    port: backend.port,
                    weight: backend.weight,
                    generation: backend.generation,
                    standing: backend.standing,
                    identity,
                    place,
                }
            })
            .collect();
        let by_identity =
            backends.iter().enumerate().map(|(index, one)| (one.identity, index)).collect();
        Ok(Self {
            name: pool.name,
            http: pool.http,
            authorities: pool.authorities,
            tls,
            backends,
            by_identity,
        })
    }

    /// The place of the backend that cookies call so.
    #[must_use]
    pub fn by_identity(&self, identity: u64) -> Option<usize> {
        self.by_identity.get(&identity).copied()
    }

    /// Who takes new sessions, but for those of `without`; `active` tells what is under way there.
    pub fn candidates<'a>(
        &'a self,
        without: &'a [usize],
        active: impl Fn(usize) -> u32 + 'a,
    ) -> impl Iterator<Item = Candidate> + 'a {
        let takes = |(index, one): &(usize, &Backend)| {
            one.standing == Standing::InService && one.weight > 0 && !without.contains(index)
        };
        self.backends.iter().enumerate().filter(takes).map(move |(index, one)| Candidate {
            index,
            weight: one.weight,
            active: active(one.place),
            identity: one.identity,
        })
    }
}
