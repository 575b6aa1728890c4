//! What the data path is told apart from VIPs and backends.

use super::pod;

pod! {
    /// The one row of the array `SETTINGS`: when an idle flow is over, in nanoseconds.
    pub struct Settings {
        /// TCP, under way.
        pub tcp_established_ns: u64,
        /// TCP, opening or half-closed.
        pub tcp_transitory_ns: u64,
        /// TCP, while the backend waits in TIME-WAIT.
        pub tcp_time_wait_ns: u64,
        /// Not TCP.
        pub stateless_ns: u64,
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
        /// The same of entries of `FLOWS`.
        pub flows_removed: u64,
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
        /// Entries of `FLOWS` and of `REPLIES`.
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
