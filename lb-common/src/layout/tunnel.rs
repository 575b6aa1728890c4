//! Tunnels: how packets to a backend are wrapped up.

use super::{code, pod};
use crate::address::Address;

code! {
    /// What stands between the outer IP header and the packet in it.
    pub enum Encapsulation {
        /// No tunnel: packets go as they are.
        None = 0,
        /// Nothing: IP in IP (RFC 2003, RFC 2473, RFC 4213).
        IpIp = 1,
        /// A UDP header: GUE, variant 1 (draft-ietf-intarea-gue, 4).
        Gue = 2,
    }
}

pod! {
    /// A backend's tunnel. All zero: it has none.
    #[derive(Default)]
    pub struct Tunnel {
        /// Outer source address.
        pub source: Address,
        /// Bits of it that each flow fills as its hash says; the address has zeros there.
        pub spread: Address,
        /// Largest IP packet on the way to the backend, outer header included, in bytes.
        pub mtu: u16,
        /// GUE: the destination port, network byte order.
        pub port_be: u16,
        /// An [`Encapsulation`] code.
        pub kind: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}
