//! Counters, per CPU; the agent adds them up.

use super::pod;
use crate::event::EVENTS;

pod! {
    /// A row of the per-CPU array `LISTENER_STATS`; row 0 counts packets of no listener.
    pub struct ListenerCounters {
        /// By [`crate::event::Event`] code.
        pub events: [u64; EVENTS],
        /// Bytes forwarded to backends or passed to the sidecar, from the Ethernet header on.
        pub bytes_in: u64,
        /// Bytes forwarded to clients (`nat`), from the Ethernet header on.
        pub bytes_out: u64,
    }
}

pod! {
    /// A row of the per-CPU array `BACKEND_STATS`.
    #[derive(Default)]
    pub struct BackendCounters {
        /// Packets forwarded to it.
        pub packets_in: u64,
        /// Bytes forwarded to it, from the Ethernet header on.
        pub bytes_in: u64,
        /// Packets of its replies (`nat`).
        pub packets_out: u64,
        /// Bytes of its replies (`nat`), from the Ethernet header on.
        pub bytes_out: u64,
        /// Flows placed on it.
        pub flows: u64,
    }
}

impl ListenerCounters {
    /// Nothing counted yet.
    pub const ZERO: Self = Self { events: [0; EVENTS], bytes_in: 0, bytes_out: 0 };
}
