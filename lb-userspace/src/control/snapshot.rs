//! The maps' contents as the agent last read or wrote them.
//!
//! Owns reading them back. Pins, flows and Maglev tables are not among them: too large.

use std::collections::BTreeMap;

use lb_common::{
    address::Address,
    flow::IdleTimes,
    layout::{Backend, Flood, IdentityKey, Kind, Meta, Own, Pool, Vip, VipKey},
};

use super::plan::Weighed;
use crate::maps::{LbMaps, MapError};

/// What stands in the maps.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `META`.
    pub meta: Meta,
    /// What stands in `SETTINGS`; `None`: not written by this agent yet.
    pub idle: Option<IdleTimes>,
    /// What stands in `FLOOD`; `None`: not written by this agent yet.
    pub flood: Option<Flood>,
    /// `IDENTITIES`. A name that is no text stands as an empty one, which nothing has.
    pub identities: BTreeMap<IdentityKey, String>,
    /// `VIPS`.
    pub vips: BTreeMap<VipKey, Vip>,
    /// `OWN`.
    pub own: BTreeMap<Address, Own>,
    /// Rows of `POOLS` that have a name.
    pub pools: BTreeMap<u32, Pool>,
    /// Rows of `BACKENDS` that were ever used.
    pub backends: BTreeMap<u32, Backend>,
    /// Rows of `RUNNING` with a weight.
    pub weighed: BTreeMap<u32, Weighed>,
}

impl Snapshot {
    /// Reads everything.
    pub fn read(maps: &impl LbMaps) -> Result<Self, MapError> {
        let identities: BTreeMap<IdentityKey, String> = maps
            .identities()?
            .into_iter()
            .map(|(key, name)| (key, name.as_str().unwrap_or_default().to_owned()))
            .collect();
        let pools = identities
            .keys()
            .filter(|key| key.kind == u32::from(Kind::Pool.code()))
            .map(|key| Ok((key.id, maps.pool(key.id)?)))
            .collect::<Result<_, MapError>>()?;
        let backends: BTreeMap<u32, Backend> = maps.backends()?.into_iter().collect();
        let weighed = (0..).zip(maps.running()?).filter(|(_, row)| row.weight != 0);
        let weighed = weighed.map(|(id, row)| {
            let weight = u16::try_from(row.weight).unwrap_or(u16::MAX);
            let flows_since = backends.get(&id).map_or(0, |backend| backend.flows_since);
            (id, Weighed { weight, flows_since })
        });
        let weighed = weighed.collect();
        Ok(Self {
            meta: maps.meta()?,
            idle: None,
            flood: None,
            identities,
            vips: maps.vips()?.into_iter().collect(),
            own: maps.own()?.into_iter().collect(),
            pools,
            backends,
            weighed,
        })
    }

    /// Numbers of that kind, with their names.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (u32, &str)> {
        let first = IdentityKey { kind: kind.code().into(), id: 0 };
        let last = IdentityKey { id: u32::MAX, ..first };
        self.identities.range(first..=last).map(|(key, name)| (key.id, name.as_str()))
    }
}
