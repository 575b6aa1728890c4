//! Slow start: a backend that comes to a pool which is being served, new or back, gets its weight
//! step by step. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::Snapshot;
use lb_common::layout::BackendState;

/// A backend begins with one part in so many of its weight, and gets another one after each part of
/// the time.
pub const STEPS: u16 = 10;

/// Who takes clients, and with how much of its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ramps {
    taking: BTreeSet<u32>,
    /// When those began that do not have all of their weight yet; monotonic clock, nanoseconds.
    began: BTreeMap<u32, u64>,
    /// When the next one of them gets more.
    due_ns: Option<u64>,
}

/// A backend that takes clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taker {
    /// Its row.
    pub id: u32,
    /// Its weight, at most 1000, at the end.
    pub weight: u16,
}

impl Ramps {
    /// As the maps stand: who is in service has all of its weight.
    #[must_use]
    pub fn recover(there: &Snapshot) -> Self {
        let ready = BackendState::Ready.code();
        let taking = there.backends.iter().filter(|(_, row)| row.state == ready);
        let taking = taking.filter(|(_, row)| row.hop.interface != 0);
        Self { taking: taking.map(|(id, _)| *id).collect(), ..Self::default() }
    }

    /// When the next backend gets more weight; monotonic clock, nanoseconds.
    #[must_use]
    pub const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Parts of its weight that a backend has, of [`STEPS`]; `None`: all.
    #[must_use]
    pub fn parts(&self, id: u32, slow_start_ns: u64, now_ns: u64) -> Option<u16> {
        self.began.get(&id).and_then(|began| parts(*began, slow_start_ns, now_ns))
    }

    /// Notes a pool's backends that take clients now; the weights that they have now, in the same
    /// order and against one another. `before`: what was noted last of all pools.
    ///
    /// With all others new too, as in a pool that starts, there is nobody to relieve, and each has
    /// all of its weight.
    pub fn weigh(
        &mut self,
        before: &Self,
        takers: &[Taker],
        slow_start_ns: u64,
        now_ns: u64,
    ) -> Vec<u16> {
        let whole = |taker: &Taker| {
            before.taking.contains(&taker.id) && !before.began.contains_key(&taker.id)
        };
        let served = takers.iter().any(whole);
        let mut shares = Vec::new();
        for taker in takers {
            let began = if before.taking.contains(&taker.id) {
                before.began.get(&taker.id).copied()
            } else {
                served.then_some(now_ns)
            };
            self.taking.insert(taker.id);
            let parts = began.and_then(|began| parts(began, slow_start_ns, now_ns));
            if let (Some(began), Some(parts)) = (began, parts) {
                self.began.insert(taker.id, began);
                let next = slow_start_ns * u64::from(parts);
                let next = began.saturating_add(next.div_ceil(u64::from(STEPS)));
                self.due_ns = Some(self.due_ns.map_or(next, |due| due.min(next)));
            }
            shares.push(parts);
        }
        let scaled = shares.iter().any(Option::is_some);
        let weight = |(taker, parts): (&Taker, &Option<u16>)| {
            taker.weight.saturating_mul(if scaled { parts.unwrap_or(STEPS) } else { 1 })
        };
        takers.iter().zip(&shares).map(weight).collect()
    }
}

/// From 1 on; `None`: all.
fn parts(began_ns: u64, slow_start_ns: u64, now_ns: u64) -> Option<u16> {
    let past = now_ns.saturating_sub(began_ns).saturating_mul(u64::from(STEPS));
    let step = past.checked_div(slow_start_ns)?;
    u16::try_from(step).ok().filter(|step| *step < STEPS).map(|step| step + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// Weights after each of these looks: a time, and who takes clients.
    fn walk(slow_start_ns: u64, looks: &[(u64, &[(u32, u16)])]) -> Vec<(Vec<u16>, Option<u64>)> {
        let mut before = Ramps::default();
        let look = |(now_ns, takers): &(u64, &[(u32, u16)])| {
            let takers: Vec<Taker> =
                takers.iter().map(|(id, weight)| Taker { id: *id, weight: *weight }).collect();
            let mut next = Ramps::default();
            let weights = next.weigh(&before, &takers, slow_start_ns, *now_ns);
            before = next;
            (weights, before.due_ns())
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_backend_that_comes_back_gets_its_weight_in_steps() {
        let (all, one): (&[_], &[_]) = (&[(1, 1), (2, 3)], &[(1, 1)]);
        let looks = [
            (S, all),
            (2 * S, one),
            (10 * S, all),
            (13 * S - 1, all),
            (13 * S, all),
            (37 * S - 1, all),
            (37 * S, all),
            (40 * S, all),
            (99 * S, all),
        ];
        let want = [
            (vec![1, 3], None),
            (vec![1], None),
            (vec![10, 3], Some(13 * S)),
            (vec![10, 3], Some(13 * S)),
            (vec![10, 6], Some(16 * S)),
            (vec![10, 27], Some(37 * S)),
            (vec![10, 30], Some(40 * S)),
            (vec![1, 3], None),
            (vec![1, 3], None),
        ];
        assert_eq!(walk(30 * S, &looks), want);
    }

    #[test]
    fn without_others_there_is_nobody_to_relieve() {
        let (none, one): (&[_], &[_]) = (&[], &[(1, 5)]);
        assert_eq!(walk(30 * S, &[(S, none), (2 * S, one)]), [(vec![], None), (vec![5], None)]);
        // The one that is left has all while the other has not come, and while it ramps.
        let both: &[_] = &[(1, 5), (2, 5)];
        let got = walk(30 * S, &[(S, one), (2 * S, both), (3 * S, &[(2, 5)])]);
        let want = [
            (vec![5], None),
            (vec![50, 5], Some(5 * S)),
            // Alone, its part is all there is.
            (vec![5], Some(5 * S)),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn no_slow_start_no_steps() {
        let got = walk(0, &[(S, &[(1, 1)]), (2 * S, &[(1, 1), (2, 1)])]);
        assert_eq!(got, [(vec![1], None), (vec![1, 1], None)]);
    }
}
