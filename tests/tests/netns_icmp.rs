//! Path-MTU discovery through the balancer, with a router in the way that not every packet fits
//! through; and pings to listeners.

use std::net::{IpAddr, SocketAddr};

use lb_userspace::api::wire::Status;
use tests::{
    clients::transfer,
    ping::ping,
    servers::LARGE,
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

/// Less than Ethernet's 1500, enough for IPv6.
const MTU: u16 = 1_300;
const PINS: &str = "persistence = { timeout = \"5m\" }";

fn site(lab: Lab, family: Family, pool: &str, agent: &str) -> Site {
    if pool.contains("dsr") {
        lab.backends_own_vips();
    }
    let vip = SocketAddr::new(lab.vip(family), 80);
    let configuration =
        Configuration::new(&lab, agent).pool(&lab, family, pool).listener("web", "tcp", vip, PINS);
    Site::start(lab, &configuration)
}

/// How often that was counted.
fn counted(status: &Status, name: &str) -> u64 {
    let events = &status.events;
    let all = [&events.sent, &events.passed, &events.dropped, &events.noted];
    all.into_iter().flatten().find(|event| event.name == name).map_or(0, |event| event.count)
}

/// A large download by every client: packets to them do not fit, of which the backend must hear.
fn download(family: Family, pool: &str) {
    const CLIENTS: u8 = 6;
    let lab = Lab::new(Shape::OneArm, CLIENTS, 3);
    let _router = lab.router_to_clients(CLIENTS, MTU);
    let site = site(lab, family, pool, "");
    let url = format!("http://{}/large", SocketAddr::new(site.lab.vip(family), 80));
    for index in 0..CLIENTS {
        let client = site.lab.client(family, index);
        let got = transfer(&site.lab.clients, client, &url, 0, 10);
        assert_eq!(got, Some((200, LARGE, 0)), "{client}{}", site.holdfast.last_words());
    }
    let status = site.holdfast.status();
    assert!(counted(&status, "icmp_forwarded") >= 3, "{:#?}", status.events);
}

#[test]
fn a_small_hop_before_the_client_nat_ipv4() {
    download(Family::V4, "");
}

#[test]
fn a_small_hop_before_the_client_nat_ipv6() {
    download(Family::V6, "");
}

#[test]
fn a_small_hop_before_the_client_dsr_ipv4() {
    download(Family::V4, "forward = \"dsr\"");
}

#[test]
fn a_small_hop_before_the_client_dsr_ipv6() {
    download(Family::V6, "forward = \"dsr\"");
}

/// A large upload: packets to backends do not fit, of which the client must hear.
fn upload(family: Family) {
    const BODY: usize = 1 << 20;
    let lab = Lab::new(Shape::Routed, 4, 2);
    let _router = lab.router_to_backends(MTU);
    let site = site(lab, family, "", "");
    let url = format!("http://{}/sink", SocketAddr::new(site.lab.vip(family), 80));
    for index in 0..4 {
        let client = site.lab.client(family, index);
        let got = transfer(&site.lab.clients, client, &url, BODY, 10);
        let (status, _, sent) =
            got.unwrap_or_else(|| panic!("{client}: no end{}", site.holdfast.last_words()));
        assert_eq!((status, sent), (200, BODY), "{client}");
    }
    let status = site.holdfast.status();
    assert!(counted(&status, "icmp_replied") >= 1, "{:#?}", status.events);
}

#[test]
fn a_small_hop_before_the_backends_ipv4() {
    upload(Family::V4);
}

#[test]
fn a_small_hop_before_the_backends_ipv6() {
    upload(Family::V6);
}

/// The balancer's own link to clients, or to backends, takes less than the other one: who sends what
/// does not fit there must hear of it from the balancer.
fn own_link(family: Family, pool: &str, link: &str, body: usize) {
    let lab = Lab::new(Shape::Routed, 2, 2);
    lab.balancer.ip(&format!("link set {link} mtu {MTU}"));
    let site = site(lab, family, pool, "");
    let page = if body == 0 { "large" } else { "sink" };
    let url = format!("http://{}/{page}", SocketAddr::new(site.lab.vip(family), 80));
    for index in 0..2 {
        let client = site.lab.client(family, index);
        let got = transfer(&site.lab.clients, client, &url, body, 10);
        let (status, received, sent) =
            got.unwrap_or_else(|| panic!("{client}: no end{}", site.holdfast.last_words()));
        let want = if body == 0 { LARGE } else { received };
        assert_eq!((status, received, sent), (200, want, body), "{client}");
    }
    let status = site.holdfast.status();
    assert!(counted(&status, "too_big_answered") >= 1, "{:#?}", status.events);
}

#[test]
fn a_small_link_to_backends_ipv4() {
    own_link(Family::V4, "", "eth1", 1 << 20);
}

#[test]
fn a_small_link_to_backends_ipv6() {
    own_link(Family::V6, "", "eth1", 1 << 20);
}

#[test]
fn a_small_link_to_clients_ipv4() {
    own_link(Family::V4, "", "eth0", 0);
}

#[test]
fn a_small_link_to_clients_ipv6() {
    own_link(Family::V6, "", "eth0", 0);
}

fn ping_all(site: &Site, family: Family, address: IpAddr, sizes: &[usize]) {
    let client = site.lab.client(family, 0);
    for size in sizes {
        let answer = ping(&site.lab.clients, client, address, *size);
        answer.unwrap_or_else(|error| panic!("{size} bytes to {address}: {error}"));
    }
}

/// Of all sizes: those that come in fragments are answered by the kernel, whose address it is.
#[test]
fn pings_to_a_listener() {
    for (shape, family) in [(Shape::Routed, Family::V4), (Shape::OneArm, Family::V6)] {
        let site = site(Lab::new(shape, 1, 1), family, "", "");
        let vip = site.lab.vip(family);
        ping_all(&site, family, vip, &[0, 1, 56, 1_400, 4_000]);
        assert_eq!(counted(&site.holdfast.status(), "echo_answered"), 4);
    }
}

/// Not even the address need be the kernel's.
#[test]
fn pings_to_a_listener_whose_address_is_routed_here() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let site = site(lab, Family::V4, "", "manage_addresses = false");
    ping_all(&site, Family::V4, site.lab.vip(Family::V4), &[56, 1_400]);
    assert_eq!(counted(&site.holdfast.status(), "echo_answered"), 2);
}

#[test]
fn pings_left_to_the_kernel() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let site = site(lab, Family::V4, "", "echo = false");
    ping_all(&site, Family::V4, site.lab.vip(Family::V4), &[56]);
    assert_eq!(counted(&site.holdfast.status(), "echo_answered"), 0);
    assert!(counted(&site.holdfast.status(), "pass_not_tcp_udp") > 0);
}
