//! The balancer's own addresses: those of listeners, and those that `nat` packets come from.

use super::{Protocol, pod};

/// Bit of [`Own::flags`]: TCP listeners of layer 4 have the address.
pub const OWN_TCP: u8 = 1;
/// Bit of [`Own::flags`]: UDP listeners have the address.
pub const OWN_UDP: u8 = 2;
/// Bit of [`Own::flags`]: echo requests to the address are answered.
pub const OWN_ECHO: u8 = 4;
/// Bit of [`Own::flags`]: the sidecar's listeners have the address.
pub const OWN_SIDECAR: u8 = 8;

pod! {
    /// Value of the map `OWN`, by address. All zero: a NAT source without listeners.
    #[derive(PartialOrd, Ord, Default)]
    pub struct Own {
        /// The port, network byte order, of a TCP listener that chooses by client address alone
        /// and as every other TCP listener of the address does (one scope, so one pool), and
        /// whose packets are not translated; 0: there is no such choice.
        pub tcp_port_be: u16,
        /// The same of UDP listeners.
        pub udp_port_be: u16,
        /// [`OWN_TCP`], [`OWN_UDP`], [`OWN_ECHO`], [`OWN_SIDECAR`].
        pub flags: u8,
        /// Zero.
        pub pad: u8,
    }
}

impl Own {
    /// Do layer-4 listeners of that protocol, an IP protocol number, have the address?
    #[inline(always)]
    #[must_use]
    pub const fn has_listener(&self, protocol: u8) -> bool {
        self.flags & Self::flag(protocol) != 0
    }

    /// The flag of listeners of that protocol, an IP protocol number; 0 where none can be.
    #[inline(always)]
    #[must_use]
    pub const fn flag(protocol: u8) -> u8 {
        match Protocol::from_code(protocol) {
            Some(Protocol::Tcp) => OWN_TCP,
            Some(Protocol::Udp) => OWN_UDP,
            None => 0,
        }
    }

    /// The port of a listener by which a packet without ports finds its backend, network byte
    /// order; 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn port_be(&self, protocol: u8) -> u16 {
        match Protocol::from_code(protocol) {
            Some(Protocol::Tcp) => self.tcp_port_be,
            Some(Protocol::Udp) => self.udp_port_be,
            None => 0,
        }
    }

    /// Do listeners of the sidecar's, of that IP protocol number, have the address?
    #[inline(always)]
    #[must_use]
    pub const fn has_sidecar(&self, protocol: u8) -> bool {
        self.flags & OWN_SIDECAR != 0 && protocol == Protocol::Tcp.code()
    }

    /// Are echo requests answered?
    #[inline(always)]
    #[must_use]
    pub const fn answers_echo(&self) -> bool {
        self.flags & OWN_ECHO != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_its_own() {
        let own = Own { tcp_port_be: 1, udp_port_be: 2, flags: OWN_UDP, pad: 0 };
        assert!(!own.has_listener(6) && own.has_listener(17) && !own.has_listener(1));
        assert_eq!([6, 17, 1].map(|protocol| own.port_be(protocol)), [1, 2, 0]);
        assert!(!own.answers_echo() && Own { flags: OWN_ECHO, ..own }.answers_echo());
        assert!(!Own { flags: OWN_ECHO, ..own }.has_listener(17));
        let sidecars = Own { flags: OWN_SIDECAR, ..own };
        assert_eq!([6, 17, 1].map(|protocol| sidecars.has_sidecar(protocol)), [true, false, false]);
        assert!(!sidecars.has_listener(6) && !own.has_sidecar(6));
    }
}
