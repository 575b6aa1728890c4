//! Places of flows: which entry a flow is in, and which one a new flow may have.

use crate::{
    flow,
    layout::{Flow, FlowEntry, Settings},
    ticks,
};

/// Entries that one CPU is about to write: nobody's, and not to be had.
pub const BUSY: u64 = 0xffff;

/// Is it the entry of the flow with that tag?
#[inline(always)]
#[must_use]
pub const fn is_of(owner: u64, tag: u64) -> bool {
    owner >> 16 == tag
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TcpState;

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
    }

    #[test]
    fn whose_an_entry_is() {
        assert!(is_of(7 << 16 | 3, 7) && !is_of(7 << 16 | 3, 3));
        assert!(!is_of(0, 1) && !is_of(BUSY, 1), "no tag is 0");
    }
}
