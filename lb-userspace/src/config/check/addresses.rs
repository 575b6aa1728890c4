//! Whose addresses are whose.

use std::{collections::HashMap, net::IpAddr};

use super::unique;
use crate::config::{
    Forward, Prefix,
    error::{Read, Report},
    listener::ListenerDraft,
    pool::PoolDraft,
    raw::Found,
};

/// Two listeners cannot have one address.
pub(super) fn listener_addresses(listeners: &[Read<ListenerDraft>], report: &Report<'_>) {
    let keyed = listeners.iter().flatten().filter_map(|listener| {
        let address = listener.address.as_ref().ok()?;
        let transport = listener.layer.as_ref().ok()?.transport();
        Some(((transport, address.value), address.clone()))
    });
    let twice = |line| format!("address already used in line {line}");
    let allowed = "each address and port once for udp, and once for tcp, http and https";
    unique(keyed, report, twice, allowed);
}

/// A listener's address is this machine's own: what is sent there never leaves it. And an answer
/// that is sent to it could be taken for a client's packet.
pub(super) fn own_addresses(
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
pub(super) fn sources_of_others(pools: &[Read<PoolDraft>], report: &Report<'_>) {
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
