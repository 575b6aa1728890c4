//! What the sweeper goes by: everything that decides, as it stood when the mark was set.

use super::{Settings, pod};

pod! {
    /// The one row of the array `SWEEP`.
    pub struct SweepRules {
        /// When the mark was set; monotonic clock, nanoseconds.
        pub now_ns: u64,
        /// The mark: only what was last seen before it is deleted.
        pub before_ns: u64,
        /// When an idle flow is over.
        pub settings: Settings,
    }
}

pod! {
    /// Value of the hash map `SWEEP_SCOPES`, by scope: the times of its pins. No entry: no VIP has
    /// the scope any more.
    pub struct ScopeTimes {
        /// See `Vip::timeout_ns`.
        pub timeout_ns: u64,
        /// See `Vip::max_lifetime_ns`.
        pub max_lifetime_ns: u64,
    }
}

pod! {
    /// A row of the array `SWEEP_LIVES`: a backend's lives. All zero: the id was never used.
    #[derive(Default)]
    pub struct Lives {
        /// The present one, counted from 1.
        pub generation: u32,
        /// The oldest whose flows are served.
        pub flows_since: u32,
    }
}
