//! How many new flows are made: rates that spoofed packets cannot take from those who have a pin.
//!
//! What a packet without a flow may make is asked of two cells, each a [`crate::rate`]: that of its
//! network and that of all. A client with a valid pin has a cell of its own in place of its
//! network's, and those with pins share another cell of all: so neither its neighbours' addresses
//! nor everybody's, forged, keep it from new flows; only its own address could.
//!
//! Cells of networks and clients are found by a keyed hash. Two in one cell share its rate, which
//! nobody can bring about on purpose; with `n` of them under way at once, a given one shares its
//! cell with a chance of `n / 65,536` at most.

use crate::{
    address::Address,
    hash::{self, Seed},
    layout::Flood,
    rate::Rate,
    select::address_words,
};

/// Cells of networks and clients.
const NETWORKS: u32 = 65_536;
/// All cells: one for all clients without a pin, one for all with, then [`NETWORKS`].
pub const CELLS: u32 = NETWORKS + 2;

/// The cell of all who have a pin, or of all who have none.
#[inline(always)]
#[must_use]
pub const fn cell_of_all(pinned: bool) -> u32 {
    pinned as u32
}

/// The cell of a network or, `pinned`, of a client.
#[inline(always)]
#[must_use]
pub fn cell_of(seed: Seed, masked: Address, pinned: bool) -> u32 {
    // Apart from what the seed is used for otherwise.
    const DOMAIN: u64 = u64::from_be_bytes(*b"floodkey");
    let [high, low] = address_words(masked);
    let hash = hash::words(seed, [DOMAIN ^ pinned as u64, high, low]);
    (hash as u32 % NETWORKS).wrapping_add(2)
}

impl Flood {
    /// The network of a client.
    #[inline(always)]
    #[must_use]
    pub const fn network_of(&self, client: Address) -> Address {
        client.masked(if client.is_v4() { self.mask_v4 } else { self.mask_v6 })
    }
}

/// So many a second, and at most as many at once; at least 1, at most 10^9.
#[must_use]
pub const fn per_second(times: u32) -> Rate {
    const SECOND: u64 = 1_000_000_000;
    match SECOND.checked_div(times as u64) {
        Some(every_ns) => Rate::new(every_ns, times as u64),
        None => Rate::new(SECOND, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([3, 4]);

    fn v4(bytes: [u8; 4]) -> Address {
        Address::from_v4(bytes)
    }

    #[test]
    fn networks() {
        let rules = Flood {
            mask_v4: Address::mask(96 + 24),
            mask_v6: Address::mask(56),
            ..Flood::default()
        };
        let network = |client| rules.network_of(client);
        assert_eq!(network(v4([192, 0, 2, 1])), network(v4([192, 0, 2, 200])));
        assert_ne!(network(v4([192, 0, 2, 1])), network(v4([192, 0, 3, 1])));
        let v6 = |at: usize| {
            network(Address::from_v6(core::array::from_fn(|byte| u8::from(byte == at))))
        };
        assert_eq!(v6(7), v6(15));
        assert_ne!(v6(6), v6(15));
    }

    #[test]
    fn cells_are_within_the_map_and_spread() {
        let mut hit = std::collections::BTreeSet::new();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            for pinned in [false, true] {
                let cell = cell_of(SEED, v4([10, high, low, 0]), pinned);
                assert!((2..CELLS).contains(&cell), "{cell}");
                let _new = hit.insert(cell);
            }
        }
        // 65,536 * (1 - e^(-20,000 / 65,536)) = 17,235 on average, give or take 45.
        assert!((17_000..17_500).contains(&hit.len()), "{}", hit.len());
        assert_ne!(cell_of_all(false), cell_of_all(true));
    }

    #[test]
    fn a_second_has_as_many() {
        for times in [1, 2, 3, 5000, 100_000, 10_000_000] {
            let rate = per_second(times);
            let (mut bucket, mut admitted) = (0, 0_u32);
            while let Some(next) = rate.admits(bucket, 1_000) {
                bucket = next;
                admitted += 1;
            }
            assert_eq!(admitted, times, "at once");
            assert_eq!(rate.admits(bucket, 1_000 + rate.every_ns - 1), None);
            assert!(rate.admits(bucket, 1_000 + rate.every_ns).is_some());
        }
        assert_eq!(per_second(0), per_second(1));
        // Before the agent has written any, none is kept.
        assert_eq!(Flood::default().all.admits(5, 10), Some(10));
    }
}
