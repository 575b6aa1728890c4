//! From route, interfaces and neighbour to the fact of how a backend is reached. Pure.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    layout::{Hop, NAT_SOURCES},
    tunnel::SMALLEST_MTU,
};

use super::{links::Links, routes::Route};
use crate::{
    config::{Backend, Forward, Pool},
    control::facts::Reach,
};

/// A backend whose way is to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The backend's name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Where packets to it come from.
    pub sender: Sender,
}

/// Whose address packets to a backend come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The client's (`dsr`).
    Client,
    /// One of these (`nat`), or when there are none the one that the route prefers; and replies
    /// have to come in by an attached interface.
    Nat(Vec<IpAddr>),
    /// In the outer header the one that the route prefers (`tunnel`), unless one is configured.
    Tunnel {
        /// One is.
        configured: bool,
    },
}

/// The targets of a configuration's pools.
#[must_use]
pub fn targets(pools: &[Pool]) -> Vec<Target> {
    let sender = |pool: &Pool| match pool.forward {
        Forward::Nat => Sender::Nat(pool.nat_sources.clone()),
        Forward::Dsr => Sender::Client,
        Forward::Tunnel(tunnel) => Sender::Tunnel { configured: tunnel.source.is_some() },
    };
    let target = |pool: &Pool, backend: &Backend| Target {
        name: backend.name.clone(),
        address: backend.address,
        sender: sender(pool),
    };
    pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| target(pool, backend)))
        .collect()
}

/// How `target` is reached by `route`. `attached`: names of the interfaces that the program is on;
/// `mac`: the next hop's link-layer address as last known.
#[must_use]
pub fn reach(
    target: &Target,
    route: &Route,
    links: &Links,
    attached: &[String],
    mac: Option<[u8; 6]>,
) -> Reach {
    match known(target, route, links, attached, mac) {
        Ok((hop, nat_sources, mtu)) => Reach::Known { hop, nat_sources, mtu },
        Err(reason) => Reach::Pending(reason),
    }
}

fn known(
    target: &Target,
    route: &Route,
    links: &Links,
    attached: &[String],
    mac: Option<[u8; 6]>,
) -> Result<(Hop, Vec<Address>, u32), String> {
    let (interface, next, source, mtu) = match route {
        Route::Way { interface, next, source, mtu } => (*interface, *next, *source, *mtu),
        Route::None(reason) => return Err(reason.clone()),
    };
    let mut hop = way_out(interface, links)?;
    if let Some(link) = links.get(&interface).filter(|link| !link.runs) {
        return Err(format!("{}, by which its route leaves, is down", link.name));
    }
    let lower = links.get(&hop.interface).map_or("", |link| link.name.as_str());
    let preferred = || match source {
        Some(source) => Ok(vec![Address::from(source)]),
        None => Err(format!("{lower} has no address to send from")),
    };
    let nat_sources = match &target.sender {
        Sender::Client | Sender::Tunnel { configured: true } => Vec::new(),
        Sender::Tunnel { configured: false } => preferred()?,
        Sender::Nat(_) if !attached.iter().any(|name| name == lower) => {
            return Err(format!(
                "its replies would come in by {lower}, which is not in agent.interfaces"
            ));
        }
        Sender::Nat(configured) if configured.is_empty() => preferred()?,
        Sender::Nat(configured) => {
            configured.iter().copied().map(Address::from).take(NAT_SOURCES).collect()
        }
    };
    let top = links.get(&interface).map_or(0, |link| link.mtu);
    let mtu = mtu.filter(|mtu| *mtu > 0).map_or(top, |mtu| mtu.min(top));
    if matches!(target.sender, Sender::Tunnel { .. }) && mtu < u32::from(SMALLEST_MTU) {
        return Err(format!(
            "its route takes packets of {mtu} bytes, and a tunnel needs {SMALLEST_MTU}"
        ));
    }
    let Some(to) = mac else {
        let name = links.get(&interface).map_or("", |link| link.name.as_str());
        let router = if next == target.address { "" } else { "the router " };
        let protocol = if next.is_ipv4() { "ARP" } else { "neighbour discovery" };
        return Err(format!("waiting for {router}{next} to answer {protocol} on {name}"));
    };
    hop.to = to;
    Ok((hop, nat_sources, mtu))
}

/// The hop through `interface`, still without destination: VLANs taken down to the interface that
/// carries them.
fn way_out(interface: u32, links: &Links) -> Result<Hop, String> {
    let no_such = || format!("its route leaves through interface {interface}, which is gone");
    let top = links.get(&interface).ok_or_else(no_such)?;
    let from = top.mac.ok_or_else(|| {
        format!("its route leaves through {}, which has no link-layer address", top.name)
    })?;
    let mut tags = Vec::new();
    let (mut index, mut link) = (interface, top);
    while let Some(vlan) = link.vlan {
        // The tag nearest to the payload is met first; outer ones go before it.
        tags.insert(0, [vlan.protocol.to_be(), vlan.id.to_be()]);
        if tags.len() > 2 {
            return Err(format!(
                "its route leaves through {}, a VLAN inside more than two others",
                top.name
            ));
        }
        index = vlan.lower;
        link = links.get(&index).ok_or_else(no_such)?;
    }
    let mut hop = Hop { interface: index, from, ..Hop::default() };
    for (place, tag) in hop.vlan_be.iter_mut().zip(&tags) {
        *place = *tag;
        hop.vlans += 1;
    }
    Ok(hop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::links::{Link, Vlan};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn links() -> Links {
        let link = |name: &str, last: u8, vlan: Option<(u32, u16, u16)>| Link {
            name: name.into(),
            mac: (last > 0).then_some([2, 0, 0, 0, 0, last]),
            vlan: vlan.map(|(lower, protocol, id)| Vlan { lower, protocol, id }),
            mtu: 1500,
            runs: true,
        };
        Links::from([
            (1, link("lo", 0, None)),
            (2, link("eth0", 2, None)),
            (3, link("eth0.100", 3, Some((2, 0x8100, 100)))),
            (4, link("eth0.200", 4, Some((2, 0x88a8, 200)))),
            (5, link("eth0.200.7", 5, Some((4, 0x8100, 7)))),
            (6, link("deep", 6, Some((5, 0x8100, 8)))),
            (7, link("eth1", 7, None)),
            (8, link("orphan", 8, Some((99, 0x8100, 8)))),
            (9, Link { runs: false, ..link("eth2", 9, None) }),
        ])
    }

    fn way(interface: u32, next: &str, source: Option<&str>) -> Route {
        Route::Way { interface, next: ip(next), source: source.map(ip), mtu: None }
    }

    fn target(nat_sources: Option<&[&str]>) -> Target {
        Target {
            name: "web-1".into(),
            address: ip("10.0.0.2"),
            sender: match nat_sources {
                Some(list) => Sender::Nat(list.iter().map(|text| ip(text)).collect()),
                None => Sender::Client,
            },
        }
    }

    fn hop(interface: u32, from: u8, tags: &[(u16, u16)]) -> Hop {
        let mut hop = Hop { interface, to: MAC, from: [2, 0, 0, 0, 0, from], ..Hop::default() };
        for (n, (protocol, id)) in tags.iter().enumerate() {
            hop.vlan_be[n] = [protocol.to_be(), id.to_be()];
            hop.vlans += 1;
        }
        hop
    }

    #[test]
    fn hops() {
        let check = |interface: u32, want: Hop| {
            let got =
                reach(&target(None), &way(interface, "10.0.0.2", None), &links(), &[], Some(MAC));
            assert_eq!(got, Reach::Known { hop: want, nat_sources: Vec::new(), mtu: 1500 });
        };
        check(2, hop(2, 2, &[]));
        check(3, hop(2, 3, &[(0x8100, 100)]));
        check(4, hop(2, 4, &[(0x88a8, 200)]));
        check(5, hop(2, 5, &[(0x88a8, 200), (0x8100, 7)]));
    }

    #[test]
    fn sources() {
        let check = |configured: &[&str], preferred: Option<&str>, want: &[&str]| {
            let got = reach(
                &target(Some(configured)),
                &way(3, "10.0.0.2", preferred),
                &links(),
                &["eth0".into()],
                Some(MAC),
            );
            let nat_sources = want.iter().map(|text| Address::from(ip(text))).collect();
            let want = Reach::Known { hop: hop(2, 3, &[(0x8100, 100)]), nat_sources, mtu: 1500 };
            assert_eq!(got, want);
        };
        check(&[], Some("10.0.0.1"), &["10.0.0.1"]);
        check(&["10.0.0.7"], Some("10.0.0.1"), &["10.0.0.7"]);
        check(&["10.0.0.7", "10.0.0.8"], None, &["10.0.0.7", "10.0.0.8"]);
    }

    #[test]
    fn tunnels() {
        let tunnel = |configured| Target { sender: Sender::Tunnel { configured }, ..target(None) };
        let route = |source: Option<&str>, mtu| Route::Way {
            interface: 7,
            next: ip("10.0.0.254"),
            source: source.map(ip),
            mtu,
        };
        let check = |configured, route: Route, want: Result<(&[&str], u32), &str>| {
            let got = reach(&tunnel(configured), &route, &links(), &["eth0".into()], Some(MAC));
            let want = match want {
                Ok((sources, mtu)) => {
                    let nat_sources = sources.iter().map(|text| Address::from(ip(text))).collect();
                    Reach::Known { hop: hop(7, 7, &[]), nat_sources, mtu }
                }
                Err(reason) => Reach::Pending(reason.into()),
            };
            assert_eq!(got, want);
        };
        // By an interface without the program: replies go elsewhere.
        check(false, route(Some("10.0.0.1"), None), Ok((&["10.0.0.1"], 1500)));
        check(false, route(Some("10.0.0.1"), Some(1400)), Ok((&["10.0.0.1"], 1400)));
        check(false, route(Some("10.0.0.1"), Some(9000)), Ok((&["10.0.0.1"], 1500)));
        check(true, route(None, None), Ok((&[], 1500)));
        check(false, route(None, None), Err("eth1 has no address to send from"));
        let small = "its route takes packets of 1327 bytes, and a tunnel needs 1328";
        check(true, route(None, Some(1327)), Err(small));
    }

    #[test]
    fn reasons() {
        let check = |nat: Option<&[&str]>, route: Route, mac: Option<[u8; 6]>, want: &str| {
            let got = reach(&target(nat), &route, &links(), &["eth0".into()], mac);
            assert_eq!(got, Reach::Pending(want.into()));
        };
        check(None, Route::None("no".into()), Some(MAC), "no");
        check(
            None,
            way(1, "10.0.0.2", None),
            Some(MAC),
            "its route leaves through lo, which has no link-layer address",
        );
        check(
            None,
            way(6, "10.0.0.2", None),
            Some(MAC),
            "its route leaves through deep, a VLAN inside more than two others",
        );
        check(
            None,
            way(42, "10.0.0.2", None),
            Some(MAC),
            "its route leaves through interface 42, which is gone",
        );
        check(
            None,
            way(8, "10.0.0.2", None),
            Some(MAC),
            "its route leaves through interface 8, which is gone",
        );
        check(
            Some(&["10.0.0.1"]),
            way(7, "10.0.0.2", None),
            Some(MAC),
            "its replies would come in by eth1, which is not in agent.interfaces",
        );
        check(Some(&[]), way(2, "10.0.0.2", None), Some(MAC), "eth0 has no address to send from");
        check(
            None,
            way(9, "10.0.0.2", None),
            Some(MAC),
            "eth2, by which its route leaves, is down",
        );
        check(None, way(2, "10.0.0.2", None), None, "waiting for 10.0.0.2 to answer ARP on eth0");
        check(
            None,
            way(3, "10.0.0.254", None),
            None,
            "waiting for the router 10.0.0.254 to answer ARP on eth0.100",
        );
        check(
            None,
            way(2, "fe80::1", None),
            None,
            "waiting for the router fe80::1 to answer neighbour discovery on eth0",
        );
    }
}
