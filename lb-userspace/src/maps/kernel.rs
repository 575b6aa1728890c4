//! The kernel's maps, opened from their bpffs pins.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError as AyaError},
};
use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    fingerprint,
    hash::Seed,
    layout::{
        Backend, BackendCounters, FLOWS_IN_LINE, Flood, Flow, FlowLine, FlowSpace, IdentityKey,
        ListenerCounters, Lives, Meta, Name, Own, Pin, PinKey, Pool, Reclaim, Running, ScopeTimes,
        Settings, SweepRules, Vip, VipKey, VipLine, VipRow,
    },
    lines,
    maps::{
        BACKEND_STATS, BACKENDS, FLOOD, FLOW_SPACE, FLOWS, IDENTITIES, LISTENER_STATS, META,
        MOVE_FLOWS, OWN, PINS, POOLS, RECLAIM, RUNNING, SETTINGS, SWEEP, SWEEP_LIVES, SWEEP_PINS,
        SWEEP_REPLIES, SWEEP_SCOPES, TABLES, VIP_INDEX, VIPS,
    },
    select::{SLOTS_PER_WORD, table_words},
    sweep::Verdict,
};

use crate::limits::flow_regions;

use super::{
    Batch, Cursor, LbMaps, MapError, Swept,
    large::{Large, failed, failed_io},
    per_cpu::PerCpu,
    ticks::{self, Ticks},
    vip_index::{Change, VipIndex},
    walk,
};

/// The maps of an instance that is loaded.
pub struct KernelMaps {
    vips: Large<u32, VipRow>,
    vip_lines: Large<u32, VipLine>,
    vip_index: VipIndex,
    own: Large<Address, Own>,
    pools: Array<MapData, Pool>,
    tables: Large<u32, u64>,
    backends: Large<u32, Backend>,
    running: Large<u32, Running>,
    pins: Large<PinKey, Pin>,
    flows: Large<u32, FlowLine>,
    flow_space: Array<MapData, FlowSpace>,
    ticks: Ticks,
    settings: Array<MapData, Settings>,
    flood: Array<MapData, Flood>,
    reclaim: Array<MapData, Reclaim>,
    meta: Array<MapData, Meta>,
    identities: Large<IdentityKey, Name>,
    listener_stats: PerCpu<ListenerCounters>,
    backend_stats: PerCpu<BackendCounters>,
    sweep: Array<MapData, SweepRules>,
    sweep_scopes: Large<u32, ScopeTimes>,
    sweep_lives: Large<u32, Lives>,
    directory: PathBuf,
    sweeping: Option<(&'static str, File)>,
}

/// What an instance's maps were made with.
pub fn meta(directory: &Path) -> Result<Meta, MapError> {
    row(&open(directory, META, Map::Array)?, META, 0)
}

impl KernelMaps {
    /// Opens the maps that are pinned in `directory`; `seed` is the program's, as are `ticks`.
    /// Mends what an agent that was killed has left half done.
    pub fn open(directory: &Path, seed: Seed, ticks: Ticks) -> Result<Self, MapError> {
        let (maps, changes) = Self::restore(directory, seed, ticks)?;
        for change in changes {
            maps.vip_lines.write(&[change.line], &[change.value])?;
        }
        Ok(maps)
    }

    /// The same to look only, and not at flows' times.
    pub fn look(directory: &Path, seed: Seed) -> Result<Self, MapError> {
        Ok(Self::restore(directory, seed, Ticks::new(0, ticks::now_ns()))?.0)
    }

    /// Their pins are in another directory now.
    pub fn moved_to(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
    }

    /// Writes pins, in the place of those of these clients if there are some.
    pub(super) fn put_pins(&self, pins: &[(PinKey, Pin)]) -> Result<(), MapError> {
        self.pins.write_entries(pins)
    }

    /// The maps, and what is to be mended.
    fn restore(
        directory: &Path,
        seed: Seed,
        ticks: Ticks,
    ) -> Result<(Self, Vec<Change>), MapError> {
        let vips = Large::<u32, VipRow>::open(directory, VIPS)?;
        let vip_lines = Large::<u32, VipLine>::open(directory, VIP_INDEX)?;
        let rows: Vec<_> = vips.all()?.into_iter().skip(1).map(|row| row.key).collect();
        let (vip_index, changes) =
            VipIndex::restore(&fingerprint::keys(seed), vip_lines.all()?, &rows);
        let maps = Self {
            vips,
            vip_lines,
            vip_index,
            own: Large::open(directory, OWN)?,
            pools: open(directory, POOLS, Map::Array)?,
            tables: Large::open(directory, TABLES)?,
            backends: Large::open(directory, BACKENDS)?,
            running: Large::open(directory, RUNNING)?,
            pins: Large::open(directory, PINS)?,
            flows: Large::open(directory, FLOWS)?,
            flow_space: open(directory, FLOW_SPACE, Map::Array)?,
            ticks,
            settings: open(directory, SETTINGS, Map::Array)?,
            flood: open(directory, FLOOD, Map::Array)?,
            reclaim: open(directory, RECLAIM, Map::Array)?,
            meta: open(directory, META, Map::Array)?,
            identities: Large::open(directory, IDENTITIES)?,
            listener_stats: PerCpu::open(directory, LISTENER_STATS)?,
            backend_stats: PerCpu::open(directory, BACKEND_STATS)?,
            sweep: open(directory, SWEEP, Map::Array)?,
            sweep_scopes: Large::open(directory, SWEEP_SCOPES)?,
            sweep_lives: Large::open(directory, SWEEP_LIVES)?,
            directory: directory.to_owned(),
            sweeping: None,
        };
        Ok((maps, changes))
    }
}

fn open<T: TryFrom<Map, Error = AyaError>>(
    directory: &Path,
    map: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<T, MapError> {
    MapData::from_pin(directory.join(map))
        .and_then(|data| T::try_from(kind(data)))
        .map_err(|error| failed("open", map, error))
}

fn row<V: Pod>(array: &Array<MapData, V>, name: &'static str, row: u32) -> Result<V, MapError> {
    array.get(&row, 0).map_err(|error| failed("read", name, error))
}

fn set_row<V: Pod>(
    array: &mut Array<MapData, V>,
    name: &'static str,
    row: u32,
    value: &V,
) -> Result<(), MapError> {
    array.set(row, value, 0).map_err(|error| failed("write", name, error))
}

impl LbMaps for KernelMaps {
    fn meta(&self) -> Result<Meta, MapError> {
        row(&self.meta, META, 0)
    }

    fn set_meta(&mut self, meta: &Meta) -> Result<(), MapError> {
        set_row(&mut self.meta, META, 0, meta)
    }

    fn set_settings(&mut self, settings: &Settings) -> Result<(), MapError> {
        set_row(&mut self.settings, SETTINGS, 0, settings)
    }

    fn set_flood(&mut self, flood: &Flood) -> Result<(), MapError> {
        set_row(&mut self.flood, FLOOD, 0, flood)
    }

    fn identities(&self) -> Result<Vec<(IdentityKey, Name)>, MapError> {
        self.identities.entries()
    }

    fn set_identities(&mut self, names: &[(IdentityKey, Name)]) -> Result<(), MapError> {
        self.identities.write_entries(names)
    }

    fn remove_identities(&mut self, keys: &[IdentityKey]) -> Result<(), MapError> {
        self.identities.remove(keys).map(drop)
    }

    fn vips(&self) -> Result<Vec<(VipKey, Vip)>, MapError> {
        let rows = self.vips.all()?;
        let vip = |(key, row): (&VipKey, u16)| Some((*key, rows.get(usize::from(row))?.vip));
        Ok(self.vip_index.rows().filter_map(vip).collect())
    }

    fn set_vip(&mut self, key: &VipKey, vip: &Vip) -> Result<(), MapError> {
        let full = || failed_io("write", VIPS)(io::ErrorKind::StorageFull.into());
        let mut row = self.vip_index.free_row();
        if row.is_none() {
            self.grace_period()?;
            self.vip_index.grace_period_passed();
            row = self.vip_index.free_row();
        }
        let row = row.ok_or_else(full)?;
        self.vips.write(&[row.into()], &[VipRow { key: *key, pad: 0, vip: *vip }])?;
        let change = self.vip_index.set(key, row).ok_or_else(full)?;
        self.vip_lines.write(&[change.line], &[change.value])
    }

    fn remove_vip(&mut self, key: &VipKey) -> Result<(), MapError> {
        match self.vip_index.remove(key) {
            Some(change) => self.vip_lines.write(&[change.line], &[change.value]),
            None => Ok(()),
        }
    }

    fn own(&self) -> Result<Vec<(Address, Own)>, MapError> {
        self.own.entries()
    }

    fn set_own(&mut self, addresses: &[(Address, Own)]) -> Result<(), MapError> {
        self.own.write_entries(addresses)
    }

    fn remove_own(&mut self, addresses: &[Address]) -> Result<(), MapError> {
        self.own.remove(addresses).map(drop)
    }

    fn pool(&self, id: u32) -> Result<Pool, MapError> {
        row(&self.pools, POOLS, id)
    }

    fn set_pool(&mut self, id: u32, pool: &Pool) -> Result<(), MapError> {
        set_row(&mut self.pools, POOLS, id, pool)
    }

    fn write_table(&mut self, table: u32, slots: &[u16]) -> Result<(), MapError> {
        let words: Vec<u64> = slots.chunks(SLOTS_PER_WORD as usize).map(pack).collect();
        let first = first_word(table, slots.len());
        let keys: Vec<u32> = (first..).take(words.len()).collect();
        self.tables.write(&keys, &words)
    }

    fn table(&self, table: u32) -> Result<Vec<u16>, MapError> {
        let meta = self.meta()?;
        let slots = meta.maglev_slots as usize;
        // A position in an array is the index before the next one.
        let before = first_word(table, slots).checked_sub(1).map(u32::to_ne_bytes);
        let (words, _) = self.tables.read(before, table_words(meta.maglev_slots))?;
        Ok(words.into_iter().flat_map(|(_, word)| unpack(word)).take(slots).collect())
    }

    fn backends(&self) -> Result<Vec<(u32, Backend)>, MapError> {
        let (found, _) = self.backends.read(None, self.meta()?.backends + 1)?;
        Ok(found.into_iter().filter(|(_, backend)| *backend != Backend::zeroed()).collect())
    }

    fn set_backends(&mut self, rows: &[(u32, Backend)]) -> Result<(), MapError> {
        self.backends.write_entries(rows)
    }

    fn running(&self) -> Result<Vec<Running>, MapError> {
        self.running.all()
    }

    fn set_running(&mut self, rows: &[(u32, Running)]) -> Result<(), MapError> {
        self.running.write_entries(rows)
    }

    fn grace_period(&self) -> Result<(), MapError> {
        // XDP programs run in RCU read-side sections, and this command waits for all that have
        // begun (`kernel/sched/membarrier.c`: `synchronize_rcu`).
        const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
        // SAFETY: the call takes numbers only.
        let result =
            unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0_u32, 0) };
        if result != 0 {
            // A kernel without the command (nohz_full): no packet takes as long as this.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Ok(())
    }

    fn reclaim(&self) -> Result<Reclaim, MapError> {
        row(&self.reclaim, RECLAIM, 0)
    }

    fn set_reclaim(&mut self, reclaim: &Reclaim) -> Result<(), MapError> {
        set_row(&mut self.reclaim, RECLAIM, 0, reclaim)
    }

    fn scan_pins(&self, cursor: &mut Cursor) -> Result<Batch<PinKey, Pin>, MapError> {
        self.pins.scan(cursor)
    }

    fn scan_flows(&self, cursor: &mut Cursor) -> Result<Vec<Flow>, MapError> {
        let lines = self.flows.scan(cursor)?;
        // Flows move onward only, so that none is passed over.
        let all = self.flows.capacity();
        let in_use = all / flow_regions(all) * self.flow_space()?.regions();
        cursor.done |= lines.last().is_none_or(|(line, _)| line + 1 >= in_use);
        Ok(flows_in(&lines))
    }

    fn sample_flows(&self) -> Result<(Vec<Flow>, usize), MapError> {
        // Of all lines any are as good: places follow from a keyed hash.
        const LINES: u32 = 1024;
        let (lines, _) = self.flows.read(None, LINES)?;
        Ok((flows_in(&lines), lines.len() * FLOWS_IN_LINE))
    }

    fn flow_space(&self) -> Result<FlowSpace, MapError> {
        row(&self.flow_space, FLOW_SPACE, 0)
    }

    fn set_flow_space(&mut self, space: &FlowSpace) -> Result<(), MapError> {
        set_row(&mut self.flow_space, FLOW_SPACE, 0, space)
    }

    fn move_flows(&mut self) -> Result<(), MapError> {
        let mut iterator =
            File::open(self.directory.join(MOVE_FLOWS)).map_err(failed_io("open", MOVE_FLOWS))?;
        // It tells nothing: this is its end.
        walk::read(&mut iterator).map(drop).map_err(failed_io("read", MOVE_FLOWS))
    }

    fn remove_pins(&mut self, keys: &[PinKey]) -> Result<u64, MapError> {
        self.pins.remove(keys)
    }

    fn set_sweep(
        &mut self,
        rules: &SweepRules,
        scopes: &[(u32, ScopeTimes)],
        lives: &[(u32, Lives)],
    ) -> Result<(), MapError> {
        let before: std::collections::BTreeMap<u32, ScopeTimes> =
            self.sweep_scopes.entries()?.into_iter().collect();
        let wanted: std::collections::HashSet<u32> = scopes.iter().map(|(id, _)| *id).collect();
        // First those that go, or there might be no room.
        let gone: Vec<u32> = before.keys().filter(|id| !wanted.contains(id)).copied().collect();
        self.sweep_scopes.remove(&gone)?;
        let differs = |(id, times): &&(u32, ScopeTimes)| before.get(id) != Some(times);
        let changed: Vec<_> = scopes.iter().filter(differs).copied().collect();
        self.sweep_scopes.write_entries(&changed)?;
        self.sweep_lives.write_entries(lives)?;
        // Last: while it is of another sweep, nothing goes by what is half written.
        set_row(&mut self.sweep, SWEEP, 0, rules)
    }

    fn begin_sweep(&mut self, table: Swept) -> Result<(), MapError> {
        let name = match table {
            Swept::Pins => SWEEP_PINS,
            Swept::Replies => SWEEP_REPLIES,
        };
        let iterator = File::open(self.directory.join(name)).map_err(failed_io("open", name))?;
        self.sweeping = Some((name, iterator));
        Ok(())
    }

    fn sweep(&mut self) -> Result<Vec<Verdict>, MapError> {
        let Some((name, iterator)) = &mut self.sweeping else { return Ok(Vec::new()) };
        walk::read(iterator).map_err(failed_io("read", name))
    }

    fn listener_counters(&self, row: u32) -> Result<ListenerCounters, MapError> {
        let mut sum = ListenerCounters::ZERO;
        for cpu in &self.listener_stats.row(row)? {
            for (total, count) in sum.events.iter_mut().zip(cpu.events) {
                *total += count;
            }
            sum.bytes_in += cpu.bytes_in;
            sum.bytes_out += cpu.bytes_out;
        }
        Ok(sum)
    }

    fn backend_counters(&self, row: u32) -> Result<BackendCounters, MapError> {
        let mut sum = BackendCounters::default();
        for cpu in &self.backend_stats.row(row)? {
            sum.packets_in += cpu.packets_in;
            sum.bytes_in += cpu.bytes_in;
            sum.packets_out += cpu.packets_out;
            sum.bytes_out += cpu.bytes_out;
            sum.flows += cpu.flows;
        }
        Ok(sum)
    }

    fn clear_listener_counters(&mut self, row: u32) -> Result<(), MapError> {
        self.listener_stats.clear(row)
    }

    fn clear_backend_counters(&mut self, row: u32) -> Result<(), MapError> {
        self.backend_stats.clear(row)
    }

    fn now_ns(&self) -> u64 {
        ticks::now_ns()
    }

    fn now_ticks(&self) -> u32 {
        self.ticks.at(ticks::now_ns())
    }

    fn tick_ns(&self) -> u64 {
        self.ticks.tick_ns()
    }
}

/// The flows in lines, also those that are over.
fn flows_in(lines: &[(u32, FlowLine)]) -> Vec<Flow> {
    let entries = lines.iter().flat_map(|(_, line)| line.entries);
    entries.filter(|entry| lines::is_flow(entry.owner)).map(Flow::unpack).collect()
}

fn first_word(table: u32, slots: usize) -> u32 {
    table.saturating_sub(1) * table_words(u32::try_from(slots).unwrap_or(u32::MAX))
}

fn pack(slots: &[u16]) -> u64 {
    slots.iter().rev().fold(0, |word, slot| (word << 16) | u64::from(*slot))
}

fn unpack(word: u64) -> [u16; SLOTS_PER_WORD as usize] {
    [0, 16, 32, 48].map(|shift| (word >> shift & 0xffff) as u16)
}

#[cfg(test)]
mod tests {
    use lb_common::select::backend_at;

    use super::*;

    #[test]
    fn packed_slots_stand_where_the_data_path_reads_them() {
        let word = pack(&[1, 2, 3, 65_535]);
        assert_eq!((0..4).map(|i| backend_at(word, i * 16)).collect::<Vec<_>>(), [1, 2, 3, 65_535]);
        assert_eq!(unpack(word), [1, 2, 3, 65_535]);
        assert_eq!(pack(&[7]), 7);
    }
}
