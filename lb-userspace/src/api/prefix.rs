//! A client's address, or a range of them by prefix.

use std::{fmt, net::IpAddr, str::FromStr};

use lb_common::address::Address;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address cut to a number of bits; the others are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `address` cut to `bits`; `None` when the family has not so many.
    ///
    /// A v4-mapped IPv6 address counts as the IPv4 address that it holds.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        if bits > bits_of(address) {
            return None;
        }
        let unmapped = IpAddr::from(Address::from(address));
        // Mapped: the prefix must not reach out of the range of mapped addresses.
        let mapped = address.is_ipv6() && unmapped.is_ipv4();
        let bits = if mapped { bits.checked_sub(96)? } else { bits };
        let offset = if unmapped.is_ipv4() { 96 } else { 0 };
        let cut = Address::from(unmapped).masked(Address::mask(offset + bits));
        // A cut clears low bits only, so it never turns another address into a mapped one.
        Some(Self { address: cut.into(), bits })
    }

    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = IpAddr::from(Address::from(address));
        Self { address, bits: bits_of(address) }
    }

    /// The address, cut.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Is there an address in both? Never between the families.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.address.is_ipv4() != other.address.is_ipv4() {
            return false;
        }
        let bits = self.bits.min(other.bits);
        Self::new(self.address, bits) == Self::new(other.address, bits)
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == bits_of(self.address) {
            f.pad(&self.address.to_string())
        } else {
            f.pad(&format!("{}/{}", self.address, self.bits))
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{text}` is no client: allowed is an address with or without a prefix length, \
                 like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48"
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|digit| digit.is_ascii_digit()) => {
                (address, Some(bits.parse().ok().ok_or_else(wrong)?))
            }
            Some(_) => return Err(wrong()),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok().ok_or_else(wrong)?;
        match bits {
            Some(bits) => Self::new(address, bits).ok_or_else(wrong),
            None => Ok(Self::host(address)),
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("prefix")
    }

    #[test]
    fn text_is_cut_and_shortest() {
        let check = |text: &str, want: &str| assert_eq!(prefix(text).to_string(), want, "{text}");
        check("10.1.2.3", "10.1.2.3");
        check("10.1.2.3/32", "10.1.2.3");
        check("10.1.2.3/24", "10.1.2.0/24");
        check("10.1.2.3/0", "0.0.0.0/0");
        check("2001:db8::1", "2001:db8::1");
        check("2001:db8::1/32", "2001:db8::/32");
        check("2001:db8::1/0", "::/0");
        check("::ffff:10.1.2.3", "10.1.2.3");
        check("::ffff:10.1.2.3/120", "10.1.2.0/24");
        check("::ffff:10.1.2.3/96", "0.0.0.0/0");
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "x",
            "10.1.2",
            "10.1.2.3/",
            "10.1.2.3/33",
            "10.1.2.3/+8",
            "10.1.2.3/-1",
            "/8",
            "::/129",
            "::ffff:10.0.0.0/8",
            "10.1.2.3/8/8",
            "10.1.2.3:80",
        ] {
            let error = text.parse::<Prefix>().expect_err(text);
            assert!(error.contains("192.0.2.0/24"), "{error}");
        }
    }

    #[test]
    fn overlap_is_by_the_shorter_one() {
        let check = |a: &str, b: &str, want: bool| {
            assert_eq!(prefix(a).overlaps(&prefix(b)), want, "{a} {b}");
            assert_eq!(prefix(b).overlaps(&prefix(a)), want, "{b} {a}");
        };
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("10.1.2.0/24", "10.1.2.4", true);
        check("10.1.2.0/24", "10.1.0.0/16", true);
        check("10.1.2.0/24", "10.2.0.0/16", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("::/0", "192.0.2.1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/33", "2001:db8:8000::/33", false);
    }
}
