//! Brings the maps from what they hold to what is wanted, in an order that is safe under traffic.
//!
//! Owns that order, and writes nothing that is right already:
//!
//! 1. names, so that an agent that dies half-way leaves no number without one;
//! 2. rows of new pools, without a table;
//! 3. backends that are in service, before a table or a pin can name their new life, and the
//!    weights of those whose flows are counted;
//! 4. Maglev tables, and the pools that name them;
//! 5. own addresses, then VIPs: from here on new clients find the new state;
//! 6. removals: VIPs, own addresses, pools, backends that go down, and last the names.
//!
//! Each write is noted in the snapshot once it has succeeded. After an error the caller reads the
//! maps anew, plans anew and tries again: that is safe at any point.

use std::collections::BTreeSet;

use lb_common::{
    address::Address,
    event::Event,
    flow,
    hash::Seed,
    layout::{IdentityKey, Kind, Meta, Name, Pool, Running, Scheduler},
};

use super::{
    lives,
    plan::{Wanted, WantedPool, Weighed},
    snapshot::Snapshot,
    tables::{Tables, first_table, idle_table},
};
use crate::{
    maglev,
    maps::{LbMaps, MapError},
};

/// What a reconciliation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows and entries written or removed, tables not counted.
    pub writes: usize,
    /// Maglev tables written.
    pub tables: usize,
    /// Waits for packets under way.
    pub grace_periods: usize,
}

/// A map could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {source}")]
pub struct ApplyError {
    /// What was being changed: `backend web-1`, ...
    pub object: String,
    /// What went wrong.
    #[source]
    pub source: MapError,
}

/// What every table is built with.
#[derive(Debug, Clone, Copy)]
pub struct TableShape {
    /// The secret seed.
    pub seed: Seed,
    /// Slots of a table.
    pub slots: u32,
}

/// Brings the maps to `wanted`; `listeners` is how many VIPs fit.
pub fn reconcile<M: LbMaps>(
    maps: &mut M,
    there: &mut Snapshot,
    tables: &mut Tables,
    wanted: &Wanted,
    shape: TableShape,
    listeners: u32,
) -> Result<Applied, ApplyError> {
    let mut run = Run { maps, there, tables, wanted, shape, done: Applied::default() };
    run.names()?;
    run.new_pools()?;
    run.backends(true)?;
    run.weights()?;
    run.pools()?;
    run.own()?;
    if run.vips_to_come() > listeners as usize {
        // No room for both the old and the new: the old go first, and their packets wait.
        run.remove_vips()?;
    }
    run.vips()?;
    run.remove_vips()?;
    run.remove_own()?;
    run.remove_pools()?;
    run.backends(false)?;
    run.remove_names()?;
    Ok(run.done)
}

struct Run<'a, M> {
    maps: &'a mut M,
    there: &'a mut Snapshot,
    tables: &'a mut Tables,
    wanted: &'a Wanted,
    shape: TableShape,
    done: Applied,
}

/// Puts what was being changed before an error.
fn at<'a>(object: impl FnOnce() -> String + 'a) -> impl FnOnce(MapError) -> ApplyError + 'a {
    move |source| ApplyError { object: object(), source }
}

impl<M: LbMaps> Run<'_, M> {
    fn names(&mut self) -> Result<(), ApplyError> {
        if self.there.idle != Some(self.wanted.idle) {
            let settings = flow::settings(&self.wanted.idle, self.maps.tick_ns());
            self.maps.set_settings(&settings).map_err(at(|| "settings".into()))?;
            self.there.idle = Some(self.wanted.idle);
            self.done.writes += 1;
        }
        if self.there.flood != Some(self.wanted.flood) {
            self.maps.set_flood(&self.wanted.flood).map_err(at(|| "rates of new flows".into()))?;
            self.there.flood = Some(self.wanted.flood);
            self.done.writes += 1;
        }
        let meta = Meta { next_scope: self.wanted.next_scope, ..self.there.meta };
        if meta != self.there.meta {
            self.maps.set_meta(&meta).map_err(at(|| "scope numbers".into()))?;
            self.there.meta = meta;
            self.done.writes += 1;
        }
        let there = &self.there.identities;
        let wanted = self.wanted.identities.iter();
        let new: Vec<_> = wanted.filter(|(key, name)| there.get(key) != Some(name)).collect();
        for (key, _) in &new {
            self.clear_counters(**key)?;
        }
        // Validated names are short enough.
        let texts = new.iter().filter_map(|(key, name)| Some((**key, Name::new(name)?)));
        let texts: Vec<_> = texts.collect();
        if !texts.is_empty() {
            self.maps.set_identities(&texts).map_err(at(|| "names".into()))?;
        }
        self.done.writes += texts.len();
        self.there.identities.extend(new.into_iter().map(|(key, name)| (*key, name.clone())));
        Ok(())
    }

    /// A number begins to count for another name.
    fn clear_counters(&mut self, key: IdentityKey) -> Result<(), ApplyError> {
        if key.kind == u32::from(Kind::Backend.code()) {
            let clear = self.maps.clear_backend_counters(key.id);
            clear.map_err(at(|| format!("counters of backend {}", key.id)))
        } else if key.kind == u32::from(Kind::Listener.code()) {
            let clear = retire_listener_counters(self.maps, key.id);
            clear.map_err(at(|| format!("counters of listener {}", key.id)))
        } else {
            Ok(())
        }
    }

    /// The forwarding mode stands before anything refers to the row.
    fn new_pools(&mut self) -> Result<(), ApplyError> {
        for (id, pool) in &self.wanted.pools {
            let there = self.there.pools.get(id).copied().unwrap_or_default();
            if there.forward != pool.forward.code() || !self.there.pools.contains_key(id) {
                let row = pool_row(pool, 0);
                self.set_pool(*id, &pool.name, row)?;
            }
        }
        Ok(())
    }

    fn backends(&mut self, in_service: bool) -> Result<(), ApplyError> {
        let there = &self.there.backends;
        let rows = self.wanted.backends.iter().filter(|(id, record)| {
            lives::in_service(record) == in_service && there.get(id) != Some(record)
        });
        let rows: Vec<_> = rows.map(|(id, record)| (*id, *record)).collect();
        if !rows.is_empty() {
            self.maps.set_backends(&rows).map_err(at(|| "backends".into()))?;
        }
        self.done.writes += rows.len();
        self.there.backends.extend(rows);
        Ok(())
    }

    /// Weights that flows are counted against. One that begins anew, after its flows ended, has
    /// none; any other has as many as before.
    fn weights(&mut self) -> Result<(), ApplyError> {
        let there = &self.there.weighed;
        let new = self.wanted.weighed.iter().filter(|(id, next)| there.get(id) != Some(next));
        let new: Vec<_> = new.map(|(id, next)| (*id, *next)).collect();
        if !new.is_empty() {
            let now = self.maps.running().map_err(at(|| "running flows".into()))?;
            let row = |(id, next): &(u32, Weighed)| {
                let before = self.there.weighed.get(id);
                let goes_on = before.is_some_and(|old| old.flows_since == next.flows_since);
                let flows = now.get(*id as usize).filter(|_| goes_on).map_or(0, |row| row.flows);
                (*id, Running { flows, weight: next.weight.into() })
            };
            let rows: Vec<_> = new.iter().map(row).collect();
            self.maps.set_running(&rows).map_err(at(|| "running flows".into()))?;
        }
        self.done.writes += new.len();
        self.there.weighed.extend(new);
        Ok(())
    }

    fn pools(&mut self) -> Result<(), ApplyError> {
        for (id, pool) in &self.wanted.pools {
            let row = self.there.pools.get(id).copied().unwrap_or_default();
            let empty = pool.recipe.shares.is_empty();
            let table = if empty { 0 } else { self.table(*id, row, pool)? };
            self.set_pool(*id, &pool.name, pool_row(pool, table))?;
        }
        Ok(())
    }

    /// The pool's table that holds the wanted shares, written now if need be.
    fn table(&mut self, id: u32, row: Pool, pool: &WantedPool) -> Result<u32, ApplyError> {
        let named = row.table;
        let (idle, first) = (idle_table(id, named), first_table(id));
        for table in [named, first, first + 1] {
            if table != 0 && self.tables.built(id, table) == Some(&pool.recipe) {
                return Ok(table);
            }
        }
        let (TableShape { seed, slots }, shares) = (self.shape, &pool.recipe.shares);
        let slots = match pool.recipe.scheduler {
            Scheduler::Maglev => maglev::build(seed, slots, shares),
            Scheduler::RoundRobin | Scheduler::LeastConnections => maglev::in_turns(slots, shares),
        };
        let name = || format!("table of pool {}", pool.name);
        if named != 0 && self.tables.built(id, named).is_none() {
            let there = self.maps.table(named).map_err(at(name))?;
            if there == slots {
                self.tables.note_built(id, named, Some(&pool.recipe));
                return Ok(named);
            }
        }
        if self.tables.needs_grace(id) {
            self.maps.grace_period().map_err(at(|| "packets under way".into()))?;
            self.tables.settle();
            self.done.grace_periods += 1;
        }
        self.tables.note_built(id, idle, None);
        self.maps.write_table(idle, &slots).map_err(at(name))?;
        self.tables.note_built(id, idle, Some(&pool.recipe));
        self.done.tables += 1;
        Ok(idle)
    }

    fn set_pool(&mut self, id: u32, name: &str, next: Pool) -> Result<(), ApplyError> {
        let known = self.there.pools.get(&id).copied();
        if known == Some(next) {
            return Ok(());
        }
        // Before the write: should it fail, nobody knows which of the two is named.
        if known.is_some_and(|row| row.table != 0 && row.table != next.table) {
            self.tables.note_swapped(id);
        }
        self.maps.set_pool(id, &next).map_err(at(|| format!("pool {name}")))?;
        self.there.pools.insert(id, next);
        self.done.writes += 1;
        Ok(())
    }

    fn own(&mut self) -> Result<(), ApplyError> {
        let there = &self.there.own;
        let new = self.wanted.own.iter().filter(|(address, own)| there.get(address) != Some(own));
        let new: Vec<_> = new.map(|(address, own)| (*address, *own)).collect();
        if !new.is_empty() {
            self.maps.set_own(&new).map_err(at(|| "own addresses".into()))?;
        }
        self.done.writes += new.len();
        self.there.own.extend(new);
        Ok(())
    }

    fn remove_own(&mut self) -> Result<(), ApplyError> {
        let wanted = &self.wanted.own;
        let stale = self.there.own.keys().filter(|address| !wanted.contains_key(*address));
        let stale: Vec<Address> = stale.copied().collect();
        if !stale.is_empty() {
            self.maps.remove_own(&stale).map_err(at(|| "own addresses".into()))?;
        }
        self.done.writes += stale.len();
        for address in &stale {
            self.there.own.remove(address);
        }
        Ok(())
    }

    fn vips_to_come(&self) -> usize {
        let there: BTreeSet<_> = self.there.vips.keys().collect();
        there.union(&self.wanted.vips.keys().collect()).count()
    }

    fn vips(&mut self) -> Result<(), ApplyError> {
        for (key, vip) in &self.wanted.vips {
            if self.there.vips.get(key) == Some(vip) {
                continue;
            }
            self.maps.set_vip(key, vip).map_err(at(|| format!("listener {}", vip.listener)))?;
            self.there.vips.insert(*key, *vip);
            self.done.writes += 1;
        }
        Ok(())
    }

    fn remove_vips(&mut self) -> Result<(), ApplyError> {
        let stale: Vec<_> = self
            .there
            .vips
            .iter()
            .filter(|(key, _)| !self.wanted.vips.contains_key(key))
            .map(|(key, vip)| (*key, vip.listener))
            .collect();
        for (key, listener) in stale {
            self.maps.remove_vip(&key).map_err(at(|| format!("listener {listener}")))?;
            self.there.vips.remove(&key);
            self.done.writes += 1;
        }
        Ok(())
    }

    fn remove_pools(&mut self) -> Result<(), ApplyError> {
        let stale: Vec<u32> = self
            .there
            .pools
            .keys()
            .filter(|id| !self.wanted.pools.contains_key(id))
            .copied()
            .collect();
        for id in stale {
            self.set_pool(id, &id.to_string(), Pool::default())?;
            self.there.pools.remove(&id);
        }
        Ok(())
    }

    fn remove_names(&mut self) -> Result<(), ApplyError> {
        let wanted = &self.wanted.identities;
        let stale = self.there.identities.keys().filter(|key| !wanted.contains_key(key));
        let stale: Vec<IdentityKey> = stale.copied().collect();
        for key in &stale {
            if key.kind == u32::from(Kind::Listener.code()) {
                self.clear_counters(*key)?;
            }
        }
        if !stale.is_empty() {
            self.maps.remove_identities(&stale).map_err(at(|| "names".into()))?;
        }
        self.done.writes += stale.len();
        for key in &stale {
            self.there.identities.remove(key);
        }
        Ok(())
    }
}

fn pool_row(pool: &WantedPool, table: u32) -> Pool {
    let (forward, scheduler) = (pool.forward.code(), pool.recipe.scheduler.code());
    Pool { table, forward, scheduler, ..Pool::default() }
}

/// Sets a listener's counters to zero, and takes what it made off what was removed: so that
/// `made - removed - held` over the listeners left still tells evictions. The totals may so pass
/// below zero; they are counted modulo 2^64.
fn retire_listener_counters(maps: &mut impl LbMaps, row: u32) -> Result<(), MapError> {
    let counters = maps.listener_counters(row)?;
    let made = |event: Event| counters.events[event as usize];
    if [Event::PinMade, Event::FlowMade, Event::ReplyMade].iter().any(|event| made(*event) > 0) {
        let mut totals = maps.reclaim()?;
        totals.pins_removed = totals.pins_removed.wrapping_sub(made(Event::PinMade));
        totals.replies_removed = totals.replies_removed.wrapping_sub(made(Event::ReplyMade));
        maps.set_reclaim(&totals)?;
    }
    maps.clear_listener_counters(row)
}
