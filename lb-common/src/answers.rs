//! Ways of backends' answers in an array, in front of `REPLIES`: how long an entry counts, and who
//! may write it.
//!
//! An entry is a copy of a [`Reply`] that was found valid, and counts while an answer would change
//! nothing there: until the next one is to be noted. Whoever changes a reply in another way (its
//! port goes to another flow, its state or the way to its client is another) takes the copy away
//! afterwards. So that no copy of what was there before is left, who writes one looks at the reply
//! once more afterwards. Both put a barrier in between, so one of them at least sees the other.
//!
//! An entry that counts gives way to nobody: flows that find no place are answered by `REPLIES`,
//! at no more cost than before, and nothing is written in vain.

use crate::{
    fingerprint::Fingerprint,
    layout::{Reply, TcpState},
};

/// Answers are noted this often: the shortest refresh step of a pin.
pub const REFRESH_NS: u64 = 250_000_000;

/// A jiffy of the tests' clock, in nanoseconds.
pub const TEST_JIFFY_NS: u64 = 1_000_000;

/// Is an answer to be noted, for time alone?
#[inline(always)]
#[must_use]
pub const fn is_due(reply: &Reply, now_ns: u64) -> bool {
    now_ns.saturating_sub(reply.last_seen_ns) >= REFRESH_NS
}

/// Until when a copy of the reply counts that is written at `now_ns`, which is `jiffies` of
/// `jiffy_ns` each. Never longer than until an answer is due: of jiffies that are not begun yet so
/// many fit in.
#[inline(always)]
#[must_use]
pub const fn until(reply: &Reply, now_ns: u64, jiffies: u64, jiffy_ns: u64) -> u64 {
    let left_ns = reply.last_seen_ns.saturating_add(REFRESH_NS).saturating_sub(now_ns);
    match left_ns.checked_div(jiffy_ns) {
        Some(left) => jiffies.saturating_add(left),
        None => 0,
    }
}

/// Do answers that are plain leave a flow in that state as it is?
#[inline(always)]
#[must_use]
pub const fn is_steady(state: u8) -> bool {
    state == TcpState::Established.code() || state == TcpState::Stateless.code()
}

/// Do answers by both become the same?
#[inline(always)]
#[must_use]
pub fn alike(one: &Reply, other: &Reply) -> bool {
    one.client == other.client
        && one.backend == other.backend
        && one.hop == other.hop
        && one.listener == other.listener
        && one.state == other.state
}

/// The element of `ANSWERS` that the answers' entry can be in, where regions of `elements` are told
/// apart by `mask`: by the lowest bits of their tag, as in [`crate::lines`].
#[inline(always)]
#[must_use]
pub const fn element_of(print: &Fingerprint, elements: u32, mask: u32) -> u32 {
    (print.tag as u32 & mask).wrapping_mul(elements).wrapping_add(print.line(elements))
}

/// By which mask of `all` regions are told apart while those of flows are by `flows`. Of a flow there
/// is one entry here where there are two places for it, and none that it is moved to; so four times
/// as many regions are in use, of which at most a third is taken while there are more. When that
/// changes, entries are where nobody looks any more, and written anew.
#[inline(always)]
#[must_use]
pub const fn mask(flows: u32, all: u32) -> u32 {
    ((flows << 2) | 3) & all
}

/// May an entry be written over with another's, at so many jiffies?
#[inline(always)]
#[must_use]
pub const fn may_be_had(owner: u64, until: u64, jiffies: u64) -> bool {
    owner == 0 || until <= jiffies
}

/// Bit of an [`crate::layout::Answer`]'s version while it is written.
const WRITING: u64 = 1 << 32;

/// Is somebody writing the entry?
#[inline(always)]
#[must_use]
pub const fn is_being_written(version: u64) -> bool {
    version & WRITING != 0
}

/// The version of an entry while it is written, which was `version` before.
#[inline(always)]
#[must_use]
pub const fn opened(version: u64) -> u64 {
    version | WRITING
}

/// The version of an entry that has been written, which is `opened` still; it speaks of that
/// version of its origin.
#[inline(always)]
#[must_use]
pub const fn closed(opened: u64, origin: u64) -> u64 {
    (opened >> 32).wrapping_add(1) << 32 | (origin & 0xffff_ffff)
}

/// Is that the version of the origin that an entry of `version` speaks of?
#[inline(always)]
#[must_use]
pub const fn speaks_of(version: u64, origin: u64) -> bool {
    version as u32 == origin as u32 && !is_origin_being_written(origin)
}

/// The same as [`is_being_written`], of an origin.
#[inline(always)]
#[must_use]
pub const fn is_origin_being_written(version: u64) -> bool {
    version & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        fingerprint,
        hash::Seed,
        layout::{ANSWERS_IN_LINES, BackendRef, FlowKey, Hop},
        lines::REGIONS,
    };

    const MS: u64 = 1_000_000;

    fn key(number: u32) -> FlowKey {
        FlowKey {
            source: Address::from_v4((0x0a00_0000 | number >> 12).to_be_bytes()),
            destination: Address::from_v4([10, 0, 0, 254]),
            source_port_be: 8080_u16.to_be(),
            destination_port_be: (0x4000 | (number & 0xfff) as u16).to_be(),
            protocol: 6,
            pad: [0; 3],
        }
    }

    fn reply() -> Reply {
        Reply {
            last_seen_ns: 1000 * MS,
            backend: BackendRef::new(1, 1),
            client: key(1),
            hop: Hop { interface: 2, ..Hop::default() },
            listener: 1,
            state: TcpState::Established.code(),
            pad: [0; 3],
        }
    }

    #[test]
    fn a_copy_counts_until_an_answer_is_due() {
        // Whenever it is written, and wherever jiffies begin.
        for jiffy_ns in [MS, 3_333_333, 4 * MS, 10 * MS] {
            for written in (1000 * MS..1251 * MS).step_by(777_777) {
                for begin in [0, 1, MS / 2, 3 * MS] {
                    let jiffies = |now: u64| (now + begin) / jiffy_ns;
                    let until = until(&reply(), written, jiffies(written), jiffy_ns);
                    let counts = |now: u64| jiffies(now) < until;
                    let due = (written..1260 * MS).step_by(111_111).find(|now| {
                        assert!(!counts(*now) || !is_due(&reply(), *now), "{written} {now}");
                        !counts(*now)
                    });
                    let end = due.expect("it ends");
                    // Of two jiffies each a part is lost.
                    let loss = 2 * jiffy_ns + 111_111;
                    assert!(end + loss >= 1250 * MS || end == written, "{written} {end}");
                }
            }
        }
        assert_eq!(until(&reply(), 0, 5, 0), 0, "without jiffies none does");
        assert!(!is_due(&reply(), 1250 * MS - 1) && is_due(&reply(), 1250 * MS));
        assert!(!is_due(&reply(), 0), "noted by a CPU that is ahead");
    }

    #[test]
    fn what_makes_a_difference() {
        let changes: [fn(&mut Reply); 6] = [
            |reply| reply.client.source_port_be += 1,
            |reply| reply.client.destination.words_be[3] += 1,
            |reply| reply.backend = BackendRef::new(1, 2),
            |reply| reply.hop.to[5] += 1,
            |reply| reply.listener += 1,
            |reply| reply.state = TcpState::Reset.code(),
        ];
        for change in changes {
            let mut other = reply();
            change(&mut other);
            assert!(!alike(&reply(), &other), "{other:?}");
        }
        assert!(alike(&reply(), &Reply { last_seen_ns: 7, ..reply() }));
        let steady = |state: TcpState| is_steady(state.code());
        assert!(steady(TcpState::Established) && steady(TcpState::Stateless));
        for state in [TcpState::Opening, TcpState::ClientClosing, TcpState::Reset] {
            assert!(!steady(state), "{state:?}");
        }
    }

    #[test]
    fn regions_of_answers() {
        let all = REGIONS - 1;
        assert_eq!([0, 1, 3, 7, 15].map(|flows| mask(flows, all)), [3, 7, 15, 15, 15]);
        assert_eq!(mask(0, 0), 0, "of a small table");
        let print = fingerprint::of_flow(&fingerprint::keys(Seed([8, 9])), &key(5));
        let place = |mask| element_of(&print, 100, mask);
        assert_eq!(place(0), print.line(100));
        assert_eq!(place(all), place(0) + 100 * (print.tag as u32 & all));
    }

    #[test]
    fn versions() {
        let first = 0;
        let open = opened(first);
        assert!(!is_being_written(first) && is_being_written(open));
        let second = closed(open, 0x6_0000_0008);
        assert!(!is_being_written(second) && second != first);
        assert!(speaks_of(second, 0x6_0000_0008) && !speaks_of(second, 0x6_0000_000a));
        assert!(!speaks_of(closed(opened(second), 9), 9), "an origin that is being written");
        assert_ne!(closed(opened(second), 8), second, "each has a version of its own");
        // Round and back to the first.
        assert_eq!(closed(opened(0xffff_fffe << 32), 0), 0);
    }

    #[test]
    fn who_gives_way() {
        assert!(may_be_had(0, 9, 5), "a free one");
        assert!(may_be_had(7 << 16, 5, 5) && !may_be_had(7 << 16, 6, 5));
    }

    /// How many flows find a place when all of them are answered all the time.
    #[test]
    fn few_flows_find_no_place() {
        const ELEMENTS: u32 = 1 << 12;
        const ENTRIES: u32 = ELEMENTS * ANSWERS_IN_LINES as u32;
        let keys = fingerprint::keys(Seed([8, 9]));
        let placed = |flows: u32| {
            let mut taken = vec![0; ELEMENTS as usize];
            let mut placed = 0;
            for number in 0..flows {
                let print = fingerprint::of_flow(&keys, &key(number));
                let at = element_of(&print, ELEMENTS, 0) as usize;
                let taken = taken.get_mut(at).expect("in range");
                if *taken < ANSWERS_IN_LINES {
                    *taken += 1;
                    placed += 1;
                }
            }
            100 * placed / flows
        };
        // By the Poisson distribution: 96.7, 89.6 and 72.9 of a hundred.
        assert!(placed(ENTRIES / 4) >= 95, "{}", placed(ENTRIES / 4));
        assert!(placed(ENTRIES / 2) >= 88, "{}", placed(ENTRIES / 2));
        assert!(placed(ENTRIES) >= 71, "{}", placed(ENTRIES));
    }
}
