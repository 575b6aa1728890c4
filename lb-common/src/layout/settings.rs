//! What the data path is told apart from VIPs and backends.

use super::pod;

/// Codes of [`super::TcpState`].
pub const STATES: usize = 8;

pod! {
    /// The one row of the array `SETTINGS`: when an idle flow is over.
    #[derive(Default)]
    pub struct Settings {
        /// By the code of its state, in nanoseconds.
        pub idle_ns: [u64; STATES],
        /// The same in [`crate::ticks`], rounded up.
        pub idle_ticks: [u32; STATES],
    }
}

impl Settings {
    /// How long a flow in that state, a code, may be idle, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub fn idle_ns(&self, state: u8) -> u64 {
        self.idle_ns.get(state as usize & (STATES - 1)).copied().unwrap_or(0)
    }

    /// The same in ticks.
    #[inline(always)]
    #[must_use]
    pub fn idle_ticks(&self, state: u8) -> u32 {
        self.idle_ticks.get(state as usize & (STATES - 1)).copied().unwrap_or(0)
    }
}

pod! {
    /// The one row of the array `RECLAIM`.
    ///
    /// While the sweeper deletes, packets leave alone whatever is invalid and was last seen
    /// before this: so what it deletes cannot have come to life meanwhile (P7).
    #[derive(Default)]
    pub struct Reclaim {
        /// Monotonic clock, nanoseconds; 0: no sweep is under way.
        pub before_ns: u64,
        /// Pins that the agent has deleted so far; with those made and held it tells evictions.
        pub pins_removed: u64,
        /// The same of entries of `REPLIES`.
        pub replies_removed: u64,
    }
}

pod! {
    /// The one row of the array `META`: what the maps of an instance were made with.
    #[derive(Default)]
    pub struct Meta {
        /// [`crate::maps::LAYOUT_VERSION`]; 0: not written yet.
        pub layout_version: u32,
        /// Entries of `PINS`.
        pub pins: u32,
        /// Flows that `FLOWS` has room for, and entries of `REPLIES`.
        pub flows: u32,
        /// Entries of `VIPS`.
        pub listeners: u32,
        /// Rows of `BACKENDS`.
        pub backends: u32,
        /// Rows of `POOLS`.
        pub pools: u32,
        /// Slots of a Maglev table.
        pub maglev_slots: u32,
        /// The next scope id: none is used twice, since pins of an old one may be left.
        pub next_scope: u32,
    }
}
