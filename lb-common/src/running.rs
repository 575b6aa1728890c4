//! Which of two backends gets a flow, by their running flows.
//!
//! Two, drawn at random by weight, and the better of them: as good as looking at all (the fullest
//! of n gets about log log n more than the average; Mitzenmacher, *The Power of Two Choices*, 2001),
//! at the same cost for any number, and packets on other CPUs that see the same counts do not all
//! choose the same backend.

use crate::layout::Running;

/// Draws for a second backend that is not the first one again.
pub const DRAWS: u32 = 4;

/// Would the first, with one flow more, have no more flows for its weight than the second?
#[inline(always)]
#[must_use]
pub const fn first_is_better(first: Running, second: Running) -> bool {
    with_one_more(first.flows, second.weight) <= with_one_more(second.flows, first.weight)
}

/// Without a division: each is multiplied by the other's weight.
#[inline(always)]
const fn with_one_more(flows: u32, weight: u32) -> u64 {
    (flows as u64).wrapping_add(1).wrapping_mul(weight as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_flows_for_the_weight() {
        let check = |first: (u32, u32), second: (u32, u32), want: bool| {
            let running = |(flows, weight)| Running { flows, weight };
            assert_eq!(first_is_better(running(first), running(second)), want, "{first:?}");
        };
        check((0, 1), (0, 1), true);
        check((1, 1), (0, 1), false);
        check((0, 1), (1, 1), true);
        // The heavier one of two that are empty; then until it has its share.
        check((0, 1), (0, 3), false);
        check((0, 1), (1, 3), false);
        check((0, 1), (2, 3), true);
        check((99, 1), (299, 3), true);
        check((100, 1), (299, 3), false);
        check((u32::MAX, 1), (u32::MAX, u32::MAX), false);
        // One that the agent has not weighed yet.
        check((5, 0), (0, 1), false);
    }
}
