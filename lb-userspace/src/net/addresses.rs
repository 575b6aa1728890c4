//! Listener addresses on the interfaces: put there, and taken off again, but never one that
//! somebody else has put there.
//!
//! An address that was put here says so in the kernel by its protocol (`ip address` shows it), so
//! that an agent that starts anew knows it again; kernels before 5.18 forget that, and the caller's
//! list of the last run stands in.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::IpAddr,
};

use futures_util::{StreamExt as _, stream};
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
            CacheInfo,
        },
    },
};

use super::{
    AT_ONCE, Error, error_number, links,
    present::{PROTOCOL, Present, all, single},
};

/// An address and the interface that it was put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The address.
    pub address: IpAddr,
    /// Index of the interface.
    pub interface: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address, if it has one.
    pub mac: Option<[u8; 6]>,
}

/// What [`ensure`] found and did.
#[derive(Debug, Default)]
pub struct Changes {
    /// Added now; to be announced.
    pub added: Vec<Placed>,
    /// Taken off now.
    pub removed: Vec<IpAddr>,
    /// All that are there by this module's doing: the list to hand in after a restart.
    pub own: Vec<IpAddr>,
    /// What the kernel refused; the rest was done nevertheless.
    pub failed: Vec<Error>,
}

/// Puts `wanted` on the interfaces and takes every other address off that was put there for
/// Holdfast before. Safe to repeat: changes nothing that is as it should be.
///
/// Each goes, as a single address (/32 or /128), to the one of `interfaces` whose subnet contains
/// it, else to the first. `own`: addresses of the last run, as [`Changes::own`] said. An address
/// that is on some interface already, and not by this module's doing, is left alone.
///
/// # Errors
///
/// No such interface, or the kernel does not say what there is: then nothing was changed.
pub async fn ensure(
    handle: &Handle,
    wanted: &[IpAddr],
    interfaces: &[String],
    own: &[IpAddr],
) -> Result<Changes, Error> {
    let links = links::all(handle).await?;
    let mut indices = Vec::new();
    for name in interfaces {
        let found = links.iter().find(|(_, link)| link.name == *name);
        let (index, _) = found.ok_or_else(|| Error::NoInterface(name.clone()))?;
        indices.push(*index);
    }
    let present = all(handle).await?;
    let decision = decide(&present, wanted, &indices, own);
    let name = |interface| links.get(&interface).map_or("", |link| link.name.as_str());
    let mut changes = Changes { own: decision.kept, ..Changes::default() };
    let adding = decision.add.into_iter().map(|(address, interface)| async move {
        (address, interface, add(handle, address, interface, name(interface)).await)
    });
    let mut added = stream::iter(adding).buffered(AT_ONCE);
    while let Some((address, interface, outcome)) = added.next().await {
        match outcome {
            Ok(true) => {
                changes.own.push(address);
                changes.added.push(Placed {
                    address,
                    interface,
                    name: name(interface).to_owned(),
                    mac: links.get(&interface).and_then(|link| link.mac),
                });
            }
            Ok(false) => {}
            Err(error) => changes.failed.push(error),
        }
    }
    let removing = decision
        .remove
        .into_iter()
        .map(|old| async move { (old.address, remove(handle, &old, name(old.interface)).await) });
    let mut removed = stream::iter(removing).buffered(AT_ONCE);
    let mut still_there = BTreeSet::new();
    while let Some((address, outcome)) = removed.next().await {
        match outcome {
            Ok(()) => changes.removed.push(address),
            Err(error) => {
                still_there.insert(address);
                changes.failed.push(error);
            }
        }
    }
    for address in &changes.own {
        still_there.remove(address);
    }
    changes.own.extend(still_there);
    Ok(changes)
}

/// Takes all addresses off that were put there for Holdfast: those that say so, and those of `own`.
pub async fn remove_all(handle: &Handle, own: &[IpAddr]) -> Result<Changes, Error> {
    ensure(handle, &[], &[], own).await
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Decision {
    add: Vec<(IpAddr, u32)>,
    remove: Vec<Present>,
    /// Own ones that stay.
    kept: Vec<IpAddr>,
}

fn decide(present: &[Present], wanted: &[IpAddr], interfaces: &[u32], own: &[IpAddr]) -> Decision {
    let mut decision = Decision::default();
    let own = own.iter().copied().collect();
    let asked: HashSet<IpAddr> = wanted.iter().copied().collect();
    // Those that stay, then also those that come.
    let mut done = HashSet::new();
    let mut kept = HashSet::new();
    for one in present {
        // One that is on an interface which is no longer attached moves.
        let place = interfaces.contains(&one.interface);
        let mine = one.is_mine(&own);
        if !mine || (asked.contains(&one.address) && place) {
            done.insert(one.address);
            if mine && kept.insert(one.address) {
                decision.kept.push(one.address);
            }
        } else {
            decision.remove.push(*one);
        }
    }
    let subnets: Vec<&Present> = present.iter().filter(|one| !one.single()).collect();
    for &address in wanted {
        if !done.insert(address) {
            continue;
        }
        let around = |interface: &&u32| {
            subnets.iter().any(|one| one.interface == **interface && one.contains(address))
        };
        if let Some(&interface) = interfaces.iter().find(around).or(interfaces.first()) {
            decision.add.push((address, interface));
        }
    }
    decision
}

/// Adds; false when it was there already after all, by somebody else's doing.
async fn add(handle: &Handle, address: IpAddr, interface: u32, name: &str) -> Result<bool, Error> {
    let mut request = handle.address().add(interface, address, single(address));
    let new = request.message_mut();
    new.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    if address.is_ipv6() {
        // At once usable: another balancer that holds it too must not make it fail.
        new.header.flags = AddressHeaderFlags::Nodad;
        new.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        // Never the source of this machine's own connections (RFC 6724, rule 3), as a /128 would
        // otherwise be by rule 8.
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_preferred = 0;
        lifetimes.ifa_valid = u32::MAX;
        new.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    match request.execute().await {
        Ok(()) => Ok(true),
        Err(error) if error_number(&error) == Some(Errno::EEXIST as i32) => Ok(false),
        Err(error) => Err(Error::request(format!("add {address} to {name}"))(error)),
    }
}

async fn remove(handle: &Handle, old: &Present, name: &str) -> Result<(), Error> {
    let mut message = AddressMessage::default();
    message.header.index = old.interface;
    message.header.prefix_len = old.prefix;
    message.header.family = match old.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes =
        vec![AddressAttribute::Local(old.address), AddressAttribute::Address(old.address)];
    match handle.address().del(message).execute().await {
        Ok(()) => Ok(()),
        // Gone by itself, or with its interface.
        Err(error)
            if error_number(&error).is_some_and(|number| {
                number == Errno::EADDRNOTAVAIL as i32 || number == Errno::ENODEV as i32
            }) =>
        {
            Ok(())
        }
        Err(error) => Err(Error::request(format!("remove {} from {name}", old.address))(error)),
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::present::tests::{ip, present};

    #[test]
    fn decisions() {
        let check = |there: &[&str],
                     wanted: &[&str],
                     interfaces: &[u32],
                     own: &[&str],
                     add: &[(&str, u32)],
                     remove: &[&str],
                     kept: &[&str]| {
            let ips = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<Vec<_>>();
            let there: Vec<_> = there.iter().map(|text| present(text)).collect();
            let got = decide(&there, &ips(wanted), interfaces, &ips(own));
            let want = Decision {
                add: add.iter().map(|(address, interface)| (ip(address), *interface)).collect(),
                remove: remove.iter().map(|text| present(text)).collect(),
                kept: ips(kept),
            };
            assert_eq!(got, want, "there {there:?}, wanted {wanted:?}");
        };
        let base = &["10.0.0.1/24 2", "10.1.0.1/24 3", "2001:db8::1/64 3"];
        let [a, b, c] = *base;
        // To the interface of its subnet, else to the first; each once.
        check(base, &["10.0.0.9"], &[2, 3], &[], &[("10.0.0.9", 2)], &[], &[]);
        check(base, &["10.1.0.9"], &[2, 3], &[], &[("10.1.0.9", 3)], &[], &[]);
        check(base, &["2001:db8::9"], &[2, 3], &[], &[("2001:db8::9", 3)], &[], &[]);
        check(base, &["2001:db9::9"], &[2, 3], &[], &[("2001:db9::9", 2)], &[], &[]);
        check(base, &["10.1.0.9", "10.1.0.9"], &[2], &[], &[("10.1.0.9", 2)], &[], &[]);
        // Somebody else's stays, and is not ours to take off later; single ones too.
        check(base, &["10.0.0.1"], &[2], &[], &[], &[], &[]);
        check(base, &[], &[2], &["10.0.0.1"], &[], &[], &[]);
        check(&["10.0.0.9/32 2"], &["10.0.0.9"], &[2], &[], &[], &[], &[]);
        check(&["10.0.0.9/32 2"], &[], &[2], &[], &[], &[], &[]);
        // Ours stays while wanted, and goes when not, also without interfaces.
        let (nine, six) = ("10.0.0.9/32 2!", "2001:db8::9/128 3!");
        check(&[a, nine], &["10.0.0.9"], &[2], &[], &[], &[], &["10.0.0.9"]);
        check(&[a, nine], &["10.0.0.8"], &[2], &[], &[("10.0.0.8", 2)], &[nine], &[]);
        check(&[a, b, c, nine, six], &[], &[], &[], &[], &[nine, six], &[]);
        // The list of the last run stands in for the mark, for single addresses only.
        let old = "10.0.0.9/32 2";
        check(&[a, old], &["10.0.0.9"], &[2], &["10.0.0.9"], &[], &[], &["10.0.0.9"]);
        check(&[a, old], &[], &[2], &["10.0.0.9"], &[], &[old], &[]);
        // Its interface is no longer attached: it moves.
        check(&[a, b, nine], &["10.0.0.9"], &[3], &[], &[("10.0.0.9", 3)], &[nine], &[]);
    }
}
