//! What the parts of a configuration must agree on, and the whole that comes out.
//!
//! Owns the rules between values. A value that was already refused by itself takes no part in
//! them, so that one mistake gives one message.

use lb_common::layout::NAT_SOURCES;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::Hash,
    net::IpAddr,
};

use super::{
    Agent, Config, Flood, Forward, Limits, Prefix,
    address::family,
    agent::{MAX_SLOTS, next_prime},
    error::{Read, Report},
    group,
    http::Sidecar,
    listener::ListenerDraft,
    pool::PoolDraft,
    raw::{Found, nearest},
};

/// Slots of a Maglev table per backend, so that shares come out even (10: within 10 %).
const SLOTS_PER_BACKEND: u32 = 10;

/// A configuration whose values are fine each by itself.
pub(super) struct Draft {
    pub(super) agent: Read<Agent>,
    pub(super) limits: Read<Limits>,
    pub(super) flood: Read<Flood>,
    pub(super) pools: Vec<Read<PoolDraft>>,
    pub(super) listeners: Vec<Read<ListenerDraft>>,
}

/// Checks the rules between values; the result is only good if `report` stays empty.
pub(super) fn check(draft: Draft, report: &Report<'_>) -> Read<Config> {
    let Draft { agent, limits, flood, pools, listeners } = draft;
    names(&pools, &listeners, report);
    for pool in pools.iter().flatten() {
        pool_by_itself(pool, report);
    }
    if let Ok(limits) = &limits {
        sizes(limits, &pools, &listeners, report);
    }
    listener_addresses(&listeners, report);
    own_addresses(&pools, &listeners, report);
    sources_of_others(&pools, report);
    let by_name = pools_by_name(&pools);
    let chosen: Vec<Read<usize>> = listeners
        .iter()
        .map(|listener| listener.as_ref().map_err(|&r| r))
        .map(|listener| pool_of(listener?, &pools, &by_name, report))
        .collect();
    let mut ports = UntranslatedPorts::default();
    for (listener, &chosen) in listeners.iter().zip(&chosen) {
        if let (Ok(listener), Ok(chosen)) = (listener, chosen)
            && let Ok(pool) = &pools[chosen]
        {
            listener_with_pool(listener, pool, report);
            ports.check(listener, chosen, pool, report);
        }
    }
    group::check(&listeners, report);
    let listeners = listeners.into_iter().zip(chosen);
    let listeners: Read<_> = listeners.map(|(listener, chosen)| listener?.build(chosen?)).collect();
    let pools: Read<_> = pools.into_iter().map(|pool| pool?.build()).collect();
    Ok(Config {
        agent: agent?,
        limits: limits?,
        flood: flood?,
        pools: pools?,
        listeners: listeners?,
        sidecar: Sidecar::default(),
        http_listeners: Vec::new(),
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

fn pool_by_itself(pool: &PoolDraft, report: &Report<'_>) {
    let twice = |line| format!("address already used in line {line}");
    let addresses = pool.addresses().map(|found| (found.value, found.clone()));
    unique(addresses, report, twice, "each address once in a pool");
    ports_of_one_address(pool, report);

    let first_family = pool.addresses().next().map(|found| family(found.value.0));
    if let Some(first) = first_family {
        for found in pool.addresses().filter(|found| family(found.value.0) != first) {
            one_family(found, found.value.0, first, report);
        }
    }
    nat_sources(pool, first_family, report);
    if let (Some(first), Some(source)) = (first_family, &pool.tunnel_source)
        && family(source.value.address) != first
    {
        one_family(source, source.value.address, first, report);
    }

    let weights: Read<Vec<u16>> = pool
        .backends
        .iter()
        .map(|backend| backend.as_ref().map_err(|&r| r).and_then(|backend| backend.weight))
        .collect();
    if weights.is_ok_and(|weights| weights.iter().all(|&weight| weight == 0)) {
        let problem = "every backend has weight 0: no client could be placed";
        pool.itself.refuse(report, problem, "at least one backend with weight 1 to 1000");
    }

    if let Ok(Some(health)) = &pool.health
        && health.port.is_none()
    {
        for found in pool.addresses().filter(|found| found.value.1.is_none()) {
            found.refuse(report, "no port to probe", "a port here, or health.port in the pool");
        }
    }
}

/// A backend without a port is reached at each port that clients use: one with a port at the same
/// address could be the same server.
fn ports_of_one_address(pool: &PoolDraft, report: &Report<'_>) {
    let mut first = HashMap::new();
    for found in pool.addresses() {
        let (address, port) = found.value;
        let (other, at) = *first.entry(address).or_insert((port.is_some(), found.at));
        if other != port.is_some() {
            let line = report.line(at);
            let problem = if other {
                format!("without a port it is every port, that of the backend in line {line} too")
            } else {
                format!("the backend in line {line} has this address with every port")
            };
            found.refuse(report, problem, "one address with ports, or once without");
        }
    }
}

fn one_family<T>(found: &Found<T>, address: IpAddr, first: &str, report: &Report<'_>) {
    let own = family(address);
    let problem = format!("an {own} address, but the pool's first backend has {first}");
    found.refuse(report, problem, format!("{first} addresses in this pool"));
}

fn nat_sources(pool: &PoolDraft, first_family: Option<&str>, report: &Report<'_>) {
    let Ok(sources) = &pool.nat_sources else { return };
    if let (Ok(forward), Some(source)) = (pool.forward, sources.first())
        && forward != Forward::Nat
    {
        let problem = match forward {
            Forward::Tunnel(_) => "forward = \"tunnel\" has a tunnel.source in its place",
            Forward::Nat | Forward::Dsr => "forward = \"dsr\" sends from the client's own address",
        };
        source.refuse(report, problem, "no nat_sources");
        return;
    }
    if let Some(source) = sources.get(NAT_SOURCES) {
        let problem = format!("{} source addresses", sources.len());
        source.refuse(report, problem, format!("up to {NAT_SOURCES} in a pool"));
    }
    let twice = |line| format!("address already used in line {line}");
    let keyed = sources.iter().map(|found| (found.value, found.clone()));
    unique(keyed, report, twice, "each source address once in a pool");
    if let Some(first) = first_family {
        for source in sources.iter().filter(|source| family(source.value) != first) {
            one_family(source, source.value, first, report);
        }
    }
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
        too_many(&listener.itself, "listeners", limits.listeners, listeners.len(), 65_535);
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

fn listener_addresses(listeners: &[Read<ListenerDraft>], report: &Report<'_>) {
    let keyed = listeners.iter().flatten().filter_map(|listener| {
        let address = listener.address.as_ref().ok()?;
        Some(((listener.protocol.ok()?, address.value), address.clone()))
    });
    let twice = |line| format!("address already used in line {line} with the same protocol");
    unique(keyed, report, twice, "each address and port once for tcp and once for udp");
}

/// A listener's address is this machine's own: what is sent there never leaves it. And an answer
/// that is sent to it could be taken for a client's packet.
fn own_addresses(
    pools: &[Read<PoolDraft>],
    listeners: &[Read<ListenerDraft>],
    report: &Report<'_>,
) {
    let addresses =
        listeners.iter().flatten().filter_map(|listener| listener.address.as_ref().ok());
    let mut own = HashMap::new();
    for found in addresses {
        own.entry(found.value.ip()).or_insert(found.at);
    }
    for found in pools.iter().flatten().flat_map(PoolDraft::addresses) {
        if let Some(&at) = own.get(&found.value.0) {
            let line = report.line(at);
            let problem = format!("this is the address of the listener in line {line}");
            found.refuse(report, problem, "an address of another machine");
        }
    }
    for found in sources(pools) {
        if let Some(&at) = own.get(&found.value) {
            let line = report.line(at);
            let problem = format!("this is the address of the listener in line {line}");
            found.refuse(report, problem, "an address of this machine without listeners");
        }
    }
    for found in tunnel_sources(pools) {
        let inside = own.iter().filter(|(address, _)| found.value.holds(**address));
        if let Some(at) = inside.map(|(_, at)| *at).min() {
            let problem = format!("the listener in line {} has one of them", report.line(at));
            found.refuse(report, problem, "addresses without listeners");
        }
    }
}

/// The source addresses of `nat`; the other modes have none, and those that they were given were
/// refused.
fn sources(pools: &[Read<PoolDraft>]) -> impl Iterator<Item = &Found<IpAddr>> {
    let nat =
        pools.iter().flatten().filter(|pool| matches!(pool.forward, Ok(Forward::Nat) | Err(_)));
    nat.filter_map(|pool| pool.nat_sources.as_ref().ok()).flatten()
}

/// The outer source addresses of `tunnel`.
fn tunnel_sources(pools: &[Read<PoolDraft>]) -> impl Iterator<Item = &Found<Prefix>> {
    pools.iter().flatten().filter_map(|pool| pool.tunnel_source.as_ref())
}

/// A source address is this machine's, a backend's is not.
fn sources_of_others(pools: &[Read<PoolDraft>], report: &Report<'_>) {
    let mut backends = HashMap::new();
    for found in pools.iter().flatten().flat_map(PoolDraft::addresses) {
        backends.entry(found.value.0).or_insert(found.at);
    }
    for found in sources(pools) {
        if let Some(&at) = backends.get(&found.value) {
            let line = report.line(at);
            let problem = format!("this is the address of the backend in line {line}");
            found.refuse(report, problem, "an address of this machine");
        }
    }
    for found in tunnel_sources(pools) {
        let inside = backends.iter().filter(|(address, _)| found.value.holds(**address));
        if let Some(at) = inside.map(|(_, at)| *at).min() {
            let problem = format!("the backend in line {} has one of them", report.line(at));
            found.refuse(report, problem, "addresses that no backend has");
        }
    }
}

fn pools_by_name(pools: &[Read<PoolDraft>]) -> HashMap<&str, usize> {
    let mut by_name = HashMap::new();
    for (index, pool) in pools.iter().enumerate() {
        if let Ok(PoolDraft { name: Ok(name), .. }) = pool {
            by_name.entry(name.value.as_str()).or_insert(index);
        }
    }
    by_name
}

/// The index of a listener's pool.
fn pool_of(
    listener: &ListenerDraft,
    pools: &[Read<PoolDraft>],
    by_name: &HashMap<&str, usize>,
    report: &Report<'_>,
) -> Read<usize> {
    let wanted = listener.pool.as_ref().map_err(|&reported| reported)?;
    if let Some(&index) = by_name.get(wanted.value.as_str()) {
        return Ok(index);
    }
    // It may mean a pool whose name, or all of which, was refused.
    for pool in pools {
        pool.as_ref().map_err(|&r| r)?.name.as_ref().map_err(|&r| r)?;
    }
    let names = pools.iter().flatten().filter_map(|pool| pool.name.as_ref().ok());
    let problem = match nearest(&wanted.value, names.map(|name| name.value.as_str())) {
        Some(name) => format!("no such pool; the nearest is {name:?}"),
        None => "no such pool".to_owned(),
    };
    Err(wanted.refuse(report, problem, "the name of a [[pool]]"))
}

fn listener_with_pool(listener: &ListenerDraft, pool: &PoolDraft, report: &Report<'_>) {
    if matches!(pool.forward, Ok(Forward::Tunnel(_))) {
        // Either family goes into either.
        return;
    }
    let Ok(address) = &listener.address else { return };
    let Some(backend) = pool.addresses().next() else { return };
    let (own, theirs) = (family(address.value.ip()), family(backend.value.0));
    if own != theirs {
        let problem = format!("an {own} address, but the backends of its pool have {theirs}");
        address.refuse(report, problem, format!("an {theirs} address, or a pool with {own}"));
    }
}

/// Direct server return and tunnels leave the packet as it is, its port too.
#[derive(Default)]
struct UntranslatedPorts {
    /// Ports that a pool's backends were compared with: thousands of listeners may share both.
    compared: HashSet<(usize, u16)>,
    /// Backends, by their place in the file, of which it was said.
    told: HashSet<usize>,
}

impl UntranslatedPorts {
    /// `index` is the pool's.
    fn check(
        &mut self,
        listener: &ListenerDraft,
        index: usize,
        pool: &PoolDraft,
        report: &Report<'_>,
    ) {
        let (Ok(forward), Ok(address)) = (pool.forward, &listener.address) else { return };
        if forward == Forward::Nat {
            return;
        }
        let port = address.value.port();
        if !self.compared.insert((index, port)) {
            return;
        }
        for backend in pool.addresses() {
            if backend.value.1.is_some_and(|own| own != port) && self.told.insert(backend.at) {
                let line = report.line(address.at);
                let problem = format!(
                    "forward = \"{}\" cannot change the port, {port} for the listener in line \
                     {line}",
                    forward.name()
                );
                backend.refuse(report, problem, "the address without a port, or with that one");
            }
        }
    }
}
