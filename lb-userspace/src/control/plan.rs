//! What the maps should hold: from the model, what is known of backends, and what is there. Pure.
//!
//! Owns the wanted contents; [`super::reconcile`] brings the maps there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    flow::IdleTimes,
    layout::{
        self, Backend, BackendState, Flood, Forward, IdentityKey, Kind, Own, Refresh, Scheduler,
        Vip, VipKey,
    },
    pin::{refresh_step_ns, refresh_ticks},
};

use super::{
    facts::{Facts, Health, Intent, Reach},
    ids::{Full, Ids, key},
    lives::{self, Wish},
    own,
    ramp::{Ramps, Taker},
    snapshot::Snapshot,
    tables::Recipe,
};
use crate::{
    config::{Limits, OnDown},
    maglev::Share,
    model::{self, Model, Pins, Target},
};

/// What a plan follows from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What should be.
    pub model: &'a Model,
    /// What is known of backends.
    pub facts: &'a Facts,
    /// What is there.
    pub there: &'a Snapshot,
    /// Sizes of the instance.
    pub limits: &'a Limits,
    /// Removed backends whose last flow is over.
    pub finished: &'a BTreeSet<u32>,
    /// Who took clients as of the last plan, and since when.
    pub ramps: &'a Ramps,
    /// The present; monotonic clock, nanoseconds.
    pub now_ns: u64,
}

/// What the maps should hold.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The next scope id.
    pub next_scope: u32,
    /// Idle times.
    pub idle: IdleTimes,
    /// Rates of new flows.
    pub flood: Flood,
    /// All names.
    pub identities: BTreeMap<IdentityKey, String>,
    /// All VIPs.
    pub vips: BTreeMap<VipKey, Vip>,
    /// VIPs and NAT sources: no client has such an address.
    pub own: BTreeMap<Address, Own>,
    /// Pools that have a name.
    pub pools: BTreeMap<u32, WantedPool>,
    /// All records, in service or not.
    pub backends: BTreeMap<u32, Backend>,
    /// Backends whose flows are counted, for their scheduler.
    pub weighed: BTreeMap<u32, Weighed>,
    /// Who takes clients now, and since when.
    pub ramps: Ramps,
}

/// A backend whose flows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed {
    /// What they are compared by.
    pub weight: u16,
    /// Flows of lives before this one do not run any more.
    pub flows_since: u32,
}

/// A pool's row, and what its table is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPool {
    /// Its name.
    pub name: String,
    /// Forwarding mode.
    pub forward: Forward,
    /// How a backend is chosen, and the backends that take new clients; none: the pool names no
    /// table.
    pub recipe: Recipe,
}

/// The wanted contents; [`Full`] when they have no room.
pub fn plan(inputs: &Inputs<'_>) -> Result<Wanted, Full> {
    let mut planner = Planner {
        inputs,
        found: Found::new(inputs),
        ids: Ids::recover(&inputs.there.identities),
        wanted: Wanted {
            next_scope: inputs.there.meta.next_scope.max(1),
            idle: inputs.model.idle,
            flood: inputs.model.flood,
            identities: BTreeMap::new(),
            vips: BTreeMap::new(),
            own: BTreeMap::new(),
            pools: BTreeMap::new(),
            backends: BTreeMap::new(),
            weighed: BTreeMap::new(),
            ramps: Ramps::default(),
        },
    };
    let mut pools = Vec::new();
    for pool in &inputs.model.pools {
        pools.push(planner.pool(pool)?);
    }
    planner.leavers();
    for listener in &inputs.model.listeners {
        planner.listener(listener, &pools)?;
    }
    planner.own();
    Ok(planner.wanted)
}

/// Does a backend with that record and weight take new clients?
#[must_use]
pub fn takes_clients(record: &Backend, weight: u16, forward: Forward) -> bool {
    record.state == BackendState::Ready.code()
        && weight > 0
        && record.hop.interface != 0
        && (forward != Forward::Nat || record.nat_source_mask != 0)
}

struct Planner<'a> {
    inputs: &'a Inputs<'a>,
    found: Found<'a>,
    ids: Ids,
    wanted: Wanted,
}

/// What is asked of all listeners or backends once for each: looked for once, in one pass, so that
/// a plan for thousands takes milliseconds.
struct Found<'a> {
    /// Pools that VIPs or backends in the maps name.
    used_pools: HashSet<u32>,
    /// What the VIPs in the maps say of each scope.
    scopes: HashMap<u32, Sharing>,
    /// Of the configured pools, by name.
    on_down: HashMap<&'a str, OnDown>,
    /// Rows of listeners in the maps that the configuration does not have; those not given out
    /// again yet.
    leaving: Vec<u32>,
    /// Rows of backends that it does not have and that keep no flows, likewise.
    leaving_backends: Vec<u32>,
}

/// What the VIPs of a scope have in common.
#[derive(Clone, Copy)]
struct Sharing {
    /// Their pool, and the mask of each family (IPv6, IPv4) that has one.
    pool: u32,
    masks: [Option<Address>; 2],
    /// They agree on all that.
    agree: bool,
}

impl Sharing {
    fn add(self, key: &VipKey, vip: &Vip) -> Self {
        let family = usize::from(key.address.is_v4());
        let mut masks = self.masks;
        let mask = *masks[family].get_or_insert(vip.client_mask);
        let agree = self.agree && self.pool == vip.pool && mask == vip.client_mask;
        Self { masks, agree, ..self }
    }

    /// Do all choose clients by that pool and these masks?
    fn is(self, pool: u32, pins: &Pins) -> bool {
        let masks = [false, true].map(|v4| pins.mask(v4));
        let fit = self.masks.iter().zip(masks).all(|(own, mask)| own.is_none_or(|own| own == mask));
        self.agree && self.pool == pool && fit
    }
}

impl<'a> Found<'a> {
    fn new(inputs: &Inputs<'a>) -> Self {
        let (there, model) = (inputs.there, inputs.model);
        let of_vips = there.vips.values().map(|vip| vip.pool);
        let of_backends = there.backends.values().map(|backend| backend.pool);
        let mut scopes: HashMap<u32, Sharing> = HashMap::new();
        for (key, vip) in &there.vips {
            let first = Sharing { pool: vip.pool, masks: [None; 2], agree: true };
            let sharing = scopes.entry(vip.scope).or_insert(first);
            *sharing = sharing.add(key, vip);
        }
        let stay: HashSet<&str> =
            model.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let leaving = there.of_kind(Kind::Listener).filter(|(_, name)| !stay.contains(name));
        let mut leaving: Vec<u32> = leaving.map(|(id, _)| id).collect();
        // The lowest is taken first, from the end.
        leaving.reverse();
        let on_down: HashMap<&str, OnDown> =
            model.pools.iter().map(|pool| (pool.name.as_str(), pool.on_down)).collect();
        let stay: HashSet<&str> =
            model.backends().map(|(_, backend)| backend.name.as_str()).collect();
        let keeps = |id: &u32| {
            there.backends.get(id).is_some_and(|record| {
                let pool = there.identities.get(&key(Kind::Pool, record.pool));
                let now = pool.and_then(|name| on_down.get(name.as_str()));
                record.flags == lives::flags(OnDown::Keep) || now == Some(&OnDown::Keep)
            })
        };
        let leaving_backends =
            there.of_kind(Kind::Backend).filter(|(_, name)| !stay.contains(name));
        let mut leaving_backends: Vec<u32> =
            leaving_backends.map(|(id, _)| id).filter(|id| !keeps(id)).collect();
        leaving_backends.reverse();
        Self {
            used_pools: of_vips.chain(of_backends).collect(),
            scopes,
            on_down,
            leaving,
            leaving_backends,
        }
    }
}

impl Planner<'_> {
    fn want_identity(&mut self, kind: Kind, id: u32, name: &str) {
        self.wanted.identities.insert(key(kind, id), name.to_owned());
    }

    /// Plans a pool with its backends; its row.
    fn pool(&mut self, pool: &model::Pool) -> Result<u32, Full> {
        let id = self.pool_id(pool)?;
        self.want_identity(Kind::Pool, id, &pool.name);
        let mut shares = Vec::new();
        let mut takers = Vec::new();
        let mut lost = Vec::new();
        for backend in &pool.backends {
            let (backend_id, record) = self.backend(pool, id, backend, false)?;
            if matches!(self.inputs.facts.reach.get(&backend.name), Some(Reach::Lost(_))) {
                lost.push(backend);
            }
            if takes_clients(&record, backend.weight, pool.forward) {
                let (identity, weight) = (backend.identity.clone(), backend.weight);
                shares.push(Share { identity, id: backend_id, weight });
                takers.push((Taker { id: backend_id.into(), weight }, record.flows_since));
            }
        }
        if !shares.is_empty() {
            for backend in lost {
                let _down = self.backend(pool, id, backend, true)?;
            }
        }
        let alone: Vec<Taker> = takers.iter().map(|(taker, _)| *taker).collect();
        let Inputs { ramps: before, now_ns, .. } = *self.inputs;
        let weights = self.wanted.ramps.weigh(before, &alone, pool.slow_start_ns, now_ns);
        for ((share, weight), (taker, flows_since)) in shares.iter_mut().zip(weights).zip(takers) {
            share.weight = weight;
            if pool.scheduler == Scheduler::LeastConnections {
                self.wanted.weighed.insert(taker.id, Weighed { weight, flows_since });
            }
        }
        let recipe = Recipe { scheduler: pool.scheduler, shares };
        let row = WantedPool { name: pool.name.clone(), forward: pool.forward, recipe };
        self.wanted.pools.insert(id, row);
        Ok(id)
    }

    /// A pool that changes its forwarding mode gets another row: flows placed in one mode cannot
    /// go on in the other, so its backends begin new lives, as with any other pool.
    fn pool_id(&mut self, pool: &model::Pool) -> Result<u32, Full> {
        let there = self.inputs.there;
        let fits = |id: &&u32| {
            let same = there.pools.get(*id).is_some_and(|row| row.forward == pool.forward.code());
            same || !self.found.used_pools.contains(*id)
        };
        match self.ids.all(Kind::Pool, &pool.name).iter().rev().find(fits) {
            Some(id) => Ok(*id),
            None => self.ids.assign(Kind::Pool, &pool.name, "pools", self.inputs.limits.pools),
        }
    }

    fn backend(
        &mut self,
        pool: &model::Pool,
        pool_id: u32,
        backend: &model::Backend,
        others_serve: bool,
    ) -> Result<(u16, Backend), Full> {
        static NOT_YET: Reach = Reach::Pending(String::new());
        let limits = self.inputs.limits;
        let id = self.backend_id(&backend.name)?;
        // Table slots are 16 bits wide.
        let Ok(short_id) = u16::try_from(id) else {
            return Err(Full { limit: "backends", capacity: limits.backends });
        };
        let facts = self.inputs.facts;
        let row = self.inputs.there.backends.get(&id).copied().unwrap_or_default();
        let name = self.inputs.there.identities.get(&key(Kind::Backend, id));
        let known = name == Some(&backend.name) && row.state != BackendState::Unset.code();
        let previous = known.then_some(&row);
        let pools = &self.inputs.there.pools;
        let same_mode = previous
            .and_then(|old| pools.get(&old.pool))
            .is_some_and(|old| old.forward == pool.forward.code());
        let wish = Wish {
            pool: pool_id,
            same_mode,
            address: backend.address,
            port_be: backend.port_be,
            on_down: pool.on_down,
            tunnel: pool.tunnel.as_ref(),
            checked: pool.checked,
            intent: facts.intent.get(&backend.name).copied().unwrap_or(Intent::Ready),
            health: facts.health.get(&backend.name).unwrap_or(&Health::Unknown),
            reach: facts.reach.get(&backend.name).unwrap_or(&NOT_YET),
            others_serve,
        };
        let record = lives::next(previous, &row, &wish);
        self.wanted.backends.insert(id, record);
        self.want_identity(Kind::Backend, id, &backend.name);
        Ok((short_id, record))
    }

    /// A row of `BACKENDS`; when none is free, that of one on its way out whose flows are reset
    /// anyway.
    fn backend_id(&mut self, name: &str) -> Result<u32, Full> {
        if let Some(id) = self.ids.get(Kind::Backend, name) {
            return Ok(id);
        }
        let limit = self.inputs.limits.backends;
        self.ids.assign(Kind::Backend, name, "backends", limit).or_else(|full| {
            let id = self.found.leaving_backends.pop().ok_or(full)?;
            self.ids.note(key(Kind::Backend, id), name);
            Ok(id)
        })
    }

    /// Plans what the configuration no longer has: backends stay as down, and keep their names
    /// while they serve flows; so do the pools that those flows are forwarded by.
    fn leavers(&mut self) {
        let there = self.inputs.there;
        for (id, record) in &there.backends {
            if self.wanted.backends.contains_key(id) {
                continue;
            }
            let name = there.identities.get(&key(Kind::Backend, *id));
            let keeps = name.is_some()
                && self.on_down_of(record) == OnDown::Keep
                && !self.inputs.finished.contains(id);
            let on_down = if keeps { OnDown::Keep } else { OnDown::Reset };
            self.wanted.backends.insert(*id, lives::removed(record, on_down));
            if let Some(name) = name.filter(|_| keeps) {
                self.want_identity(Kind::Backend, *id, name);
                self.keep_pool(record.pool);
            }
        }
    }

    fn on_down_of(&self, record: &Backend) -> OnDown {
        let pool = self.wanted.pools.get(&record.pool);
        match pool.and_then(|pool| self.found.on_down.get(pool.name.as_str())) {
            Some(on_down) => *on_down,
            None if record.flags == lives::flags(OnDown::Keep) => OnDown::Keep,
            None => OnDown::Reset,
        }
    }

    fn keep_pool(&mut self, id: u32) {
        let there = self.inputs.there;
        let name = there.identities.get(&key(Kind::Pool, id));
        let forward = there.pools.get(&id).and_then(|row| Forward::from_code(row.forward));
        if let (Some(name), Some(forward)) = (name, forward)
            && !self.wanted.pools.contains_key(&id)
        {
            self.want_identity(Kind::Pool, id, name);
            let recipe = Recipe { scheduler: Scheduler::Maglev, shares: Vec::new() };
            let row = WantedPool { name: name.clone(), forward, recipe };
            self.wanted.pools.insert(id, row);
        }
    }

    /// `pools`: rows of the model's pools.
    fn listener(&mut self, listener: &model::Listener, pools: &[u32]) -> Result<(), Full> {
        let id = self.listener_id(listener)?;
        self.want_identity(Kind::Listener, id, &listener.name);
        let vip = match &listener.target {
            Target::Pool { pool, pins } => {
                self.pool_vip(id, pools[*pool], pins.as_ref(), listener.key.address.is_v4())
            }
            Target::Sidecar => {
                let (listener, target) = (id, layout::Target::Sidecar.code());
                Vip { listener, target, ..Vip::zeroed() }
            }
        };
        self.wanted.vips.insert(listener.key, vip);
        Ok(())
    }

    fn pool_vip(&mut self, listener: u32, pool: u32, pins: Option<&Pins>, v4: bool) -> Vip {
        let target = layout::Target::Pool.code();
        match pins {
            Some(pins) => Vip {
                timeout_ns: pins.timeout_ns,
                max_lifetime_ns: pins.max_lifetime_ns,
                refresh_ns: refresh_step_ns(pins.timeout_ns),
                client_mask: pins.mask(v4),
                listener,
                pool,
                scope: self.scope_id(pins, pool),
                refresh_ticks: refresh_ticks(refresh_step_ns(pins.timeout_ns)),
                refresh: pins.refresh.code(),
                target,
                pad: [0; 6],
            },
            None => Vip {
                timeout_ns: 0,
                max_lifetime_ns: 0,
                refresh_ns: refresh_step_ns(u64::MAX),
                client_mask: Address::mask(128),
                listener,
                pool,
                scope: 0,
                refresh_ticks: refresh_ticks(refresh_step_ns(u64::MAX)),
                refresh: Refresh::Never.code(),
                target,
                pad: [0; 6],
            },
        }
    }

    fn own(&mut self) {
        let serving = self.wanted.backends.values().filter(|record| lives::in_service(record));
        let sources = serving.flat_map(|record| {
            let places = record.nat_sources.iter().enumerate();
            places.filter(|(place, _)| record.nat_source_mask >> place & 1 != 0).map(|(_, it)| *it)
        });
        let sources = sources.map(|source| (source, Own::default()));
        self.wanted.own =
            sources.chain(own::of_listeners(self.inputs.model.echo, &self.wanted)).collect();
    }

    /// A row of counters; when none is free, that of a listener on its way out.
    fn listener_id(&mut self, listener: &model::Listener) -> Result<u32, Full> {
        if let Some(id) = self.ids.get(Kind::Listener, &listener.name) {
            return Ok(id);
        }
        let limit = self.inputs.limits.listeners;
        match self.ids.assign(Kind::Listener, &listener.name, "listeners", limit) {
            Ok(id) => Ok(id),
            Err(full) => self.found.leaving.pop().ok_or(full),
        }
    }

    /// The scope keeps its number while pool and prefixes stay: else pins would be followed that
    /// mean another pool's backends, or other clients.
    fn scope_id(&mut self, pins: &Pins, pool: u32) -> u32 {
        // One that no VIP has is left over from an interrupted change.
        let same =
            |id: &u32| self.found.scopes.get(id).is_some_and(|sharing| sharing.is(pool, pins));
        let wanted = |id: &u32| self.wanted.identities.contains_key(&key(pins.scope.kind, *id));
        let known = self.ids.get(pins.scope.kind, &pins.scope.name);
        let id = known.filter(|id| wanted(id) || same(id)).unwrap_or_else(|| {
            let id = self.wanted.next_scope;
            self.wanted.next_scope += 1;
            self.ids.note(key(pins.scope.kind, id), &pins.scope.name);
            id
        });
        self.want_identity(pins.scope.kind, id, &pins.scope.name);
        id
    }
}
