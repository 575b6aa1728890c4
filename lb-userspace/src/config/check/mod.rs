//! What the parts of a configuration must agree on, and the whole that comes out.
//!
//! Owns the rules between values. A value that was already refused by itself takes no part in
//! them, so that one mistake gives one message.

mod addresses;
mod chosen;
mod cookies;
mod pools;
pub(super) mod rules;

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use super::{
    Agent, Config, Flood, Limits, Listener, Protocol,
    agent::{MAX_SLOTS, next_prime},
    error::{Read, Report},
    group,
    http::Sidecar,
    listener::{Layer, ListenerDraft},
    pool::PoolDraft,
    raw::Found,
    source_ip::PersistenceDraft,
};

use chosen::{Pools, UntranslatedPorts, family_of_pool};

/// Slots of a Maglev table per backend, so that shares come out even (10: within 10 %).
const SLOTS_PER_BACKEND: u32 = 10;

/// A configuration whose values are fine each by itself.
pub(super) struct Draft {
    pub(super) agent: Read<Agent>,
    pub(super) limits: Read<Limits>,
    pub(super) flood: Read<Flood>,
    pub(super) sidecar: Read<Sidecar>,
    pub(super) pools: Vec<Read<PoolDraft>>,
    pub(super) listeners: Vec<Read<ListenerDraft>>,
}

/// Checks the rules between values; the result is only good if `report` stays empty.
pub(super) fn check(draft: Draft, report: &Report<'_>) -> Read<Config> {
    let Draft { agent, limits, flood, sidecar, pools, listeners } = draft;
    names(&pools, &listeners, report);
    for pool in pools.iter().flatten() {
        pools::pool_by_itself(pool, report);
    }
    if let Ok(limits) = &limits {
        sizes(limits, &pools, &listeners, report);
    }
    addresses::listener_addresses(&listeners, report);
    addresses::own_addresses(&pools, &listeners, report);
    addresses::sources_of_others(&pools, report);
    group::check(&listeners, report);
    let (mut of_layer_4, mut of_layer_7) = (Ok(Vec::new()), Ok(Vec::new()));
    let names = Pools::of(&pools);
    let mut ports = UntranslatedPorts::default();
    for listener in &listeners {
        let layer = listener.as_ref().map(|listener| (listener, listener.layer.as_ref()));
        match layer {
            Ok((listener, Ok(Layer::Four { protocol, persistence }))) => {
                let built = layer_4(listener, *protocol, persistence, &names, &mut ports, report);
                gather(&mut of_layer_4, built);
            }
            Ok((listener, Ok(Layer::Seven(http)))) => {
                rules::check(listener, http, &sidecar, report);
                gather(&mut of_layer_7, rules::build(listener, http, &names, report));
            }
            Ok((_, Err(&reported))) | Err(&reported) => of_layer_4 = Err(reported),
        }
    }
    let pools: Read<_> = pools.into_iter().map(|pool| pool?.build()).collect();
    Ok(Config {
        agent: agent?,
        limits: limits?,
        flood: flood?,
        pools: pools?,
        listeners: of_layer_4?,
        sidecar: sidecar?,
        http_listeners: of_layer_7?,
    })
}

fn gather<T>(all: &mut Read<Vec<T>>, one: Read<T>) {
    match (all.as_mut(), one) {
        (Ok(list), Ok(one)) => list.push(one),
        (Ok(_), Err(reported)) => *all = Err(reported),
        (Err(_), Ok(_) | Err(_)) => {}
    }
}

/// A listener of layer 4, if it and its pool agree.
fn layer_4(
    listener: &ListenerDraft,
    protocol: Protocol,
    persistence: &Read<Option<PersistenceDraft>>,
    names: &Pools<'_>,
    ports: &mut UntranslatedPorts,
    report: &Report<'_>,
) -> Read<Listener> {
    let pool = listener.pool.as_ref().map_err(|&r| r)?.as_ref();
    let pool = pool.ok_or_else(|| listener.itself.refuse(report, "no pool", ""))?;
    let index = names.index(pool, report)?;
    if let (Ok(address), Ok(pool)) = (&listener.address, names.get(index)) {
        family_of_pool(address, pool, report);
        ports.check(address, index, pool, report);
    }
    let persistence = persistence.as_ref().map_err(|&r| r)?.as_ref();
    Ok(Listener {
        name: listener.name.as_ref().map_err(|&r| r)?.value.clone(),
        protocol,
        address: listener.address.as_ref().map_err(|&r| r)?.value,
        pool: index,
        persistence: persistence.map(PersistenceDraft::build).transpose()?.flatten(),
    })
}

/// Refuses each thing that has the key of one before it.
fn unique<K: Hash + Eq, T>(
    things: impl Iterator<Item = (K, Found<T>)>,
    report: &Report<'_>,
    problem: impl Fn(usize) -> String,
    allowed: &str,
) {
    let mut first = HashMap::new();
    for (key, found) in things {
        match first.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(found.at);
            }
            Entry::Occupied(entry) => {
                found.refuse(report, problem(report.line(*entry.get())), allowed);
            }
        }
    }
}

fn names(pools: &[Read<PoolDraft>], listeners: &[Read<ListenerDraft>], report: &Report<'_>) {
    let of = |name: &Read<Found<String>>| {
        name.as_ref().ok().map(|found| (found.value.clone(), found.clone()))
    };
    let taken = |line| format!("name already used in line {line}");
    let pool_names = pools.iter().flatten().filter_map(|pool| of(&pool.name));
    unique(pool_names, report, taken, "one pool of a name");
    let listener_names = listeners.iter().flatten().filter_map(|listener| of(&listener.name));
    unique(listener_names, report, taken, "one listener of a name");
    let backends = pools.iter().flatten().flat_map(|pool| &pool.backends).flatten();
    let backend_names = backends.filter_map(|backend| of(&backend.name));
    unique(backend_names, report, taken, "one backend of a name, over all pools");
}

fn sizes(
    limits: &Limits,
    pools: &[Read<PoolDraft>],
    listeners: &[Read<ListenerDraft>],
    report: &Report<'_>,
) {
    // Each at the first one that is too many.
    let too_many = |found: &Found<()>, key: &str, limit: u32, count: usize, max: u32| {
        let problem = format!("the file has {count} of them, limits.{key} is {limit}");
        found.refuse(report, problem, format!("up to limits.{key}, which goes up to {max}"));
    };
    if let Some(Ok(pool)) = pools.get(limits.pools as usize) {
        too_many(&pool.itself, "pools", limits.pools, pools.len(), 4096);
    }
    if let Some(Ok(listener)) = listeners.get(limits.listeners as usize) {
        too_many(&listener.itself, "listeners", limits.listeners, listeners.len(), 32_767);
    }
    let backends: Vec<_> = pools.iter().flatten().flat_map(|pool| &pool.backends).collect();
    if let Some(Ok(backend)) = backends.get(limits.backends as usize) {
        too_many(&backend.itself, "backends", limits.backends, backends.len(), 65_535);
    }
    for pool in pools.iter().flatten() {
        let count = u32::try_from(pool.backends.len()).unwrap_or(u32::MAX);
        let needed = count.saturating_mul(SLOTS_PER_BACKEND);
        if needed > limits.maglev_slots {
            let slots = limits.maglev_slots;
            let allowed = if needed > MAX_SLOTS {
                format!("up to {} backends in a pool", MAX_SLOTS / SLOTS_PER_BACKEND)
            } else {
                let prime = next_prime(needed);
                format!("limits.maglev_slots from {prime}, {SLOTS_PER_BACKEND} for each backend")
            };
            let problem = format!("{count} backends, too many for limits.maglev_slots = {slots}");
            pool.itself.refuse(report, problem, allowed);
        }
    }
}
