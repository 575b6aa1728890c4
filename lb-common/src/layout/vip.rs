//! VIPs and pools: what a destination address and port lead to.

use super::{code, pod};
use crate::address::Address;

code! {
    /// Transport protocol, by its IP protocol number.
    pub enum Protocol {
        /// TCP.
        Tcp = 6,
        /// UDP.
        Udp = 17,
    }
}

code! {
    /// What refreshes a pin (P4).
    pub enum Refresh {
        /// Any packet of a flow on the pinned backend.
        Activity = 0,
        /// Only a new flow.
        NewConnection = 1,
        /// Nothing.
        Never = 2,
    }
}

code! {
    /// Forwarding mode of a pool.
    pub enum Forward {
        /// Full NAT.
        Nat = 0,
        /// Direct server return.
        Dsr = 1,
        /// Encapsulated, to backends that answer clients themselves.
        Tunnel = 2,
    }
}

pod! {
    /// Key of the map `VIPS`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct VipKey {
        /// Destination address.
        pub address: Address,
        /// Destination port, network byte order.
        pub port_be: u16,
        /// A [`Protocol`] code.
        pub protocol: u8,
        /// Zero.
        pub pad: u8,
    }
}

pod! {
    /// Value of the map `VIPS`.
    pub struct Vip {
        /// A pin is valid while it was seen less than this ago (P3), in nanoseconds.
        pub timeout_ns: u64,
        /// Bound on a pin's whole life, in nanoseconds; 0: none.
        pub max_lifetime_ns: u64,
        /// Age from which an activity writes `last_seen` anew, in nanoseconds.
        pub refresh_ns: u64,
        /// The bits of a client address that make its pin.
        pub client_mask: Address,
        /// Row of this listener in `LISTENER_STATS`; at least 1.
        pub listener: u32,
        /// Row of its pool in `POOLS`.
        pub pool: u32,
        /// Pins are kept per scope; 0: no persistence.
        pub scope: u32,
        /// A [`Refresh`] code.
        pub refresh: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}

pod! {
    /// Value of the array `POOLS`.
    #[derive(Default)]
    pub struct Pool {
        /// Number of the pool's table in `TABLES`, counted from 1; 0: no backend takes clients.
        pub table: u32,
        /// A [`Forward`] code.
        pub forward: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}
