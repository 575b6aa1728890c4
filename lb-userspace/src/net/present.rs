//! The addresses that interfaces have, and who has put them there.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressMessage},
};

use super::Error;

/// `IFA_PROTO` of addresses that were put here: H.
pub(super) const PROTOCOL: u8 = 0x48;

/// The addresses of all interfaces, told apart by who has put them there.
#[derive(Debug, Default)]
pub struct There {
    /// By somebody else.
    pub others: BTreeSet<IpAddr>,
    /// By the agent, and by nobody else.
    pub own: BTreeSet<IpAddr>,
    subnets: Vec<Present>,
}

impl There {
    /// Is it in the subnet of an interface, so that it is looked for there without a router?
    #[must_use]
    pub fn on_link(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(address))
    }
}

/// Looks at the addresses of all interfaces. `own`: those of the last run,
/// as `addresses::Changes` said.
///
/// # Errors
///
/// The kernel does not say.
pub async fn there(handle: &Handle, own: &[IpAddr]) -> Result<There, Error> {
    Ok(sorted(&all(handle).await?, own))
}

fn sorted(present: &[Present], own: &[IpAddr]) -> There {
    let own = own.iter().copied().collect();
    let (mine, others): (Vec<&Present>, Vec<&Present>) =
        present.iter().partition(|one| one.is_mine(&own));
    let others: BTreeSet<IpAddr> = others.into_iter().map(|one| one.address).collect();
    let mine = mine.into_iter().map(|one| one.address);
    There {
        own: mine.filter(|address| !others.contains(address)).collect(),
        others,
        subnets: present.iter().filter(|one| !one.single()).copied().collect(),
    }
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present {
    /// The address.
    pub(super) address: IpAddr,
    /// Prefix length.
    pub(super) prefix: u8,
    /// Index.
    pub(super) interface: u32,
    /// Marked as put there for Holdfast.
    pub(super) marked: bool,
}

impl Present {
    /// Without others in its subnet?
    pub(super) fn single(&self) -> bool {
        self.prefix == single(self.address)
    }

    /// Put there by the agent, now or in the last run?
    pub(super) fn is_mine(&self, own: &HashSet<IpAddr>) -> bool {
        self.marked || (self.single() && own.contains(&self.address))
    }

    /// Is `other` in this one's subnet?
    pub(super) fn contains(&self, other: IpAddr) -> bool {
        let (Some(mine), Some(theirs)) = (bits(self.address, other), bits(other, self.address))
        else {
            return false;
        };
        let width = if other.is_ipv4() { 32 } else { 128 };
        let host = width - u32::from(self.prefix).min(width);
        mine.checked_shr(host) == theirs.checked_shr(host)
    }
}

/// Prefix length of a single address.
pub(super) const fn single(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The bits of `address`, if `other` is of its family.
fn bits(address: IpAddr, other: IpAddr) -> Option<u128> {
    match (address, other) {
        (IpAddr::V4(v4), IpAddr::V4(_)) => Some(u128::from(v4.to_bits())),
        (IpAddr::V6(v6), IpAddr::V6(_)) => Some(v6.to_bits()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// All there are.
pub(super) async fn all(handle: &Handle) -> Result<Vec<Present>, Error> {
    let mut present = Vec::new();
    let mut dump = handle.address().get().execute();
    while let Some(message) = dump.try_next().await.map_err(Error::request("list addresses"))? {
        present.extend(read(&message));
    }
    Ok(present)
}

fn read(message: &AddressMessage) -> Option<Present> {
    let (mut address, mut local, mut marked) = (None, None, false);
    for attribute in &message.attributes {
        if let AddressAttribute::Address(ip) = attribute {
            address = Some(*ip);
        } else if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Protocol(protocol) = attribute {
            marked = u8::from(*protocol) == PROTOCOL;
        }
    }
    // With a peer, `Address` is the peer's.
    let address = local.or(address)?;
    let header = &message.header;
    Some(Present { address, prefix: header.prefix_len, interface: header.index, marked })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net) fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    /// `text`: address/prefix, the interface's index, and `!` when marked.
    pub(in crate::net) fn present(text: &str) -> Present {
        let marked = text.ends_with('!');
        let (cidr, interface) = text.trim_end_matches('!').split_once(' ').expect("two words");
        let (address, prefix) = cidr.split_once('/').expect("a prefix");
        Present {
            address: ip(address),
            prefix: prefix.parse().expect("number"),
            interface: interface.parse().expect("number"),
            marked,
        }
    }

    #[test]
    fn who_has_put_them_there() {
        let there = [
            present("10.0.0.1/24 2"),
            present("10.0.0.9/32 2!"),
            present("10.0.0.8/32 2"),
            present("10.0.0.7/32 2!"),
            present("10.0.0.7/32 3"),
            present("2001:db8::1/64 3"),
        ];
        let found = sorted(&there, &[ip("10.0.0.8"), ip("10.0.0.1")]);
        let set = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<BTreeSet<_>>();
        assert_eq!(found.others, set(&["10.0.0.1", "10.0.0.7", "2001:db8::1"]));
        assert_eq!(found.own, set(&["10.0.0.8", "10.0.0.9"]));
        assert!(found.on_link(ip("10.0.0.77")) && found.on_link(ip("2001:db8::77")));
        assert!(!found.on_link(ip("10.0.1.9")) && !found.on_link(ip("2001:db9::77")));
    }

    #[test]
    fn subnets() {
        let check = |subnet: &str, address: &str, want: bool| {
            let subnet = present(&format!("{subnet} 2"));
            assert_eq!(subnet.contains(ip(address)), want, "{subnet:?} {address}");
        };
        check("10.0.0.1/24", "10.0.0.255", true);
        check("10.0.0.1/24", "10.0.1.0", false);
        check("10.0.0.1/0", "203.0.113.1", true);
        check("10.0.0.1/32", "10.0.0.1", true);
        check("10.0.0.1/32", "10.0.0.2", false);
        check("10.0.0.1/0", "2001:db8::1", false);
        check("2001:db8::1/64", "2001:db8::ffff:0:0:1", true);
        check("2001:db8::1/64", "2001:db8:0:1::1", false);
        check("2001:db8::1/0", "fe80::1", true);
        check("::ffff:0:0/0", "10.0.0.1", false);
    }
}
