//! Datagrams that are longer than a packet, there and back.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use tests::{
    clients::{ask_udp, udp},
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 8;

/// Datagrams of all these lengths, from several clients; each client stays with one backend.
fn check(shape: Shape, family: Family, pool: &str, persistence: &str) {
    let lab = Lab::new(shape, CLIENTS, 3);
    let dsr = pool.contains("dsr");
    if dsr {
        lab.backends_own_vips();
    }
    let dns = SocketAddr::new(lab.vip(family), 5353);
    let configuration = Configuration::new(&lab, "").pool(&lab, family, pool).listener(
        "dns",
        "udp",
        dns,
        persistence,
    );
    let echoes: Vec<Echo> = (0..lab.backends.len())
        .map(|index| {
            let at = if dsr { dns } else { SocketAddr::new(lab.backend(family, index), PORT) };
            Echo::start(&lab.backends[index], &backend_name(index), &[at])
        })
        .collect();
    let site = Site::start(lab, &configuration);
    let clients: Vec<IpAddr> = (0..CLIENTS).map(|index| site.lab.client(family, index)).collect();
    let mut used = BTreeSet::new();
    for client in clients {
        let socket = udp(&site.lab.clients, client, dns);
        let names: BTreeSet<String> = [100, 1_400, 1_500, 8_000, 20_000, 60_000]
            .map(|length| {
                let text: String = ('a'..='z').cycle().take(length).collect();
                ask_udp(&socket, &text).unwrap_or_else(|error| {
                    let dropped = site.holdfast.status().events;
                    panic!("{client}, {length} bytes: {error} {dropped:#?}")
                })
            })
            .into();
        assert_eq!(names.len(), 1, "{client} was answered by {names:?}");
        used.extend(names);
    }
    assert!(used.len() > 1, "all clients by {used:?}");
    let dropped = site.holdfast.status().events.dropped;
    assert!(dropped.is_empty(), "{dropped:?}");
    drop(echoes);
}

const PINS: &str = "persistence = { timeout = \"5m\" }";

#[test]
fn nat_ipv4() {
    check(Shape::Routed, Family::V4, "", PINS);
}

#[test]
fn nat_ipv6() {
    check(Shape::Routed, Family::V6, "", PINS);
}

#[test]
fn nat_by_the_same_interface_without_persistence() {
    check(Shape::OneArm, Family::V4, "", "");
}

#[test]
fn dsr_ipv4() {
    check(Shape::OneArm, Family::V4, "forward = \"dsr\"", PINS);
}

#[test]
fn dsr_ipv6() {
    check(Shape::OneArm, Family::V6, "forward = \"dsr\"", PINS);
}

#[test]
fn dsr_without_persistence() {
    check(Shape::OneArm, Family::V4, "forward = \"dsr\"", "");
}
