//! IP addresses of both families in one shape.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::layout::pod;

pod! {
    /// An IPv6 address, or an IPv4 address v4-mapped (RFC 4291, 2.5.5.2): one look-up path.
    ///
    /// Four words as they stand in the packet: network byte order.
    #[derive(PartialOrd, Ord, Hash, Default)]
    pub struct Address {
        /// The address, most significant word first, each in network byte order.
        pub words_be: [u32; 4],
    }
}

/// Third word of every v4-mapped address.
const MAPPED_BE: u32 = 0xffff_u32.to_be();

impl Address {
    /// From the four bytes of an IPv4 header field.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self { words_be: [0, 0, MAPPED_BE, u32::from_ne_bytes(bytes)] }
    }

    /// From the sixteen bytes of an IPv6 header field.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6(b: [u8; 16]) -> Self {
        Self {
            words_be: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// The four bytes that an IPv4 header holds; meaningless unless [`Self::is_v4`].
    #[inline(always)]
    #[must_use]
    pub const fn v4(self) -> [u8; 4] {
        self.words_be[3].to_ne_bytes()
    }

    /// The sixteen bytes that an IPv6 header holds.
    #[inline(always)]
    #[must_use]
    pub const fn v6(self) -> [u8; 16] {
        let [a, b, c, d] = self.words_be;
        let [a, b, c, d] = [a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes()];
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }

    /// Is this a v4-mapped address?
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.words_be[0] == 0 && self.words_be[1] == 0 && self.words_be[2] == MAPPED_BE
    }

    /// The bits of `self` that `mask` has set.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, mask: Self) -> Self {
        let [a, b, c, d] = self.words_be;
        let [e, f, g, h] = mask.words_be;
        Self { words_be: [a & e, b & f, c & g, d & h] }
    }

    /// The mask of a prefix of `bits` bits (0 to 128) of the sixteen bytes; an IPv4 prefix of
    /// `n` bits is one of `96 + n`.
    #[must_use]
    pub const fn mask(bits: u8) -> Self {
        let mask = if bits == 0 {
            0
        } else if bits >= 128 {
            u128::MAX
        } else {
            u128::MAX << 128_u8.saturating_sub(bits)
        };
        Self::from_v6(mask.to_be_bytes())
    }

    /// May a packet come from here? Not: unspecified, loopback, multicast, broadcast
    /// (RFC 1122, 3.2.1.3; RFC 4291, 2.5 and 2.7).
    #[inline(always)]
    #[must_use]
    pub const fn can_be_a_source(self) -> bool {
        if self.is_v4() {
            let first = self.v4()[0];
            first != 0 && first != 127 && first < 224
        } else {
            let [a, b, c, d] = self.words_be;
            let unspecified_or_loopback = a == 0 && b == 0 && c == 0 && u32::from_be(d) <= 1;
            !unspecified_or_loopback && a.to_ne_bytes()[0] != 0xff
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4()))
        } else {
            Self::V6(Ipv6Addr::from(address.v6()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_round_trip() {
        for text in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "fe80::1"] {
            let ip: IpAddr = text.parse().expect("address");
            let address = Address::from(ip);
            assert_eq!(IpAddr::from(address), ip);
            assert_eq!(address.is_v4(), ip.is_ipv4(), "{text}");
        }
    }

    #[test]
    fn masks_cut_at_the_bit() {
        let check = |ip: &str, bits: u8, want: &str| {
            let ip: IpAddr = ip.parse().expect("address");
            let bits = if ip.is_ipv4() { bits.saturating_add(96) } else { bits };
            let cut = Address::from(ip).masked(Address::mask(bits));
            assert_eq!(IpAddr::from(cut).to_string(), want);
        };
        check("192.0.2.255", 32, "192.0.2.255");
        check("192.0.2.255", 25, "192.0.2.128");
        check("192.0.2.255", 24, "192.0.2.0");
        check("192.0.2.255", 1, "128.0.0.0");
        check("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6");
        check("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::");
        check("2001:db8:ffff::", 33, "2001:db8:8000::");
    }

    #[test]
    fn sources_that_no_client_has() {
        let check = |ip: &str, want: bool| {
            let ip: IpAddr = ip.parse().expect("address");
            assert_eq!(Address::from(ip).can_be_a_source(), want, "{ip}");
        };
        for good in ["1.0.0.1", "10.1.2.3", "223.255.255.255", "2001:db8::1", "fe80::1", "::2"] {
            check(good, true);
        }
        for bad in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
        {
            check(bad, false);
        }
        for bad in ["::", "::1", "ff02::1"] {
            check(bad, false);
        }
    }
}
