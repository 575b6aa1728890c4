//! How things stand: listeners, backends and table use, for people and machines to read.
//!
//! Owns the gathering; the wire form is the admin API's business.

use std::net::IpAddr;

use lb_common::layout::{
    BackendCounters, BackendRef, BackendState, Kind, ListenerCounters, VipKey,
};

use super::{
    facts::{Facts, Health, Intent, Reach},
    ids::key,
    lives,
    plan::takes_clients,
    snapshot::Snapshot,
};
use crate::{
    config::{self, Config, http::HttpListener},
    maps::{LbMaps, MapError},
    model::Model,
    sessions::expiry::Outcome,
};

/// Everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Listeners of layer 4, in the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// Those of layer 7, likewise.
    pub http: Vec<HttpListenerStatus>,
    /// Pools, as configured.
    pub pools: Vec<config::Pool>,
    /// Backends, in the order of the configuration, then those removed that still serve flows.
    pub backends: Vec<BackendStatus>,
    /// What packets of no listener came to.
    pub other: ListenerCounters,
    /// The table of pins.
    pub pins: TableUse,
    /// The table of flows.
    pub flows: TableUse,
    /// The table of replies (`nat`).
    pub replies: TableUse,
    /// When numbers of entries held and evicted were counted: monotonic clock, nanoseconds.
    /// `None`: not yet.
    pub counted_ns: Option<u64>,
    /// The present, by the same clock.
    pub now_ns: u64,
}

/// A listener of layer 4.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerStatus {
    /// As configured.
    pub listener: config::Listener,
    /// Its pool's name.
    pub pool: String,
    /// What its packets came to.
    pub counters: ListenerCounters,
}

/// A listener of layer 7, as the data path sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpListenerStatus {
    /// As configured.
    pub listener: HttpListener,
    /// What its clients' packets came to. The sidecar's answers are not seen: they leave through the
    /// kernel's stack.
    pub counters: ListenerCounters,
}

/// A backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Its row in the maps; 0: it has none yet.
    pub id: u32,
    /// Its pool's name.
    pub pool: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None`: the one that the client asked for.
    pub port: Option<u16>,
    /// Share of new clients against the pool's others.
    pub weight: u16,
    /// The configuration no longer has it; it only serves the flows that it had.
    pub removed: bool,
    /// As the data path sees it.
    pub state: BackendState,
    /// Do new clients come to it?
    pub takes_clients: bool,
    /// What the operator wants.
    pub intent: Intent,
    /// What the last probe found; `None`: its pool is not probed.
    pub health: Option<Health>,
    /// How packets get there, or what is waited for.
    pub reach: Reach,
    /// Counts its lives.
    pub generation: u32,
    /// Pins in time that name its present life, when last counted; none hold while it is down (P9).
    pub pins: Option<u64>,
    /// Its running flows, when last counted; while it is down, only with `on_down = "keep"`.
    pub flows: Option<u64>,
    /// Its packets.
    pub counters: BackendCounters,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableUse {
    /// Entries when last counted.
    pub held: Option<u64>,
    /// Entries that fit.
    pub capacity: u32,
    /// Entries that were evicted because it was full (P11), when last counted.
    pub evicted: Option<u64>,
}

/// What a status is gathered from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The same in the data path's terms.
    pub model: &'a Model,
    /// What is known of backends.
    pub facts: &'a Facts,
    /// What the maps hold.
    pub there: &'a Snapshot,
    /// The last whole sweep.
    pub swept: Option<&'a Outcome>,
}

/// Gathers it, reading counters.
pub fn gather(maps: &impl LbMaps, sources: &Sources<'_>) -> Result<Status, MapError> {
    let swept = sources.swept;
    let limits = &sources.config.limits;
    let held = |count: fn(&Outcome) -> (u64, u64), capacity| TableUse {
        held: swept.map(|swept| count(swept).0),
        capacity,
        evicted: swept.map(|swept| count(swept).1),
    };
    Ok(Status {
        listeners: listeners(maps, sources)?,
        http: http(maps, sources)?,
        pools: sources.config.pools.clone(),
        backends: backends(maps, sources)?,
        other: maps.listener_counters(0)?,
        pins: held(|swept| (swept.held.pins, swept.evicted.pins), limits.pins),
        flows: held(|swept| (swept.held.flows, swept.evicted.flows), limits.flows),
        replies: held(|swept| (swept.held.replies, swept.evicted.replies), limits.flows),
        counted_ns: swept.map(|swept| swept.began_ns),
        now_ns: maps.now_ns(),
    })
}

fn listeners(maps: &impl LbMaps, sources: &Sources<'_>) -> Result<Vec<ListenerStatus>, MapError> {
    let config = sources.config;
    let both = config.listeners.iter().zip(&sources.model.listeners);
    let status = both.map(|(listener, model)| {
        let counters = counters(maps, sources, &model.key)?;
        let pool = config.pools[listener.pool].name.clone();
        Ok(ListenerStatus { listener: listener.clone(), pool, counters })
    });
    status.collect()
}

fn http(maps: &impl LbMaps, sources: &Sources<'_>) -> Result<Vec<HttpListenerStatus>, MapError> {
    let config = sources.config;
    // They are the model's last.
    let models = sources.model.listeners.iter().skip(config.listeners.len());
    let status = config.http_listeners.iter().zip(models).map(|(listener, model)| {
        let counters = counters(maps, sources, &model.key)?;
        Ok(HttpListenerStatus { listener: listener.clone(), counters })
    });
    status.collect()
}

fn counters(
    maps: &impl LbMaps,
    sources: &Sources<'_>,
    vip: &VipKey,
) -> Result<ListenerCounters, MapError> {
    match sources.there.vips.get(vip) {
        Some(vip) => maps.listener_counters(vip.listener),
        None => Ok(ListenerCounters::ZERO),
    }
}

fn backends(maps: &impl LbMaps, sources: &Sources<'_>) -> Result<Vec<BackendStatus>, MapError> {
    let there = sources.there;
    let ids: std::collections::BTreeMap<&str, u32> =
        there.of_kind(Kind::Backend).map(|(id, name)| (name, id)).collect();
    let mut all = Vec::new();
    for (pool, backend) in sources.model.backends() {
        let id = ids.get(backend.name.as_str()).copied().unwrap_or(0);
        let mut status = row(maps, sources, id, &backend.name)?;
        let record = there.backends.get(&id).copied().unwrap_or_default();
        status.pool.clone_from(&pool.name);
        status.address = backend.address.into();
        status.port = port(backend.port_be);
        status.weight = backend.weight;
        status.removed = false;
        status.takes_clients = takes_clients(&record, backend.weight, pool.forward);
        if !pool.checked {
            status.health = None;
        }
        all.push(status);
    }
    let configured: std::collections::BTreeSet<&str> =
        sources.model.backends().map(|(_, backend)| backend.name.as_str()).collect();
    for (id, name) in there.of_kind(Kind::Backend).filter(|(_, name)| !configured.contains(name)) {
        all.push(row(maps, sources, id, name)?);
    }
    Ok(all)
}

/// What the maps and the facts tell of a backend, configured or not.
fn row(
    maps: &impl LbMaps,
    sources: &Sources<'_>,
    id: u32,
    name: &str,
) -> Result<BackendStatus, MapError> {
    let (there, facts) = (sources.there, sources.facts);
    let record = there.backends.get(&id).copied().unwrap_or_default();
    // What was counted in its present life may be void since, or is and waits to be reclaimed.
    let counted = |honours: bool, of: fn(&Outcome) -> &std::collections::BTreeMap<u32, u64>| {
        let of = |swept| of(swept).get(&id).filter(|_| honours).copied().unwrap_or(0);
        sources.swept.map(of)
    };
    let present = BackendRef::new(id, record.generation);
    Ok(BackendStatus {
        name: name.to_owned(),
        id,
        pool: there.identities.get(&key(Kind::Pool, record.pool)).cloned().unwrap_or_default(),
        address: record.address.into(),
        port: port(record.port_be),
        weight: 0,
        removed: true,
        state: BackendState::from_code(record.state).unwrap_or(BackendState::Unset),
        takes_clients: false,
        intent: facts.intent.get(name).copied().unwrap_or_default(),
        health: Some(facts.health.get(name).cloned().unwrap_or(Health::Unknown)),
        reach: facts
            .reach
            .get(name)
            .cloned()
            .unwrap_or_else(|| Reach::Pending("not looked up yet".to_owned())),
        generation: record.generation,
        pins: counted(lives::in_service(&record), |swept| &swept.pins_of),
        flows: counted(record.honours_flow(present), |swept| &swept.flows_of),
        counters: if id == 0 { BackendCounters::default() } else { maps.backend_counters(id)? },
    })
}

fn port(port_be: u16) -> Option<u16> {
    (port_be != 0).then_some(u16::from_be(port_be))
}
