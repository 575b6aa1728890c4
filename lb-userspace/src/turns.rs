//! Whose turn it is, by weight: the order in which backends fill a Maglev table, and the one in
//! which round-robin goes through them. Pure.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Indices into `weights`, without end: who has weight `w` has its turns at the times `1/w`, `2/w`,
/// `3/w`, ... Those at one time come by index. None where nobody has weight.
pub fn turns(weights: &[u16]) -> impl Iterator<Item = usize> {
    let equal = weights.first().is_some_and(|first| weights.iter().all(|weight| weight == first));
    // Thousands of turns of equals, without the heap.
    let equals = weights.iter().enumerate().filter(move |_| equal);
    let equals = equals.filter(|(_, weight)| **weight > 0).map(|(index, _)| index).cycle();
    let others = weights.iter().enumerate().filter(move |_| !equal);
    let mut heap: BinaryHeap<Reverse<Turn>> = others
        .filter(|(_, weight)| **weight > 0)
        .map(|(index, weight)| Reverse(Turn { number: 1, weight: *weight, index }))
        .collect();
    equals.chain(std::iter::from_fn(move || {
        let mut next = heap.peek_mut()?;
        next.0.number += 1;
        Some(next.0.index)
    }))
}

/// Turn number `number` of who has that weight.
#[derive(PartialEq, Eq)]
struct Turn {
    number: u32,
    weight: u16,
    index: usize,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ours = u64::from(self.number) * u64::from(other.weight);
        let theirs = u64::from(other.number) * u64::from(self.weight);
        ours.cmp(&theirs).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_by_weight() {
        let check = |weights: &[u16], want: &[usize]| {
            let got: Vec<usize> = turns(weights).take(want.len()).collect();
            assert_eq!(got, want, "{weights:?}");
        };
        check(&[1, 1, 1], &[0, 1, 2, 0, 1, 2, 0]);
        check(&[7, 7], &[0, 1, 0, 1]);
        check(&[1, 2], &[1, 0, 1, 1, 0, 1]);
        check(&[3, 1], &[0, 0, 0, 1, 0, 0, 0, 1]);
        check(&[0, 5], &[1, 1, 1]);
        // A common factor changes nothing.
        check(&[10, 20], &[1, 0, 1, 1, 0, 1]);
        assert_eq!(turns(&[]).next(), None);
        assert_eq!(turns(&[0, 0]).next(), None);
    }
}
