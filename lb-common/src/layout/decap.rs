//! What the program that takes packets out of tunnels is told, and counts.

use super::pod;
use crate::{address::Address, decap::DECAP_EVENTS};

/// Bit of a value of `DECAP_ADDRESSES`: outer packets come to this address.
pub const DECAP_OUTER: u8 = 1;
/// Bit of a value of `DECAP_ADDRESSES`: packets to this address are taken out.
pub const DECAP_VIP: u8 = 2;

/// Most prefixes that outer packets can be taken from.
pub const DECAP_SOURCES: usize = 8;

pod! {
    /// A row of the array `DECAP_FROM`: where outer packets may come from.
    #[derive(Default)]
    pub struct DecapFrom {
        /// The first address.
        pub address: Address,
        /// The bits that all have in common with it.
        pub mask: Address,
    }
}

pod! {
    /// The one row of the per-CPU array `DECAP_STATS`.
    #[derive(Default)]
    pub struct DecapCounters {
        /// By [`crate::decap::DecapEvent`] code.
        pub events: [u64; DECAP_EVENTS],
    }
}
