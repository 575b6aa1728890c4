//! Places of flows: which lines a flow's entry can be in, which entry it is, and which one a new
//! flow may have.
//!
//! A large table has [`REGIONS`] regions of as many lines each, of which 1, 2, 4, 8 or all are in
//! use: few flows in little memory, so that caches hold it. The lowest bits of a flow's tag say
//! which region it is in, its fingerprint which lines of that. So it can be told from an entry
//! alone where it belongs once twice as many regions are in use: where it is, or as far on as
//! there were lines before. What those bits tell apart, tags do no more: four of 48.

use crate::{
    fingerprint::Fingerprint,
    flow,
    layout::{FLOWS_IN_LINE, Flow, FlowEntry, FlowSpace, Settings},
    ticks,
};

/// Regions of a table that has some: a power of two.
pub const REGIONS: u32 = 16;

impl FlowSpace {
    /// With twice as many regions, which flows are still to be moved to.
    #[must_use]
    pub const fn doubled(self) -> Self {
        Self { mask: (self.mask << 1) | 1, before: self.mask }
    }

    /// When all flows are where they belong.
    #[must_use]
    pub const fn settled(self) -> Self {
        Self { mask: self.mask, before: self.mask }
    }

    /// Regions in use.
    #[must_use]
    pub const fn regions(self) -> u32 {
        self.mask.wrapping_add(1)
    }
}

/// The two lines that the flow of a fingerprint can be in, where regions of `lines` lines are told
/// apart by `mask`.
#[inline(always)]
#[must_use]
pub const fn lines_of(print: &Fingerprint, lines: u32, mask: u32) -> [u32; 2] {
    let first = (print.tag as u32 & mask).wrapping_mul(lines);
    let [one, other] = print.lines(lines);
    [first.wrapping_add(one), first.wrapping_add(other)]
}

/// The line that an entry in line `at` belongs to by `mask`, if it is not that one.
#[inline(always)]
#[must_use]
pub const fn moves_to(at: u32, tag: u64, lines: u32, mask: u32) -> Option<u32> {
    // A table without lines has no entry either.
    let Some(within) = at.checked_rem(lines) else { return None };
    let line = (tag as u32 & mask).wrapping_mul(lines).wrapping_add(within);
    if line == at { None } else { Some(line) }
}

/// Entries that one CPU is about to write: nobody's, and not to be had.
pub const BUSY: u64 = 0xffff;

/// Is it the entry of the flow with that tag?
#[inline(always)]
#[must_use]
pub const fn is_of(owner: u64, tag: u64) -> bool {
    owner >> 16 == tag
}

/// Which entry of a line is that of the flow with that tag, by all their owners.
///
/// The first, should there be two: two CPUs may have placed one flow at a time. Which one it is
/// takes no branch: a CPU that has to guess guesses wrong, and it learns that only once it has the
/// line.
#[inline(always)]
#[must_use]
pub const fn which(owners: [u64; FLOWS_IN_LINE], tag: u64) -> Option<usize> {
    let [a, b, c, d] = owners;
    let found = is(a, tag) | is(b, tag) << 1 | is(c, tag) << 2 | is(d, tag) << 3;
    if found == 0 { None } else { Some((LOWEST_BITS >> (found << 1) & 3) as usize) }
}

/// The lowest bit of each number below 16, in two bits each.
const LOWEST_BITS: u64 = 0x1213_1210;

/// 1 if it is the owner of that tag, else 0.
#[inline(always)]
const fn is(owner: u64, tag: u64) -> u64 {
    (owner >> 16 ^ tag).wrapping_sub(1) >> 63
}

/// Is there a flow in the entry?
#[inline(always)]
#[must_use]
pub const fn is_flow(owner: u64) -> bool {
    owner >> 16 != 0
}

/// How well a new flow may have that place, at `now`: best a free one, then that of a flow which is
/// over, then that of one whose client has not shown yet that it is real (P12), then that of the one
/// which has been idle for longest.
#[inline(always)]
#[must_use]
pub fn rank(entry: FlowEntry, settings: &Settings, now: u32) -> u32 {
    if entry.owner == 0 {
        return FREE;
    }
    if entry.owner == BUSY {
        return 0;
    }
    let flow = Flow::unpack(entry);
    let class = match (flow::in_time(&flow, settings, now), flow.pin_owed) {
        (false, _) => OVER,
        (true, true) => PROVISIONAL,
        (true, false) => 0,
    };
    class | ticks::since(flow.seen, now)
}

const PROVISIONAL: u32 = 1 << ticks::BITS;
const OVER: u32 = 2 << ticks::BITS;
const FREE: u32 = 3 << ticks::BITS;

/// Does a new flow that takes the place of this rank drive out one that is under way, and not
/// provisional?
#[inline(always)]
#[must_use]
pub const fn evicts(rank: u32) -> bool {
    rank < PROVISIONAL
}

/// Is the place of this rank free, or that of a flow which is over?
#[inline(always)]
#[must_use]
pub const fn is_vacant(rank: u32) -> bool {
    rank >= OVER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        fingerprint,
        hash::Seed,
        layout::{FlowKey, TcpState},
    };

    #[test]
    fn who_goes_first() {
        let settings = flow::settings(&flow::tests::TIMES, 1_000_000_000);
        let entry = |state: TcpState, seen: u32| {
            let (backend, generation, state) = (1, 1, state.code());
            Flow { backend, generation, seen, state, pin_owed: false, source: 0, port_be: 0 }
                .pack(9)
        };
        let unproven = |seen: u32| {
            let entry = entry(TcpState::Opening, seen);
            Flow { pin_owed: true, ..Flow::unpack(entry) }.pack(9)
        };
        let ranks = [
            FlowEntry { owner: BUSY, life: 0 },
            entry(TcpState::Established, 10_000),
            entry(TcpState::Stateless, 9_900),
            entry(TcpState::Established, 9_800),
            entry(TcpState::Established, 2_561),
            unproven(9_999),
            unproven(9_800),
            entry(TcpState::Reset, 9_990),
            entry(TcpState::Stateless, 9_700),
            entry(TcpState::Established, 2_560),
            FlowEntry::default(),
        ]
        .map(|entry| rank(entry, &settings, 10_000));
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(ranks.map(evicts).iter().filter(|evicts| **evicts).count(), 5);
        assert_eq!(ranks.map(is_vacant).iter().filter(|vacant| **vacant).count(), 4);
    }

    #[test]
    fn flows_belong_where_they_are_or_as_far_on_as_there_were_lines() {
        const LINES: u32 = 100;
        let keys = fingerprint::keys(Seed([5, 6]));
        let mut moved = [0; 4];
        for number in 0..4_000_u32 {
            let key = FlowKey {
                source: Address::from_v4(number.to_be_bytes()),
                destination: Address::from_v4([203, 0, 113, 1]),
                source_port_be: 7,
                destination_port_be: 443_u16.to_be(),
                protocol: 6,
                pad: [0; 3],
            };
            let print = fingerprint::of_flow(&keys, &key);
            let mut space = FlowSpace::default();
            assert_eq!(lines_of(&print, LINES, space.mask), print.lines(LINES));
            for moved in &mut moved {
                let was = lines_of(&print, LINES, space.mask);
                space = space.doubled();
                let is = lines_of(&print, LINES, space.mask);
                for (was, is) in was.into_iter().zip(is) {
                    assert!(was < space.regions() / 2 * LINES && is < space.regions() * LINES);
                    assert!(is == was || is == was + space.regions() / 2 * LINES);
                    let to = moves_to(was, print.tag, LINES, space.mask);
                    assert_eq!(to.unwrap_or(was), is);
                    assert_eq!(moves_to(is, print.tag, LINES, space.mask), None);
                }
                *moved += u32::from(was != is);
                space = space.settled();
                assert_eq!(space.mask, space.before);
            }
            assert_eq!(space.regions(), REGIONS);
        }
        // Half of them, within 6 standard deviations.
        assert!(moved.iter().all(|moved| (1_810..=2_190).contains(moved)), "{moved:?}");
        assert_eq!(moves_to(5, 3, 0, 1), None);
    }

    #[test]
    fn which_entry_it_is() {
        const TAG: u64 = (1 << 48) - 1;
        let (this, others) = (TAG << 16 | 9, [0, BUSY, 1 << 16, (TAG - 1) << 16 | 0xffff]);
        assert_eq!(which(others, TAG), None);
        for places in 1_u32..1 << FLOWS_IN_LINE {
            let mut owners = others;
            for (at, owner) in owners.iter_mut().enumerate() {
                if places >> at & 1 != 0 {
                    *owner = this;
                }
            }
            assert_eq!(which(owners, TAG), Some(places.trailing_zeros() as usize));
        }
    }

    #[test]
    fn whose_an_entry_is() {
        assert!(is_of(7 << 16 | 3, 7) && !is_of(7 << 16 | 3, 3));
        assert!(!is_of(0, 1) && !is_of(BUSY, 1), "no tag is 0");
    }
}
