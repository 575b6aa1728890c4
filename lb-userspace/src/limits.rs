//! What the configured capacities cost in memory. Pure.
//!
//! The kernel takes this at load, used or not; only own addresses take theirs as they come.

use std::mem::size_of;

use lb_common::{
    address::Address,
    features::Features,
    fragment,
    layout::{
        ANSWERS_IN_LINES, AnswerLines, Backend, BackendCounters, Datagram, FLOWS_IN_LINE, FlowKey,
        FlowLine, FragmentKey, IdentityKey, ListenerCounters, Lives, Meta, NAT_SOURCES, Name,
        Origin, Own, Pin, PinKey, Pool, Reply, Running, ScopeTimes, VipLine, VipRow,
    },
    lines, maps, select,
};

use crate::config::Limits;

/// A table's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapCost {
    /// Name of the map in [`lb_common::maps`].
    pub map: &'static str,
    /// Its entries or rows.
    pub entries: u64,
    /// Estimated kernel memory, in bytes.
    pub bytes: u64,
}

/// `struct htab_elem` before the key: list node, LRU node, hash (Linux 5.10 to 6.18).
const ELEMENT_BYTES: u64 = 48;

/// `struct bucket`: list head and lock.
const BUCKET_BYTES: u64 = 16;

/// What new maps of that size are marked with.
#[must_use]
pub fn meta(limits: &Limits) -> Meta {
    Meta {
        layout_version: maps::LAYOUT_VERSION,
        pins: limits.pins,
        flows: limits.flows,
        listeners: limits.listeners,
        backends: limits.backends,
        pools: limits.pools,
        maglev_slots: limits.maglev_slots,
        next_scope: 1,
    }
}

/// The first limit that differs from what `there` was made with: its key, its value in `limits`,
/// its value there.
#[must_use]
pub fn difference(limits: &Limits, there: &Meta) -> Option<(&'static str, u32, u32)> {
    [
        ("pins", limits.pins, there.pins),
        ("flows", limits.flows, there.flows),
        ("listeners", limits.listeners, there.listeners),
        ("backends", limits.backends, there.backends),
        ("pools", limits.pools, there.pools),
        ("maglev_slots", limits.maglev_slots, there.maglev_slots),
    ]
    .into_iter()
    .find(|(_, wanted, there)| wanted != there)
}

/// Entries of every map whose size follows from `limits`, by name.
///
/// Ids count from 1, so arrays have a row more; a pool has two tables, one to build the next in;
/// a listener has a row and, while a reload gives it a new one, two scopes, and two rows of
/// `VIPS`.
/// The set of own addresses has room for every listener's and every backend's NAT sources.
#[must_use]
pub fn entries(limits: &Limits, features: Features) -> [(&'static str, u32); 20] {
    let Limits { pins, flows, listeners, backends, pools, maglev_slots } = *limits;
    let sources = u32::try_from(NAT_SOURCES).unwrap_or(u32::MAX).saturating_mul(backends);
    [
        (maps::PINS, pins),
        (maps::FLOWS, flow_lines(limits)),
        (maps::REPLIES, flows),
        (maps::ANSWERS, answer_lines(limits, features)),
        (maps::ORIGINS, listeners + 1),
        (maps::FRAGMENTS, fragment::DATAGRAMS),
        (maps::TABLES, pools.saturating_mul(2).saturating_mul(select::table_words(maglev_slots))),
        (maps::VIPS, 2 * listeners + 1),
        (maps::VIP_INDEX, vip_lines(limits)),
        (maps::OWN, listeners.saturating_add(sources)),
        (maps::POOLS, pools + 1),
        (maps::TURNS, pools + 1),
        (maps::BACKENDS, backends + 1),
        (maps::RUNNING, backends + 1),
        (maps::PATH_MTUS, backends + 1),
        (maps::LISTENER_STATS, listeners + 1),
        (maps::BACKEND_STATS, backends + 1),
        (maps::IDENTITIES, 3 * listeners + pools + backends),
        (maps::SWEEP_SCOPES, listeners),
        (maps::SWEEP_LIVES, backends + 1),
    ]
}

/// Lines of `VIP_INDEX`: each has eight entries, of which two are taken when all listeners are
/// there, so that one finds room in one of its two lines.
#[must_use]
pub fn vip_lines(limits: &Limits) -> u32 {
    limits.listeners.div_ceil(2)
}

/// Lines of `FLOWS`: half of their entries are free when all flows are there, so that few find both
/// of their lines full.
#[must_use]
pub fn flow_lines(limits: &Limits) -> u32 {
    let entries = limits.flows.saturating_mul(2);
    let lines = entries.div_ceil(u32::try_from(FLOWS_IN_LINE).unwrap_or(u32::MAX));
    lines.next_multiple_of(flow_regions(lines))
}

/// Elements of `ANSWERS`: as many entries as flows, where some are translated. That nearly nine of
/// ten find a place when half of all flows are answered four times a second is enough for what is
/// only a copy.
#[must_use]
pub fn answer_lines(limits: &Limits, features: Features) -> u32 {
    let entries = if features.have(Features::NAT) { limits.flows } else { 1 };
    let elements = entries.div_ceil(u32::try_from(ANSWERS_IN_LINES).unwrap_or(u32::MAX));
    elements.next_multiple_of(answer_regions(elements))
}

/// Regions of as many elements of `ANSWERS`; see [`lb_common::answers`].
#[must_use]
pub const fn answer_regions(elements: u32) -> u32 {
    // As many as flows have: they have as many lines.
    flow_regions(elements)
}

/// Regions of a table of so many lines; see [`lb_common::lines`].
#[must_use]
pub const fn flow_regions(lines: u32) -> u32 {
    // From 4 MiB on: what is smaller, caches hold.
    if lines < 65_536 { 1 } else { lines::REGIONS }
}

/// The cost of every map that is worth a line, the largest sizes that `limits` allow to a program
/// loaded for `features`.
///
/// `cpus` is the number of possible CPUs, by which per-CPU maps are multiplied.
#[must_use]
pub fn costs(limits: &Limits, features: Features, cpus: u32) -> Vec<MapCost> {
    let cost = |(map, entries): (&'static str, u32)| {
        let entries = u64::from(entries);
        match map {
            maps::PINS => hash::<PinKey, Pin>(map, entries),
            maps::FLOWS => array(map, entries, size_of::<FlowLine>(), 1),
            maps::REPLIES => hash::<FlowKey, Reply>(map, entries),
            maps::ANSWERS => array(map, entries, size_of::<AnswerLines>(), 1),
            maps::ORIGINS => array(map, entries, size_of::<Origin>(), 1),
            maps::FRAGMENTS => hash::<FragmentKey, Datagram>(map, entries),
            maps::VIPS => array(map, entries, size_of::<VipRow>(), 1),
            maps::VIP_INDEX => array(map, entries, size_of::<VipLine>(), 1),
            maps::OWN => hash::<Address, Own>(map, entries),
            maps::IDENTITIES => hash::<IdentityKey, Name>(map, entries),
            maps::SWEEP_SCOPES => hash::<u32, ScopeTimes>(map, entries),
            maps::SWEEP_LIVES => array(map, entries, size_of::<Lives>(), 1),
            maps::TABLES | maps::TURNS | maps::PATH_MTUS => {
                array(map, entries, size_of::<u64>(), 1)
            }
            maps::RUNNING => array(map, entries, size_of::<Running>(), 1),
            maps::POOLS => array(map, entries, size_of::<Pool>(), 1),
            maps::BACKENDS => array(map, entries, size_of::<Backend>(), 1),
            maps::LISTENER_STATS => array(map, entries, size_of::<ListenerCounters>(), cpus),
            _ => array(map, entries, size_of::<BackendCounters>(), cpus),
        }
    };
    entries(limits, features).map(cost).into()
}

/// All of them together, in bytes.
#[must_use]
pub fn total(costs: &[MapCost]) -> u64 {
    costs.iter().map(|cost| cost.bytes).sum()
}

fn hash<K, V>(map: &'static str, entries: u64) -> MapCost {
    let element = ELEMENT_BYTES + rounded(size_of::<K>()) + rounded(size_of::<V>());
    let bytes = entries * element + BUCKET_BYTES * entries.next_power_of_two();
    MapCost { map, entries, bytes }
}

fn array(map: &'static str, rows: u64, value: usize, copies: u32) -> MapCost {
    MapCost { map, entries: rows, bytes: rows * rounded(value) * u64::from(copies) }
}

/// To the kernel's alignment of keys and values.
const fn rounded(size: usize) -> u64 {
    size.next_multiple_of(8) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(limits: &Limits, cpus: u32, map: &str) -> u64 {
        costs(limits, Features::ALL, cpus).iter().find(|cost| cost.map == map).expect(map).bytes
    }

    #[test]
    fn by_hand() {
        let check = |limits: &Limits, cpus: u32, map: &str, want: u64| {
            assert_eq!(cost(limits, cpus, map), want, "{map}");
        };
        // Key 20 bytes, so 24; value 24. Buckets: 2^20.
        check(&Limits::default(), 2, maps::PINS, 1_000_000 * 96 + 16 * 1_048_576);
        // A power of two has as many buckets as entries.
        check(&Limits { pins: 1_024, ..Limits::default() }, 2, maps::PINS, 1_024 * (96 + 16));
        check(&Limits { pins: 1_025, ..Limits::default() }, 2, maps::PINS, 1_025 * 96 + 16 * 2_048);
        // 65,537 slots are 16,385 words.
        check(&Limits::default(), 2, maps::TABLES, 128 * 16_385 * 8);
        let one = cost(&Limits::default(), 1, maps::BACKEND_STATS);
        assert_eq!(one, 4_097 * 40);
        check(&Limits::default(), 8, maps::BACKEND_STATS, 8 * one);
        check(&Limits::default(), 2, maps::ANSWERS, 1_000_000 * 64);
        // Shared by the CPUs.
        check(&Limits::default(), 8, maps::BACKENDS, cost(&Limits::default(), 1, maps::BACKENDS));
    }

    #[test]
    fn what_is_not_translated_has_no_ways_of_answers() {
        let costs = costs(&Limits::default(), Features::V4, 2);
        let answers = costs.iter().find(|cost| cost.map == maps::ANSWERS).expect("a line");
        assert_eq!((answers.entries, answers.bytes), (1, 128));
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let largest = Limits {
            pins: 100_000_000,
            flows: 32_000_000,
            listeners: 32_767,
            backends: 65_535,
            pools: 4_096,
            maglev_slots: 5_000_011,
        };
        let costs = costs(&largest, Features::ALL, 8_192);
        assert!(total(&costs) > 60 << 30);
    }
}
