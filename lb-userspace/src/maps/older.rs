//! An instance that an earlier version of Holdfast has made: what of it is read, and carried into
//! maps of the present layout.
//!
//! Owns what earlier layouts looked like. Carried over are who is pinned where, and what pins name:
//! names and numbers, listeners with their scopes, pools, backends with their lives and next hops.
//! Flows, answers and counters begin anew.

use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use lb_common::{
    address::Address,
    layout::{
        Backend, Hop, IdentityKey, Kind, Meta, NAT_SOURCES, Name, Pin, PinKey, Pool, Reclaim,
        Tunnel, Vip, VipKey, VipLine,
    },
    maps::{BACKENDS, IDENTITIES, LAYOUT_VERSION, META, PINS, POOLS, VIP_INDEX, VIPS},
};

use super::{
    Batch, Cursor, LbMaps, MapError,
    kernel::{self, KernelMaps},
    large::Large,
};

/// Reads a map of the instance in a directory, into the present form.
type Read<K, V> = fn(&Path) -> Result<Batch<K, V>, MapError>;

/// A version's layouts, where they differ from the present ones.
struct Layout {
    version: u32,
    vips: Read<VipKey, Vip>,
    backends: Read<u32, Backend>,
}

/// Every version that is taken over. Each change of a layout that is read here gets its version's
/// row; what has changed gets its old form below.
const KNOWN: [Layout; 8] = [
    Layout { version: 3, vips: vips_by_key, backends: backends::<WithoutTunnel> },
    Layout { version: 4, vips: vips_in_rows::<TimedVip>, backends: backends::<WithoutTunnel> },
    Layout { version: 5, vips: vips_in_rows::<TimedVip>, backends: backends::<Counted> },
    Layout { version: 6, vips: vips_in_rows::<TimedVip>, backends: backends::<Counted> },
    Layout { version: 7, vips: vips_in_rows::<Vip>, backends: backends::<Backend> },
    Layout { version: 8, vips: vips_in_rows::<Vip>, backends: backends::<Backend> },
    Layout { version: 9, vips: vips_in_rows::<Vip>, backends: backends::<Backend> },
    // Every VIP leads to a pool there: the byte that says so was zero.
    Layout { version: 10, vips: vips_in_rows::<Vip>, backends: backends::<Backend> },
];

// Of these the present form is that of all versions in `KNOWN`, but for what is said there. Who
// changes one of them puts the old form here.
const _: () = {
    assert!(size_of::<Meta>() == 32 && size_of::<Name>() == 64 && size_of::<IdentityKey>() == 8);
    assert!(size_of::<PinKey>() == 20 && size_of::<Pin>() == 24 && size_of::<Pool>() == 8);
    assert!(size_of::<VipKey>() == 20 && size_of::<TimedVip>() == 56 && size_of::<Vip>() == 64);
    assert!(size_of::<WithoutTunnel>() == 132 && size_of::<Backend>() == 172);
};

/// The first version that is taken over.
pub const OLDEST: u32 = KNOWN[0].version;

/// An instance of an earlier version.
pub struct Older {
    directory: PathBuf,
    layout: &'static Layout,
    meta: Meta,
    /// When pins began to be carried; what was made later is carried in the end.
    since_ns: u64,
}

/// Can an instance of that layout version be taken over?
#[must_use]
pub fn is_known(version: u32) -> bool {
    KNOWN.iter().any(|layout| layout.version == version)
}

impl Older {
    /// The instance in that directory; `None`: there is none, or it is of the present version, or
    /// of one that is not known.
    pub fn find(directory: &Path) -> Result<Option<Self>, MapError> {
        if !directory.join(META).exists() {
            return Ok(None);
        }
        let meta = kernel::meta(directory)?;
        let layout = KNOWN.iter().find(|layout| layout.version == meta.layout_version);
        Ok(layout.map(|layout| Self { directory: directory.to_owned(), layout, meta, since_ns: 0 }))
    }

    /// Its layout version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.layout.version
    }

    /// Carries everything into maps that are new. Packets may go on with the old ones.
    pub fn carry(&mut self, to: &mut KernelMaps) -> Result<(), MapError> {
        let directory = &self.directory;
        to.set_meta(&Meta { layout_version: LAYOUT_VERSION, ..self.meta })?;
        let names = Large::<IdentityKey, Name>::open(directory, IDENTITIES)?.entries()?;
        to.set_identities(&names)?;
        let pools = Large::<u32, Pool>::open(directory, POOLS)?.entries()?;
        let has_name = |id: u32| names.iter().any(|(key, _)| *key == pool_key(id));
        for (id, pool) in pools.into_iter().filter(|(id, _)| has_name(*id)) {
            // Its tables are built anew.
            to.set_pool(id, &Pool { table: 0, ..pool })?;
        }
        to.set_backends(&(self.layout.backends)(directory)?)?;
        for (key, vip) in (self.layout.vips)(directory)? {
            to.set_vip(&key, &vip)?;
        }
        self.since_ns = to.now_ns();
        let pins = self.pins()?;
        let mut cursor = Cursor::default();
        while !cursor.done {
            to.put_pins(&pins.scan(&mut cursor)?)?;
        }
        balance(to)
    }

    /// Carries the pins that were made meanwhile into the instance in that directory, once no packet
    /// makes any in the old map. Where it is not known since when, all that the instance has not got.
    pub fn carry_late_pins(&self, next: &Path) -> Result<(), MapError> {
        let pins = self.pins()?;
        let to = Large::<PinKey, Pin>::open(next, PINS)?;
        let mut cursor = Cursor::default();
        while !cursor.done {
            let late: Vec<_> = pins
                .scan(&mut cursor)?
                .into_iter()
                .filter(|(_, pin)| pin.created_ns >= self.since_ns)
                .collect();
            // Those that have come to be in the new map are by packets that came later.
            to.add_entries(&late)?;
        }
        Ok(())
    }

    fn pins(&self) -> Result<Large<PinKey, Pin>, MapError> {
        Large::open(&self.directory, PINS)
    }
}

/// So that what was carried over counts as made, and nothing as evicted.
fn balance(to: &mut KernelMaps) -> Result<(), MapError> {
    let mut carried = 0_u64;
    let mut cursor = Cursor::default();
    while !cursor.done {
        carried += to.scan_pins(&mut cursor)?.len() as u64;
    }
    to.set_reclaim(&Reclaim { pins_removed: carried.wrapping_neg(), ..Reclaim::default() })
}

fn pool_key(id: u32) -> IdentityKey {
    IdentityKey { kind: Kind::Pool.code().into(), id }
}

/// Version 3: a hash map.
fn vips_by_key(directory: &Path) -> Result<Vec<(VipKey, Vip)>, MapError> {
    let entries = Large::<VipKey, TimedVip>::open(directory, VIPS)?.entries()?;
    Ok(entries.into_iter().map(|(key, vip)| (key, vip.into())).collect())
}

/// From version 4 on: rows of an array, of which an index names those that hold.
fn vips_in_rows<V: Pod + Into<Vip>>(directory: &Path) -> Result<Batch<VipKey, Vip>, MapError> {
    let rows = Large::<u32, Row<V>>::open(directory, VIPS)?.all()?;
    let lines = Large::<u32, VipLine>::open(directory, VIP_INDEX)?.all()?;
    let named = lines.iter().flat_map(|line| line.entries).map(VipLine::row);
    let row = |row: u16| rows.get(usize::from(row));
    Ok(named.filter(|row| *row != 0).filter_map(row).map(|row| (row.key, row.vip.into())).collect())
}

fn backends<B: Pod + Into<Backend>>(directory: &Path) -> Result<Vec<(u32, Backend)>, MapError> {
    let rows = Large::<u32, B>::open(directory, BACKENDS)?.entries()?;
    let rows = rows.into_iter().map(|(id, row)| (id, row.into()));
    Ok(rows.filter(|(_, row)| *row != Backend::zeroed()).collect())
}

/// [`lb_common::layout::VipRow`] with that for a VIP.
#[repr(C)]
#[derive(Clone, Copy, Zeroable)]
struct Row<V> {
    key: VipKey,
    pad: u32,
    vip: V,
}

// SAFETY: 20 and 4 bytes, then a VIP, whose size is a multiple of its alignment of 8: integers
// without padding between or behind them.
unsafe impl<V: Pod> Pod for Row<V> {}

/// [`Vip`] before version 7: without ticks.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct TimedVip {
    timeout_ns: u64,
    max_lifetime_ns: u64,
    refresh_ns: u64,
    client_mask: Address,
    listener: u32,
    pool: u32,
    scope: u32,
    refresh: u8,
    pad: [u8; 3],
}

impl From<TimedVip> for Vip {
    /// The agent then adds the ticks, as to a VIP that has changed.
    fn from(old: TimedVip) -> Self {
        Self {
            timeout_ns: old.timeout_ns,
            max_lifetime_ns: old.max_lifetime_ns,
            refresh_ns: old.refresh_ns,
            client_mask: old.client_mask,
            listener: old.listener,
            pool: old.pool,
            scope: old.scope,
            refresh: old.refresh,
            ..Self::zeroed()
        }
    }
}

/// [`Backend`] before version 7: with a number of sources, the first of the places, in the stead
/// of a mask.
#[repr(transparent)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Counted(Backend);

impl From<Counted> for Backend {
    fn from(Counted(old): Counted) -> Self {
        Self { nat_source_mask: first(old.nat_source_mask), ..old }
    }
}

/// The mask of so many places from the first on.
fn first(count: u32) -> u32 {
    (0..NAT_SOURCES).take(count as usize).fold(0, |mask, place| mask | 1 << place)
}

/// [`Backend`] before version 5.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WithoutTunnel {
    address: Address,
    nat_sources: [Address; NAT_SOURCES],
    hop: Hop,
    nat_source_count: u32,
    generation: u32,
    flows_since: u32,
    pool: u32,
    port_be: u16,
    state: u8,
    flags: u8,
}

impl From<WithoutTunnel> for Backend {
    fn from(old: WithoutTunnel) -> Self {
        Self {
            address: old.address,
            nat_sources: old.nat_sources,
            hop: old.hop,
            tunnel: Tunnel::default(),
            nat_source_mask: first(old.nat_source_count),
            generation: old.generation,
            flows_since: old.flows_since,
            pool: old.pool,
            port_be: old.port_be,
            state: old.state,
            flags: old.flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_since_the_first_is_taken_over() {
        let versions: Vec<u32> = KNOWN.iter().map(|layout| layout.version).collect();
        assert_eq!(versions, (3..LAYOUT_VERSION).collect::<Vec<_>>());
        assert!(is_known(3) && !is_known(2) && !is_known(LAYOUT_VERSION) && !is_known(u32::MAX));
    }

    #[test]
    fn old_forms_become_the_present_one() {
        let there = |count| Backend {
            hop: Hop { interface: 7, ..Hop::default() },
            nat_source_mask: count,
            generation: 3,
            flows_since: 2,
            pool: 9,
            port_be: 80,
            state: 1,
            flags: 1,
            ..Backend::default()
        };
        for (count, mask) in [(0, 0), (1, 0b1), (3, 0b111), (4, 0b1111)] {
            let want = Backend { nat_source_mask: mask, ..there(count) };
            assert_eq!(Backend::from(Counted(there(count))), want);
            // Without the tunnel, which had come in behind the next hop.
            let bytes = bytemuck::bytes_of(&there(count)).to_vec();
            let at = std::mem::offset_of!(Backend, tunnel);
            let old = [&bytes[..at], &bytes[at + size_of::<Tunnel>()..]].concat();
            let old: WithoutTunnel = bytemuck::pod_read_unaligned(&old);
            assert_eq!(Backend::from(old), want);
        }
        let vip = Vip { timeout_ns: 5, pool: 9, scope: 4, refresh: 2, ..Vip::zeroed() };
        // Ticks came in before the last member, and fewer bytes fill it up.
        let bytes = bytemuck::bytes_of(&vip).to_vec();
        let at = std::mem::offset_of!(Vip, refresh_ticks);
        let old = [&bytes[..at], &bytes[at + 4..at + 8]].concat();
        assert_eq!(Vip::from(bytemuck::pod_read_unaligned::<TimedVip>(&old)), vip);
    }
}
