//! Which pools listeners choose, and what those of layer 4 must agree on with theirs.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use crate::config::{
    Forward,
    address::family,
    error::{Read, Report},
    pool::PoolDraft,
    raw::{Found, nearest},
};

/// Pools that can be named.
pub(super) struct Pools<'a> {
    all: &'a [Read<PoolDraft>],
    by_name: HashMap<&'a str, usize>,
    /// One whose name, or all of which, was refused: it may be the one that is meant.
    unknown: Read<()>,
}

impl<'a> Pools<'a> {
    pub(super) fn of(pools: &'a [Read<PoolDraft>]) -> Self {
        let mut by_name = HashMap::new();
        let mut unknown = Ok(());
        for (index, pool) in pools.iter().enumerate() {
            match pool.as_ref().map(|pool| pool.name.as_ref()) {
                Ok(Ok(name)) => {
                    by_name.entry(name.value.as_str()).or_insert(index);
                }
                Ok(Err(&reported)) | Err(&reported) => unknown = unknown.and(Err(reported)),
            }
        }
        Self { all: pools, by_name, unknown }
    }

    /// What could be read of it.
    pub(super) fn get(&self, index: usize) -> Read<&PoolDraft> {
        self.all[index].as_ref().map_err(|&reported| reported)
    }

    /// The index of the pool with that name.
    pub(super) fn index(&self, wanted: &Found<String>, report: &Report<'_>) -> Read<usize> {
        if let Some(&index) = self.by_name.get(wanted.value.as_str()) {
            return Ok(index);
        }
        self.unknown?;
        // The first of equally near ones, in the order of the file.
        let mut names: Vec<_> = self.by_name.iter().collect();
        names.sort_by_key(|(_, index)| **index);
        let problem = match nearest(&wanted.value, names.into_iter().map(|(name, _)| *name)) {
            Some(name) => format!("no such pool; the nearest is {name:?}"),
            None => "no such pool".to_owned(),
        };
        Err(wanted.refuse(report, problem, "the name of a [[pool]]"))
    }
}

/// Packets come out in the family that they went in with, but for tunnels. `address` is a
/// listener's.
pub(super) fn family_of_pool(address: &Found<SocketAddr>, pool: &PoolDraft, report: &Report<'_>) {
    if matches!(pool.forward, Ok(Forward::Tunnel(_))) {
        // Either family goes into either.
        return;
    }
    let Some(backend) = pool.addresses().next() else { return };
    let (own, theirs) = (family(address.value.ip()), family(backend.value.0));
    if own != theirs {
        let problem = format!("an {own} address, but the backends of its pool have {theirs}");
        address.refuse(report, problem, format!("an {theirs} address, or a pool with {own}"));
    }
}

/// Direct server return and tunnels leave the packet as it is, its port too.
#[derive(Default)]
pub(super) struct UntranslatedPorts {
    /// Ports that a pool's backends were compared with: thousands of listeners may share both.
    compared: HashSet<(usize, u16)>,
    /// Backends, by their place in the file, of which it was said.
    told: HashSet<usize>,
}

impl UntranslatedPorts {
    /// `address` is a listener's, `index` the pool's.
    pub(super) fn check(
        &mut self,
        address: &Found<SocketAddr>,
        index: usize,
        pool: &PoolDraft,
        report: &Report<'_>,
    ) {
        let Ok(forward) = pool.forward else { return };
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
