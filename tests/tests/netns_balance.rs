//! Clients stay with one backend: TCP and UDP, IPv4 and IPv6, `nat` and `dsr`, out by the interface
//! a packet came in by and by another, in the driver and on socket buffers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use tests::{
    agent::Holdfast,
    clients::{ask_udp, curl_all, placed, udp},
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 20;
const BACKENDS: u8 = 3;
const PINS: &str = "persistence = { timeout = \"5m\" }";

fn clients(lab: &Lab, family: Family) -> Vec<IpAddr> {
    (0..CLIENTS).map(|index| lab.client(family, index)).collect()
}

fn check_spread(placed: &BTreeMap<IpAddr, String>) {
    assert_eq!(placed.len(), usize::from(CLIENTS));
    let used: BTreeSet<_> = placed.values().collect();
    assert_eq!(used.len(), usize::from(BACKENDS), "not every backend has clients: {placed:?}");
}

/// Whom the agent says that clients are pinned to.
fn pinned(holdfast: &Holdfast, scope: &str) -> BTreeMap<IpAddr, String> {
    let sessions = holdfast.sessions().into_iter().filter(|session| session.scope == scope);
    sessions.map(|session| (session.client.address(), session.backend)).collect()
}

fn check(shape: Shape, family: Family, pool: &str, agent: &str, mode: &str) {
    let lab = Lab::new(shape, CLIENTS, BACKENDS);
    let dsr = pool.contains("dsr");
    if dsr {
        lab.backends_own_vips();
    }
    let web = SocketAddr::new(lab.vip(family), 80);
    let dns = SocketAddr::new(lab.vip(family), 5353);
    let configuration = Configuration::new(&lab, agent)
        .pool(&lab, family, pool)
        .listener("web", "tcp", web, PINS)
        .listener("dns", "udp", dns, PINS);
    let echo_at = |index| {
        if dsr { dns } else { SocketAddr::new(lab.backend(family, index), PORT) }
    };
    let echoes: Vec<Echo> = (0..lab.backends.len())
        .map(|index| Echo::start(&lab.backends[index], &backend_name(index), &[echo_at(index)]))
        .collect();
    let site = Site::start(lab, &configuration);
    let (lab, holdfast) = (&site.lab, &site.holdfast);
    for interface in holdfast.status().interfaces {
        assert_eq!(interface.mode, mode, "{}", interface.name);
    }

    let clients = clients(lab, family);
    let over_tcp = placed(&curl_all(&lab.clients, &clients, web, 5), 5);
    check_spread(&over_tcp);
    assert_eq!(pinned(holdfast, "web"), over_tcp);

    let mut over_udp = BTreeMap::new();
    for client in &clients {
        let names: BTreeSet<String> = (0..5)
            .flat_map(|_| {
                let socket = udp(&lab.clients, *client, dns);
                [ask_udp(&socket, "one"), ask_udp(&socket, "two")]
            })
            .map(|answer| {
                answer.unwrap_or_else(|e| panic!("{client}: {e}{}", holdfast.last_words()))
            })
            .collect();
        assert_eq!(names.len(), 1, "{client} was answered by {names:?}");
        over_udp.extend(names.into_iter().map(|name| (*client, name)));
    }
    check_spread(&over_udp);
    assert_eq!(pinned(holdfast, "dns"), over_udp);

    let status = holdfast.status();
    let dropped = &status.events.dropped;
    assert!(dropped.is_empty(), "{dropped:?}");
    for listener in &status.listeners {
        // About as many as there were packets: either side's TCP may send two in one.
        let answers = if dsr { 0 } else { 2 * listener.packets_in };
        assert!(listener.packets_in >= 200, "{}: {}", listener.name, listener.packets_in);
        assert!(listener.packets_out <= answers, "{}: {status:#?}", listener.name);
        assert_eq!(listener.packets_out == 0, dsr, "{}", listener.name);
    }
    drop(echoes);
}

#[test]
fn nat_by_another_interface_ipv4() {
    check(Shape::Routed, Family::V4, "", "", "native");
}

#[test]
fn nat_by_another_interface_ipv6() {
    check(Shape::Routed, Family::V6, "", "", "native");
}

#[test]
fn nat_by_the_same_interface_ipv4() {
    check(Shape::OneArm, Family::V4, "", "", "native");
}

#[test]
fn nat_by_the_same_interface_ipv6() {
    check(Shape::OneArm, Family::V6, "", "", "native");
}

#[test]
fn dsr_ipv4() {
    check(Shape::OneArm, Family::V4, "forward = \"dsr\"", "", "native");
}

#[test]
fn dsr_ipv6() {
    check(Shape::OneArm, Family::V6, "forward = \"dsr\"", "", "native");
}

#[test]
fn on_socket_buffers_ipv4() {
    check(Shape::Routed, Family::V4, "", "xdp_mode = \"generic\"", "generic");
}

#[test]
fn on_socket_buffers_ipv6_by_the_same_interface() {
    check(Shape::OneArm, Family::V6, "", "xdp_mode = \"generic\"", "generic");
}
