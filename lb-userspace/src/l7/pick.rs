//! A backend for a new session. Pure: what is drawn at random is an argument.

/// A backend that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which one; its place in the pool.
    pub index: usize,
    /// Its share; at least 1.
    pub weight: u16,
    /// Requests under way there, as this worker knows.
    pub active: u32,
    /// Its place among hashes; the same on every node.
    pub identity: u64,
}

/// Whose turn it is, by smooth weighted round robin: backends alternate as evenly as their weights
/// let them.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    /// What each backend of the pool is owed.
    owed: Vec<i64>,
}

impl RoundRobin {
    /// The next; `None` where there is nobody.
    pub fn next(&mut self, candidates: impl Iterator<Item = Candidate>) -> Option<usize> {
        let (mut total, mut best) = (0, None);
        for candidate in candidates {
            if self.owed.len() <= candidate.index {
                self.owed.resize(candidate.index + 1, 0);
            }
            let weight = i64::from(candidate.weight);
            let owed = &mut self.owed[candidate.index];
            *owed += weight;
            total += weight;
            if best.is_none_or(|(most, _)| *owed > most) {
                best = Some((*owed, candidate.index));
            }
        }
        let (_, index) = best?;
        self.owed[index] -= total;
        Some(index)
    }
}

/// The less loaded for its weight of two drawn by weight ("The power of two choices", Mitzenmacher
/// 2001). `draw` gives uniformly distributed words.
pub fn least_requests(candidates: &[Candidate], mut draw: impl FnMut() -> u64) -> Option<usize> {
    let total: u64 = candidates.iter().map(|one| u64::from(one.weight)).sum();
    let mut one = || {
        // The upper half of the product: below `total`, without a division.
        let mut at = u64::try_from((u128::from(draw()) * u128::from(total)) >> 64).ok()?;
        candidates.iter().find(|one| {
            let here = at < u64::from(one.weight);
            at = at.wrapping_sub(one.weight.into());
            here
        })
    };
    let (first, second) = (one()?, one()?);
    // active / weight, one more for the request itself.
    let load = |of: &Candidate, by: &Candidate| u64::from(of.active + 1) * u64::from(by.weight);
    let better = if load(second, first) < load(first, second) { second } else { first };
    Some(better.index)
}

/// By weighted rendezvous hashing of a client ("Weighted distributed hash tables", Schindelhauer and
/// Schomaker 2005): who leaves takes only his own clients' choices along.
pub fn by_hash(candidates: impl Iterator<Item = Candidate>, client: u64) -> Option<usize> {
    let score = |one: &Candidate| {
        // In (0, 1): 53 bits, and a half.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = ((mix(client ^ one.identity) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(one.weight) / drawn.ln()
    };
    candidates.map(|one| (score(&one), one.index)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1)
}

/// Spreads a word's bits over all of it (the end of `SplitMix64`, Steele, Lea and Flood 2014).
#[must_use]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[u16]) -> Vec<Candidate> {
        let one = |(index, &weight): (usize, &u16)| Candidate {
            index,
            weight,
            active: 0,
            identity: mix(index as u64 + 1),
        };
        weights.iter().enumerate().filter(|(_, weight)| **weight > 0).map(one).collect()
    }

    #[test]
    fn turns_alternate_by_weight() {
        let mut turns = RoundRobin::default();
        let all = candidates(&[5, 1, 1]);
        let order: Vec<_> = (0..7).map(|_| turns.next(all.iter().copied()).expect("one")).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        // One that is left out does not pile up turns.
        let two = candidates(&[0, 1, 1]);
        let order: Vec<_> = (0..4).map(|_| turns.next(two.iter().copied()).expect("one")).collect();
        assert_eq!(order, [1, 2, 1, 2]);
        assert_eq!(turns.next(std::iter::empty()), None);
    }

    #[test]
    fn of_two_the_less_loaded_for_its_weight() {
        let mut all = candidates(&[1, 1]);
        all[0].active = 3;
        let draws = [0, u64::MAX];
        let mut at = draws.iter().cycle();
        assert_eq!(least_requests(&all, || *at.next().expect("endless")), Some(1));
        all[0].weight = 10;
        all[1].active = 1;
        // 4 of 10 against 2 of 1.
        let mut at = draws.iter().cycle();
        assert_eq!(least_requests(&all, || *at.next().expect("endless")), Some(0));
        assert_eq!(least_requests(&[], || 0), None);
        let mut counts = [0_u32; 2];
        let all = candidates(&[3, 1]);
        let mut random = 1_u64;
        for _ in 0..4000 {
            let draw = || {
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                mix(random)
            };
            counts[least_requests(&all, draw).expect("one")] += 1;
        }
        // With nothing under way the heavier of two is the less loaded: 1 - (1/4)^2.
        assert!((3600..3900).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn hashes_follow_weights_and_move_little() {
        let all = candidates(&[1, 2, 1]);
        let of = |who: &[Candidate], client| by_hash(who.iter().copied(), mix(client));
        let mut shares = [0_u32; 3];
        for client in 0..8000 {
            shares[of(&all, client).expect("one")] += 1;
        }
        assert!((3800..4200).contains(&shares[1]), "{shares:?}");
        let two = &all[..2];
        for client in 0..8000 {
            let before = of(&all, client).expect("one");
            if before != 2 {
                assert_eq!(of(two, client), Some(before), "client {client}");
            }
        }
        assert_eq!(of(&[], 1), None);
    }
}
