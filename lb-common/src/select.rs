//! Choice of a backend where no pin speaks: a slot of the pool's Maglev table (P8).
//!
//! A table is `slots` backend ids of 16 bits, four to a word; slot `s` is bits `16 * (s % 4)` and
//! up of word `s / 4`. Tables lie one after another in the map `TABLES`.

use core::num::{NonZeroU32, NonZeroU64};

use crate::{
    address::Address,
    hash::{self, Seed},
    layout::FlowKey,
};

/// Slots in a word of a table.
pub const SLOTS_PER_WORD: u32 = 4;

/// Words of a table of that many slots.
#[inline(always)]
#[must_use]
pub const fn table_words(slots: u32) -> u32 {
    slots.div_ceil(SLOTS_PER_WORD)
}

/// Hash of a client, its address cut to the scope's prefix.
#[inline(always)]
#[must_use]
pub fn client_hash(seed: Seed, masked_client: Address) -> u64 {
    let [high, low] = address_words(masked_client);
    hash::words(seed, [high, low])
}

/// Hash of a flow.
#[inline(always)]
#[must_use]
pub fn flow_hash(seed: Seed, flow: &FlowKey) -> u64 {
    let [a, b] = address_words(flow.source);
    let [c, d] = address_words(flow.destination);
    let rest = ((flow.source_port_be as u64) << 32)
        | ((flow.destination_port_be as u64) << 16)
        | flow.protocol as u64;
    hash::words(seed, [a, b, c, d, rest])
}

/// The slot that a hash falls into.
#[inline(always)]
#[must_use]
pub fn slot(hash: u64, slots: NonZeroU32) -> u32 {
    (hash % NonZeroU64::from(slots)) as u32
}

/// Where slot `slot` of table `table` (counted from 1) is: its word in `TABLES` and the shift to
/// its bits.
#[inline(always)]
#[must_use]
pub const fn position(table: u32, slot: u32, slots: u32) -> (u32, u32) {
    let first = table.wrapping_sub(1).wrapping_mul(table_words(slots));
    (first.wrapping_add(slot / SLOTS_PER_WORD), (slot % SLOTS_PER_WORD).wrapping_mul(16))
}

/// The backend id at that shift; 0: none.
#[inline(always)]
#[must_use]
pub const fn backend_at(word: u64, shift: u32) -> u32 {
    (word.wrapping_shr(shift) & 0xffff) as u32
}

#[inline(always)]
pub(crate) const fn address_words(address: Address) -> [u64; 2] {
    let [a, b, c, d] = address.words_be;
    [((a as u64) << 32) | b as u64, ((c as u64) << 32) | d as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_positions() {
        let slots = NonZeroU32::new(65_537).expect("not zero");
        assert_eq!(slot(0, slots), 0);
        assert_eq!(slot(65_536, slots), 65_536);
        assert_eq!(slot(65_537, slots), 0);
        assert!(slot(u64::MAX, slots) < 65_537);
        assert_eq!(table_words(65_537), 16_385);
        assert_eq!(position(1, 0, 65_537), (0, 0));
        assert_eq!(position(1, 65_536, 65_537), (16_384, 0));
        assert_eq!(position(3, 7, 65_537), (2 * 16_385 + 1, 48));
        assert_eq!(backend_at(0x0004_0003_0002_0001, 0), 1);
        assert_eq!(backend_at(0x0004_0003_0002_0001, 48), 4);
    }
}
