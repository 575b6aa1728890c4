//! What a pool's own parts must agree on.

use std::{collections::HashMap, net::IpAddr};

use lb_common::layout::NAT_SOURCES;

use super::unique;
use crate::config::{
    Forward,
    address::family,
    error::{Read, Report},
    pool::PoolDraft,
    raw::Found,
};

/// Checks a pool without looking at others.
pub(super) fn pool_by_itself(pool: &PoolDraft, report: &Report<'_>) {
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
