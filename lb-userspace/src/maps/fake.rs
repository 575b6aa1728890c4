//! The maps of an instance in memory, for tests of everything above them.
//!
//! Refuses what would go wrong under traffic: writing a Maglev table that a pool names, or named
//! since the last grace period. Notes every change, and fails on demand.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::Bound,
};

use bytemuck::{Pod, Zeroable};
use lb_common::{
    address::Address,
    layout::{
        Backend, BackendCounters, BackendRef, BackendState, Flood, Flow, FlowKey, FlowSpace,
        IdentityKey, ListenerCounters, Lives, Meta, Name, Own, Pin, PinKey, Pool, Reclaim, Reply,
        Running, ScopeTimes, Settings, SweepRules, Vip, VipKey,
    },
    sweep::{self, Verdict},
    ticks,
};

use super::{Batch, Cursor, LbMaps, MapError, Swept};

/// The maps. Tests look into them and change them as the data path would.
#[derive(Debug, Default)]
pub struct FakeMaps {
    /// `META`.
    pub meta: Option<Meta>,
    /// `SETTINGS`.
    pub settings: Option<Settings>,
    /// `FLOOD`.
    pub flood: Option<Flood>,
    /// `RECLAIM`.
    pub reclaim: Reclaim,
    /// `IDENTITIES`.
    pub identities: BTreeMap<IdentityKey, Name>,
    /// `VIPS`.
    pub vips: BTreeMap<VipKey, Vip>,
    /// `OWN`.
    pub own: BTreeMap<Address, Own>,
    /// `POOLS`.
    pub pools: BTreeMap<u32, Pool>,
    /// `TABLES`, by table.
    pub tables: BTreeMap<u32, Vec<u16>>,
    /// `BACKENDS`.
    pub backends: BTreeMap<u32, Backend>,
    /// `RUNNING`, by backend.
    pub running: BTreeMap<u32, Running>,
    /// `PINS`.
    pub pins: BTreeMap<PinKey, Pin>,
    /// The flows in `FLOWS`, in no order.
    pub flows: Vec<Flow>,
    /// `FLOW_SPACE`.
    pub flow_space: FlowSpace,
    /// Entries in the sample that all flows stand for.
    pub flow_entries: usize,
    /// `REPLIES`.
    pub replies: BTreeMap<FlowKey, Reply>,
    /// `LISTENER_STATS`.
    pub listener_counters: BTreeMap<u32, ListenerCounters>,
    /// `BACKEND_STATS`.
    pub backend_counters: BTreeMap<u32, BackendCounters>,
    /// The clock, nanoseconds.
    pub now_ns: u64,
    /// Entries in a batch of a scan; 0: 4096.
    pub batch: usize,
    /// Changes so far, oldest first: `set_backend 3`, ...
    pub log: RefCell<Vec<String>>,
    /// Changes that succeed from here on before one fails, once.
    pub fails_after: Cell<Option<usize>>,
    named_lately: RefCell<BTreeSet<u32>>,
    sweep: Option<Rules>,
    sweeping: Option<(Swept, Cursor)>,
}

/// What a sweep goes by.
#[derive(Debug)]
struct Rules {
    times: SweepRules,
    scopes: BTreeMap<u32, ScopeTimes>,
    lives: BTreeMap<u32, Lives>,
}

impl Rules {
    fn lives(&self, backend: BackendRef) -> Lives {
        self.lives.get(&backend.id()).copied().unwrap_or_default()
    }
}

impl FakeMaps {
    /// The changes since the last call.
    pub fn take_log(&self) -> Vec<String> {
        self.log.take()
    }

    fn change(&self, map: &'static str, what: String) -> Result<(), MapError> {
        match self.fails_after.get() {
            Some(0) => {
                self.fails_after.set(None);
                return Err(refused(map, "told to fail"));
            }
            Some(left) => self.fails_after.set(Some(left - 1)),
            None => {}
        }
        self.log.borrow_mut().push(what);
        Ok(())
    }

    fn batch_of<K: Pod + Ord, V: Copy>(
        &self,
        map: &'static str,
        entries: &BTreeMap<K, V>,
        cursor: &mut Cursor,
    ) -> Result<Batch<K, V>, MapError> {
        if cursor.done {
            return Ok(Vec::new());
        }
        let from = match bytemuck::try_pod_read_unaligned::<K>(&cursor.position) {
            Ok(last) => Bound::Excluded(last),
            Err(_) if cursor.position.is_empty() => Bound::Unbounded,
            Err(_) => return Err(refused(map, "not a position")),
        };
        let size = if self.batch == 0 { 4096 } else { self.batch };
        let mut rest = entries.range((from, Bound::Unbounded)).map(|(key, value)| (*key, *value));
        let batch: Batch<K, V> = rest.by_ref().take(size).collect();
        cursor.done = rest.next().is_none();
        if let Some((last, _)) = batch.last() {
            cursor.position = bytemuck::bytes_of(last).to_vec();
        }
        Ok(batch)
    }

    fn sweep_through<K: Pod + Ord, V: Copy>(
        &mut self,
        map: &'static str,
        entries: impl Fn(&mut Self) -> &mut BTreeMap<K, V>,
        judge: impl Fn(&K, &V) -> Verdict,
        cursor: &mut Cursor,
    ) -> Result<Vec<Verdict>, MapError> {
        let all = std::mem::take(entries(self));
        let batch = self.batch_of(map, &all, cursor);
        *entries(self) = all;
        let judged: Vec<_> = batch?.iter().map(|(key, value)| (*key, judge(key, value))).collect();
        let dead = judged.iter().filter(|(_, verdict)| *verdict == Verdict::Dead);
        let dead: Vec<K> = dead.map(|(key, _)| *key).collect();
        if !dead.is_empty() {
            self.change(map, format!("reclaim {map} {}", dead.len()))?;
        }
        for key in dead {
            entries(self).remove(&key);
        }
        Ok(judged.into_iter().map(|(_, verdict)| verdict).collect())
    }
}

fn refused(map: &'static str, why: &str) -> MapError {
    MapError { operation: "write", map, source: io::Error::other(why.to_owned()) }
}

impl LbMaps for FakeMaps {
    fn meta(&self) -> Result<Meta, MapError> {
        Ok(self.meta.unwrap_or_default())
    }

    fn set_meta(&mut self, meta: &Meta) -> Result<(), MapError> {
        self.change("META", "set_meta".to_owned())?;
        self.meta = Some(*meta);
        Ok(())
    }

    fn set_settings(&mut self, settings: &Settings) -> Result<(), MapError> {
        self.change("SETTINGS", "set_settings".to_owned())?;
        self.settings = Some(*settings);
        Ok(())
    }

    fn set_flood(&mut self, flood: &Flood) -> Result<(), MapError> {
        self.change("FLOOD", "set_flood".to_owned())?;
        self.flood = Some(*flood);
        Ok(())
    }

    fn identities(&self) -> Result<Vec<(IdentityKey, Name)>, MapError> {
        Ok(self.identities.iter().map(|(key, name)| (*key, *name)).collect())
    }

    fn set_identities(&mut self, names: &[(IdentityKey, Name)]) -> Result<(), MapError> {
        for (key, name) in names {
            self.change("IDENTITIES", format!("set_identity {} {}", key.kind, key.id))?;
            self.identities.insert(*key, *name);
        }
        Ok(())
    }

    fn remove_identities(&mut self, keys: &[IdentityKey]) -> Result<(), MapError> {
        for key in keys {
            self.change("IDENTITIES", format!("remove_identity {} {}", key.kind, key.id))?;
            self.identities.remove(key);
        }
        Ok(())
    }

    fn vips(&self) -> Result<Vec<(VipKey, Vip)>, MapError> {
        Ok(self.vips.iter().map(|(key, vip)| (*key, *vip)).collect())
    }

    fn set_vip(&mut self, key: &VipKey, vip: &Vip) -> Result<(), MapError> {
        let capacity = self.meta.unwrap_or_default().listeners as usize;
        if !self.vips.contains_key(key) && self.vips.len() >= capacity {
            return Err(refused("VIPS", "full"));
        }
        self.change("VIPS", format!("set_vip {}", vip.listener))?;
        self.vips.insert(*key, *vip);
        Ok(())
    }

    fn remove_vip(&mut self, key: &VipKey) -> Result<(), MapError> {
        let listener = self.vips.get(key).map_or(0, |vip| vip.listener);
        self.change("VIPS", format!("remove_vip {listener}"))?;
        self.vips.remove(key);
        Ok(())
    }

    fn own(&self) -> Result<Vec<(Address, Own)>, MapError> {
        Ok(self.own.iter().map(|(address, own)| (*address, *own)).collect())
    }

    fn set_own(&mut self, addresses: &[(Address, Own)]) -> Result<(), MapError> {
        for (address, own) in addresses {
            self.change("OWN", format!("set_own {}", IpAddr::from(*address)))?;
            self.own.insert(*address, *own);
        }
        Ok(())
    }

    fn remove_own(&mut self, addresses: &[Address]) -> Result<(), MapError> {
        for address in addresses {
            self.change("OWN", format!("remove_own {}", IpAddr::from(*address)))?;
            self.own.remove(address);
        }
        Ok(())
    }

    fn pool(&self, id: u32) -> Result<Pool, MapError> {
        Ok(self.pools.get(&id).copied().unwrap_or_default())
    }

    fn set_pool(&mut self, id: u32, pool: &Pool) -> Result<(), MapError> {
        if pool.table != 0 && !self.tables.contains_key(&pool.table) {
            return Err(refused("POOLS", "names a table that was never written"));
        }
        self.change("POOLS", format!("set_pool {id}"))?;
        let named = self.pools.insert(id, *pool).map_or(0, |old| old.table);
        if named != pool.table {
            self.named_lately.borrow_mut().insert(named);
        }
        Ok(())
    }

    fn write_table(&mut self, table: u32, slots: &[u16]) -> Result<(), MapError> {
        if self.named_lately.borrow().contains(&table)
            || self.pools.values().any(|pool| pool.table == table)
        {
            return Err(refused("TABLES", "packets may be reading this table"));
        }
        // Not atomic: a failure leaves half a table.
        self.tables.insert(table, vec![0; slots.len()]);
        self.change("TABLES", format!("write_table {table}"))?;
        self.tables.insert(table, slots.to_vec());
        Ok(())
    }

    fn table(&self, table: u32) -> Result<Vec<u16>, MapError> {
        Ok(self.tables.get(&table).cloned().unwrap_or_default())
    }

    fn backends(&self) -> Result<Vec<(u32, Backend)>, MapError> {
        let unset = BackendState::Unset.code();
        let used = self.backends.iter().filter(|(_, backend)| backend.state != unset);
        Ok(used.map(|(id, backend)| (*id, *backend)).collect())
    }

    fn set_backends(&mut self, rows: &[(u32, Backend)]) -> Result<(), MapError> {
        for (id, backend) in rows {
            let old = self.backends.get(id).copied().unwrap_or_default();
            if old.address != backend.address && old.generation == backend.generation {
                return Err(refused("BACKENDS", "an address changes only with the generation"));
            }
            if backend.generation < old.generation {
                return Err(refused("BACKENDS", "generations never go back"));
            }
            self.change("BACKENDS", format!("set_backend {id}"))?;
            self.backends.insert(*id, *backend);
        }
        Ok(())
    }

    fn running(&self) -> Result<Vec<Running>, MapError> {
        let rows = self.running.keys().last().map_or(0, |last| last + 1);
        Ok((0..rows).map(|id| self.running.get(&id).copied().unwrap_or_default()).collect())
    }

    fn set_running(&mut self, rows: &[(u32, Running)]) -> Result<(), MapError> {
        for (id, row) in rows {
            self.change("RUNNING", format!("set_running {id}"))?;
            self.running.insert(*id, *row);
        }
        Ok(())
    }

    fn grace_period(&self) -> Result<(), MapError> {
        self.change("POOLS", "grace_period".to_owned())?;
        self.named_lately.borrow_mut().clear();
        Ok(())
    }

    fn reclaim(&self) -> Result<Reclaim, MapError> {
        Ok(self.reclaim)
    }

    fn set_reclaim(&mut self, reclaim: &Reclaim) -> Result<(), MapError> {
        self.change("RECLAIM", "set_reclaim".to_owned())?;
        self.reclaim = *reclaim;
        Ok(())
    }

    fn scan_pins(&self, cursor: &mut Cursor) -> Result<Batch<PinKey, Pin>, MapError> {
        self.batch_of("PINS", &self.pins, cursor)
    }

    fn scan_flows(&self, cursor: &mut Cursor) -> Result<Vec<Flow>, MapError> {
        let flows: BTreeMap<u64, Flow> = (0..).zip(self.flows.iter().copied()).collect();
        let batch = self.batch_of("FLOWS", &flows, cursor)?;
        Ok(batch.into_iter().map(|(_, flow)| flow).collect())
    }

    fn sample_flows(&self) -> Result<(Vec<Flow>, usize), MapError> {
        Ok((self.flows.clone(), self.flow_entries))
    }

    fn flow_space(&self) -> Result<FlowSpace, MapError> {
        Ok(self.flow_space)
    }

    fn set_flow_space(&mut self, space: &FlowSpace) -> Result<(), MapError> {
        self.change("FLOW_SPACE", format!("set_flow_space {} {}", space.mask, space.before))?;
        self.flow_space = *space;
        Ok(())
    }

    fn move_flows(&mut self) -> Result<(), MapError> {
        self.change("FLOWS", "move_flows".to_owned())
    }

    fn remove_pins(&mut self, keys: &[PinKey]) -> Result<u64, MapError> {
        self.change("PINS", format!("remove_pins {}", keys.len()))?;
        Ok(keys.iter().filter(|key| self.pins.remove(key).is_some()).count() as u64)
    }

    fn set_sweep(
        &mut self,
        rules: &SweepRules,
        scopes: &[(u32, ScopeTimes)],
        lives: &[(u32, Lives)],
    ) -> Result<(), MapError> {
        let scopes = scopes.iter().copied().collect();
        let lives = lives.iter().copied().collect();
        self.sweep = Some(Rules { times: *rules, scopes, lives });
        Ok(())
    }

    fn begin_sweep(&mut self, table: Swept) -> Result<(), MapError> {
        self.sweeping = Some((table, Cursor::default()));
        Ok(())
    }

    fn sweep(&mut self) -> Result<Vec<Verdict>, MapError> {
        let Some((table, mut cursor)) = self.sweeping.take() else { return Ok(Vec::new()) };
        let Some(by) = self.sweep.take() else { return Err(refused("SWEEP", "not written")) };
        let verdicts = match table {
            _ if by.times.before_ns != self.reclaim.before_ns => Ok(Vec::new()),
            Swept::Pins => {
                let judge = |key: &PinKey, pin: &Pin| {
                    sweep::pin(&by.times, pin, by.scopes.get(&key.scope), by.lives(pin.backend))
                };
                self.sweep_through("PINS", |maps| &mut maps.pins, judge, &mut cursor)
            }
            Swept::Replies => {
                let judge = |_: &_, reply: &Reply| sweep::reply(&by.times, reply);
                self.sweep_through("REPLIES", |maps| &mut maps.replies, judge, &mut cursor)
            }
        };
        self.sweep = Some(by);
        self.sweeping = Some((table, cursor));
        verdicts
    }

    fn listener_counters(&self, row: u32) -> Result<ListenerCounters, MapError> {
        Ok(self.listener_counters.get(&row).copied().unwrap_or(ListenerCounters::ZERO))
    }

    fn backend_counters(&self, row: u32) -> Result<BackendCounters, MapError> {
        Ok(self.backend_counters.get(&row).copied().unwrap_or(BackendCounters::zeroed()))
    }

    fn clear_listener_counters(&mut self, row: u32) -> Result<(), MapError> {
        self.change("LISTENER_STATS", format!("clear_listener_counters {row}"))?;
        self.listener_counters.remove(&row);
        Ok(())
    }

    fn clear_backend_counters(&mut self, row: u32) -> Result<(), MapError> {
        self.change("BACKEND_STATS", format!("clear_backend_counters {row}"))?;
        self.backend_counters.remove(&row);
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn now_ticks(&self) -> u32 {
        ticks::short(self.now_ns / self.tick_ns())
    }

    fn tick_ns(&self) -> u64 {
        ticks::TEST_NS
    }
}
