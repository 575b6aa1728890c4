//! Time as entries of flows hold it: in ticks of about a sixteenth of a second, in 26 bits.
//!
//! A tick is some of the kernel's jiffies, which a program reads for nothing; a clock costs more
//! than all else that a packet of a flow under way needs. 2^26 ticks are 48 days, after which an
//! entry that nobody has touched looks new again: to its own five-tuple only.

/// Bits of a time in an entry.
pub const BITS: u32 = 26;

const MASK: u32 = (1 << BITS) - 1;

/// A tick is this long at least, in nanoseconds, and less than twice as long.
pub const SHORTEST_NS: u64 = 62_500_000;

/// A tick of the tests' clock, in nanoseconds.
pub const TEST_NS: u64 = SHORTEST_NS;

/// How far one CPU's time may be ahead of another's.
const AHEAD: u32 = 64;

/// How many times a jiffy of `jiffy_ns` nanoseconds (1 and up) is to be doubled for a tick.
#[must_use]
pub const fn shift(jiffy_ns: u64) -> u32 {
    let mut shift = 0_u32;
    while jiffy_ns << shift < SHORTEST_NS {
        shift = shift.wrapping_add(1);
    }
    shift
}

/// What an entry holds of a number of ticks.
#[inline(always)]
#[must_use]
pub const fn short(ticks: u64) -> u32 {
    (ticks as u32) & MASK
}

/// Ticks from `then` to `now`; 0 when `then` is later.
#[inline(always)]
#[must_use]
pub const fn since(then: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(then) & MASK;
    if age > MASK - AHEAD { 0 } else { age }
}

/// Ticks that are not less than `ns` nanoseconds, of `tick_ns` each; as many as can be told apart
/// at most.
#[must_use]
pub const fn at_least(ns: u64, tick_ns: u64) -> u32 {
    let ticks = ns.div_ceil(tick_ns);
    if ticks > (MASK - AHEAD) as u64 { MASK - AHEAD } else { ticks as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jiffies_of_every_kernel() {
        for hz in [100_u64, 250, 300, 1000] {
            let jiffy = 1_000_000_000 / hz;
            let tick = jiffy << shift(jiffy);
            assert!((SHORTEST_NS..2 * SHORTEST_NS).contains(&tick), "{hz} {tick}");
        }
        assert_eq!(shift(SHORTEST_NS), 0);
        assert_eq!(shift(SHORTEST_NS - 1), 1);
    }

    #[test]
    fn ages_go_round() {
        assert_eq!(since(5, 5), 0);
        assert_eq!(since(5, 9), 4);
        assert_eq!(since(9, 5), 0, "another CPU was faster");
        assert_eq!(since(MASK, 3), 4);
        assert_eq!(since(short(1 << 40), short((1 << 40) + 7)), 7);
    }

    #[test]
    fn durations_are_not_cut_short() {
        assert_eq!(at_least(0, 64), 0);
        assert_eq!(at_least(64, 64), 1);
        assert_eq!(at_least(65, 64), 2);
        assert_eq!(at_least(u64::MAX, 1), MASK - AHEAD);
    }
}
