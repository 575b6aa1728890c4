//! Datagrams that come in fragments.

use super::{BackendRef, Hop, code, pod};
use crate::address::Address;

code! {
    /// What became of a datagram's first fragment, and so becomes of the others.
    pub enum Course {
        /// Passed to the kernel.
        Passed = 0,
        /// Sent to a backend.
        Forwarded = 1,
        /// A backend's answer, sent to its client.
        Replied = 2,
    }
}

pod! {
    /// Key of the LRU map `FRAGMENTS`: what the fragments of a datagram have in common (RFC 791,
    /// 3.2; RFC 8200, 4.5).
    #[derive(PartialOrd, Ord, Hash)]
    pub struct FragmentKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Identification as it stands in the packet; of IPv4 in the lower half.
        pub id: u32,
        /// IP protocol number.
        pub protocol: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}

pod! {
    /// Value of the LRU map `FRAGMENTS`: where a datagram goes.
    pub struct Datagram {
        /// When its first fragment came; monotonic clock, nanoseconds.
        pub made_ns: u64,
        /// The backend and its life.
        pub backend: BackendRef,
        /// Translated: the source address that it gets.
        pub source: Address,
        /// Translated: the destination address that it gets.
        pub destination: Address,
        /// An answer: the way to its client.
        pub hop: Hop,
        /// Row of its listener in `LISTENER_STATS`.
        pub listener: u32,
        /// Translated: the source port that its first fragment got, network byte order; else 0.
        pub port_be: u16,
        /// Translated, IPv4: the identification that it gets, network byte order.
        pub id_be: u16,
        /// A [`Course`] code.
        pub course: u8,
        /// Zero.
        pub pad: [u8; 7],
    }
}
