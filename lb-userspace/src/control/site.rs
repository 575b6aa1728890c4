//! Backends as layer 7 sees them: the same names, lives and states as in the maps. Pure.

use std::collections::{BTreeMap, HashMap};

use lb_common::layout::{BackendState, Kind};

use super::snapshot::Snapshot;
use crate::{
    config::Config,
    l7::{session::Standing, snapshot::Backend},
};

/// The backends of each pool. `weights`: of those that take layer-4 clients, as they are in their slow
/// start; others have what is configured.
pub(super) fn backends(
    config: &Config,
    there: &Snapshot,
    weights: &BTreeMap<u32, u16>,
) -> Vec<Vec<Backend>> {
    let ids: HashMap<&str, u32> =
        there.of_kind(Kind::Backend).map(|(id, name)| (name, id)).collect();
    let backend = |backend: &crate::config::Backend| {
        let id = ids.get(&*backend.name).copied().unwrap_or_default();
        let record = there.backends.get(&id).copied().unwrap_or_default();
        let weight = weights.get(&id).copied().unwrap_or(backend.weight);
        Backend {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            weight: if backend.weight == 0 { 0 } else { weight },
            generation: record.generation,
            standing: match BackendState::from_code(record.state) {
                Some(BackendState::Ready) => Standing::InService,
                Some(BackendState::Draining) => Standing::Draining,
                Some(BackendState::Evacuating) => Standing::Evacuating,
                Some(BackendState::Down | BackendState::Unset) | None => Standing::Down,
            },
        }
    };
    config.pools.iter().map(|pool| pool.backends.iter().map(backend).collect()).collect()
}
