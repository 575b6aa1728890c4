//! Clients and backends behind VLAN devices of the balancer's: the program is on the interfaces
//! below, and sees the tags; the agent finds from routes and devices which ones to put on.
//!
//! A layer of its own: not every kernel has VLAN devices. `netns_vlan` puts tags on by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tests::{
    clients::{curl_all, placed},
    netns::Namespace,
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 8;

/// VLAN protocols and ids, outer first.
type Tags = [(&'static str, u16)];

/// Moves an interface's addresses to a VLAN device above it; returns that one's name.
fn lift(namespace: &Namespace, interface: &str, tags: &Tags) -> String {
    let shown = namespace.ip(&format!("-brief address show dev {interface}"));
    // Name, state, and addresses with the lengths of their prefixes.
    let addresses = shown.split_whitespace().skip(2).filter(|text| !text.starts_with("fe80"));
    namespace.ip(&format!("address flush dev {interface}"));
    let mut top = interface.to_owned();
    for (protocol, id) in tags {
        let upper = format!("{top}.{id}");
        let kind = format!("type vlan protocol {protocol} id {id}");
        namespace.ip(&format!("link add link {top} name {upper} {kind}"));
        namespace.ip(&format!("link set {upper} up"));
        top = upper;
    }
    for address in addresses {
        namespace.ip(&format!("address add {address} dev {top} nodad"));
    }
    top
}

fn check(family: Family, front: &Tags, back: &Tags) {
    let lab = Lab::new(Shape::Routed, CLIENTS, 3);
    let _top = lift(&lab.balancer, "eth0", front);
    let _top = lift(&lab.balancer, "eth1", back);
    for backend in &lab.backends {
        let _top = lift(backend, "eth0", back);
    }
    let _top = lift(&lab.clients, "eth0", front);
    // The one for IPv4 went with the addresses.
    lab.clients.ip(&format!("route replace default via {}", lab.balancer_front(family)));

    let web = SocketAddr::new(lab.vip(family), 80);
    let pins = "persistence = { timeout = \"5m\" }";
    let configuration =
        Configuration::new(&lab, "").pool(&lab, family, "").listener("web", "tcp", web, pins);
    let site = Site::start(lab, &configuration);
    let clients: Vec<_> = (0..CLIENTS).map(|index| site.lab.client(family, index)).collect();
    let placed = placed(&curl_all(&site.lab.clients, &clients, web, 5), 5);
    let used: BTreeSet<_> = placed.values().collect();
    assert!(used.len() > 1, "{placed:?}");
    let sessions = site.holdfast.sessions().into_iter();
    let pinned: BTreeMap<_, _> =
        sessions.map(|session| (session.client.address(), session.backend)).collect();
    assert_eq!(pinned, placed);

    let status = site.holdfast.status();
    assert_eq!(status.events.dropped, [], "{}", site.holdfast.last_words());
    for interface in &status.interfaces {
        assert_eq!(interface.mode, "native", "{}", interface.name);
    }
    // All of each connection: the kernel has carried nothing.
    let listener = &status.listeners[0];
    let least = u64::from(CLIENTS) * 5 * 3;
    assert!(listener.packets_in >= least && listener.packets_out >= least, "{status:#?}");
}

const ONE: &Tags = &[("802.1Q", 100)];
const OTHER: &Tags = &[("802.1Q", 200)];
const TWO: &Tags = &[("802.1ad", 300), ("802.1Q", 7)];

#[test]
fn clients_behind_a_tag() {
    check(Family::V4, ONE, &[]);
}

#[test]
fn backends_behind_a_tag() {
    check(Family::V4, &[], ONE);
}

#[test]
fn one_tag_becomes_another_ipv6() {
    check(Family::V6, ONE, OTHER);
}

#[test]
fn two_tags_become_one() {
    check(Family::V4, TWO, OTHER);
}

#[test]
fn one_tag_becomes_two() {
    check(Family::V4, ONE, TWO);
}
