//! Pins: a client's backend, across flows.

use super::{BackendRef, pod};
use crate::address::Address;

pod! {
    /// Key of the LRU map `PINS`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct PinKey {
        /// Client address, cut to the scope's prefix.
        pub client: Address,
        /// The listeners that share this pin; never 0.
        pub scope: u32,
    }
}

pod! {
    /// Value of the LRU map `PINS`.
    pub struct Pin {
        /// The backend and its life.
        pub backend: BackendRef,
        /// When it was made; monotonic clock, nanoseconds.
        pub created_ns: u64,
        /// When it was made or last refreshed; monotonic clock, nanoseconds.
        pub last_seen_ns: u64,
    }
}
