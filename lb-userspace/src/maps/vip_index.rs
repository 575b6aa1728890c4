//! Where each VIP is: its row in `VIPS`, and the entry of `VIP_INDEX` that leads there. Pure.
//!
//! A row that packets may be reading is never written: a VIP that changes gets another row, and
//! then its entry, one word, names that one. Rows that were given up wait for a grace period.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytemuck::Zeroable as _;
use lb_common::{
    fingerprint::{Destination, KEYS},
    layout::{VIPS_IN_LINE, VipKey, VipLine},
};

/// An entry to be written, and the line it is in as it then stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// Number of the line.
    pub(super) line: u32,
    /// All of it.
    pub(super) value: VipLine,
}

/// The index.
#[derive(Debug)]
pub(super) struct VipIndex {
    keys: [u64; KEYS],
    lines: Vec<VipLine>,
    /// The row of each VIP.
    rows: BTreeMap<VipKey, u16>,
    /// Rows that nobody reads.
    free: VecDeque<u16>,
    /// Rows that packets under way may be reading.
    given_up: Vec<u16>,
}

impl VipIndex {
    /// From what stands in the maps: `lines` and the keys in rows 1 and up. Entries that lead
    /// nowhere, or that no packet finds (of another seed), are taken out; those lines are to be
    /// written.
    pub(super) fn restore(
        keys: &[u64; KEYS],
        lines: Vec<VipLine>,
        row_keys: &[VipKey],
    ) -> (Self, Vec<Change>) {
        let mut index = Self {
            keys: *keys,
            lines,
            rows: BTreeMap::new(),
            free: VecDeque::new(),
            given_up: Vec::new(),
        };
        let mut changes = Vec::new();
        for number in 0..index.lines.len() {
            let before = index.lines[number];
            for at in 0..VIPS_IN_LINE {
                let entry = before.entries[at];
                let row = VipLine::row(entry);
                let key = usize::from(row).checked_sub(1).and_then(|at| row_keys.get(at));
                let found = key.filter(|key| {
                    let (tag, lines) = index.places(key);
                    VipLine::tag(entry) == tag && lines.contains(&number)
                });
                match found {
                    Some(key) if !index.rows.contains_key(key) => {
                        let _none = index.rows.insert(*key, row);
                    }
                    _ if entry != 0 => index.lines[number].entries[at] = VipLine::GONE,
                    _ => {}
                }
            }
            if index.lines[number] != before {
                changes.push(index.change(number));
            }
        }
        let used: BTreeSet<u16> = index.rows.values().copied().collect();
        let rows = u16::try_from(row_keys.len()).unwrap_or(u16::MAX);
        // Whatever they held, packets may have found it just now; those of nobody nobody reads.
        let nobody = VipKey::zeroed();
        let unused = (1..=rows).zip(row_keys).filter(|(row, _)| !used.contains(row));
        let (never_used, given_up): (Vec<_>, Vec<_>) = unused.partition(|(_, key)| **key == nobody);
        index.free = never_used.into_iter().map(|(row, _)| row).collect();
        index.given_up = given_up.into_iter().map(|(row, _)| row).collect();
        (index, changes)
    }

    /// The row of each VIP.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&VipKey, u16)> {
        self.rows.iter().map(|(key, row)| (key, *row))
    }

    /// A row to write; `None`: every one is in use or waits for a grace period.
    pub(super) fn free_row(&mut self) -> Option<u16> {
        self.free.pop_front()
    }

    /// A grace period has passed.
    pub(super) fn grace_period_passed(&mut self) {
        self.free.extend(self.given_up.drain(..));
    }

    /// Lets that VIP be found at a row that has been written; `None`: there is no room in either of
    /// its lines, or there another VIP has the same tag; the row is free again.
    pub(super) fn set(&mut self, key: &VipKey, row: u16) -> Option<Change> {
        let (tag, lines) = self.places(key);
        let old = self.rows.get(key).copied();
        let place = match old {
            Some(old) => self.find(lines, VipLine::entry(tag, old)),
            None => self.room(lines, tag),
        };
        let Some((line, at)) = place else {
            self.free.push_back(row);
            return None;
        };
        self.lines[line].entries[at] = VipLine::entry(tag, row);
        let _old = self.rows.insert(*key, row);
        self.given_up.extend(old);
        Some(self.change(line))
    }

    /// Lets that VIP be found no more; `None`: it is not there.
    pub(super) fn remove(&mut self, key: &VipKey) -> Option<Change> {
        let row = self.rows.remove(key)?;
        let (tag, lines) = self.places(key);
        let (line, at) = self.find(lines, VipLine::entry(tag, row))?;
        self.lines[line].entries[at] = VipLine::GONE;
        self.given_up.push(row);
        Some(self.change(line))
    }

    fn change(&self, line: usize) -> Change {
        Change { line: u32::try_from(line).unwrap_or(u32::MAX), value: self.lines[line] }
    }

    fn places(&self, key: &VipKey) -> (u64, [usize; 2]) {
        let print = Destination::new(key.address, key.port_be, key.protocol, |at| self.keys[at])
            .fingerprint();
        let count = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        (print.tag, print.lines(count).map(|line| line as usize))
    }

    fn find(&self, lines: [usize; 2], entry: u64) -> Option<(usize, usize)> {
        lines.into_iter().find_map(|line| {
            let at = self.lines[line].entries.iter().position(|there| *there == entry)?;
            Some((line, at))
        })
    }

    fn room(&self, lines: [usize; 2], tag: u64) -> Option<(usize, usize)> {
        let taken = |line: &usize| {
            self.lines[*line].entries.iter().any(|entry| VipLine::tag(*entry) == tag)
        };
        if lines.iter().any(taken) {
            return None;
        }
        lines.into_iter().find_map(|line| {
            let free = |entry: &u64| [0, VipLine::GONE].contains(entry);
            Some((line, self.lines[line].entries.iter().position(free)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{address::Address, fingerprint, hash::Seed, layout::Protocol};

    use super::*;

    fn key(number: u32) -> VipKey {
        VipKey {
            address: Address::from_v4((0xcb00_7100 + number).to_be_bytes()),
            port_be: 443_u16.to_be(),
            protocol: Protocol::Tcp.code(),
            pad: 0,
        }
    }

    fn restored(seed: u64, lines: &[VipLine], rows: &[VipKey]) -> (VipIndex, Vec<Change>) {
        VipIndex::restore(&fingerprint::keys(Seed([seed, 0])), lines.to_vec(), rows)
    }

    fn none(rows: usize) -> Vec<VipKey> {
        vec![bytemuck::Zeroable::zeroed(); rows]
    }

    #[test]
    fn as_many_as_there_are_rows_for() {
        // One after another, as they are given out: of any seed.
        for (vips, seeds) in [(512_u16, 1_000), (10_000, 40)] {
            for seed in 0..seeds {
                let lines = vec![VipLine::default(); usize::from(vips) / 2];
                let (mut index, changes) = restored(seed, &lines, &none(2 * usize::from(vips)));
                assert!(changes.is_empty());
                for number in 0..u32::from(vips) {
                    let row = index.free_row().expect("a row");
                    assert!(index.set(&key(number), row).is_some(), "seed {seed}, {number}");
                }
                let rows: BTreeSet<u16> = index.rows().map(|(_, row)| row).collect();
                assert_eq!(rows.len(), usize::from(vips));
            }
        }
    }

    #[test]
    fn a_row_is_not_written_while_packets_may_read_it() {
        let (mut index, _) = restored(1, &[VipLine::default(); 2], &none(2));
        let first = index.free_row().expect("a row");
        let set = index.set(&key(1), first).expect("room");
        let second = index.free_row().expect("a row");
        let moved = index.set(&key(1), second).expect("room");
        assert_eq!(set.line, moved.line, "one word changes");
        assert_eq!(set.value.entries[0] >> 16, moved.value.entries[0] >> 16);
        assert_eq!(index.free_row(), None, "the first one waits");
        index.grace_period_passed();
        assert_eq!(index.free_row(), Some(first));
        let gone = index.remove(&key(1)).expect("there");
        assert_eq!(gone.value.entries, [VipLine::GONE, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(index.remove(&key(1)), None);
        assert_eq!(index.free_row(), None);
    }

    #[test]
    fn what_stands_in_the_maps_is_found_again() {
        let (mut index, _) = restored(1, &[VipLine::default(); 4], &none(8));
        let mut rows = none(8);
        for number in 0..5 {
            let row = index.free_row().expect("a row");
            rows[usize::from(row) - 1] = key(number);
            let _ = index.set(&key(number), row).expect("room");
        }
        let gone = index.remove(&key(0)).expect("there");
        assert_eq!(index.lines[gone.line as usize], gone.value);
        let (again, changes) = restored(1, &index.lines, &rows);
        assert!(changes.is_empty());
        assert_eq!(again.rows, index.rows);
        assert_eq!((again.free.len(), again.given_up.len()), (3, 1), "never used, given up");
        let (of_other_seed, changes) = restored(2, &index.lines, &rows);
        assert!(of_other_seed.rows.is_empty() && !changes.is_empty());
        let mut entries = of_other_seed.lines.iter().flat_map(|line| line.entries);
        assert!(entries.all(|entry| [0, VipLine::GONE].contains(&entry)));
    }

    /// The row that a packet finds: it looks no further than to a free entry.
    fn met(index: &VipIndex, key: &VipKey) -> Option<u16> {
        let (tag, lines) = index.places(key);
        let entries = lines.into_iter().flat_map(|line| index.lines[line].entries);
        let mut before_free = entries.take_while(|entry| *entry != 0);
        before_free.find(|entry| VipLine::tag(*entry) == tag).map(VipLine::row)
    }

    #[test]
    fn packets_find_what_is_there_whatever_came_and_went() {
        // So few lines that many VIPs are in their second one.
        let (mut index, _) = restored(3, &[VipLine::default(); 6], &none(60));
        let mut random = 1_u64;
        for step in 0..5_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = key((random >> 33) as u32 % 45);
            if random >> 62 == 0 {
                let _ = index.remove(&key);
            } else if let Some(row) = index.free_row() {
                let _ = index.set(&key, row);
            }
            index.grace_period_passed();
            for number in 0..45 {
                let key = self::key(number);
                assert_eq!(met(&index, &key), index.rows.get(&key).copied(), "step {step}");
            }
        }
    }

    #[test]
    fn two_full_lines() {
        let (mut index, _) = restored(1, &[VipLine::default(); 1], &none(16));
        for number in 0..8 {
            let row = index.free_row().expect("a row");
            assert!(index.set(&key(number), row).is_some());
        }
        let row = index.free_row().expect("a row");
        assert_eq!(index.set(&key(9), row), None);
        assert_eq!(index.free.len(), 8, "the row is free again");
    }
}
