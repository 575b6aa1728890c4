//! What the data path is told of listeners' addresses, for packets that have no ports: pings and
//! fragments.

use std::net::IpAddr;

use lb_common::layout::{OWN_ECHO, OWN_TCP, OWN_UDP, Own};
use lb_userspace::config::{Config, Forward, Listener, OnDown, Protocol};
use tests::control::{Scenario, config, listener, pool};

const VIP: &str = "203.0.113.10";

/// Listeners at these ports, the first two pools in `dsr`, the third in `nat`.
fn site(listeners: Vec<Listener>) -> Config {
    let mut pools = ["one", "two", "three"]
        .map(|name| pool(name, OnDown::Reset, &[&format!("{name}-1 10.0.0.11:80")]))
        .to_vec();
    pools[0].forward = Forward::Dsr;
    pools[1].forward = Forward::Dsr;
    config(pools, listeners)
}

fn at(port: u16, pool: usize, timeout: u64) -> Listener {
    listener(&format!("l{port}"), &format!("{VIP}:{port}"), pool, timeout)
}

fn udp(listener: Listener) -> Listener {
    Listener { name: format!("{}u", listener.name), protocol: Protocol::Udp, ..listener }
}

fn of_group(mut listener: Listener) -> Listener {
    listener.persistence.as_mut().expect("pins").group = Some("site".to_owned());
    listener
}

fn own(scenario: &mut Scenario, address: &str) -> Option<Own> {
    let address: IpAddr = address.parse().expect("an address");
    scenario.maps().own.get(&address.into()).copied()
}

#[track_caller]
fn check(listeners: Vec<Listener>, want: Own) {
    let mut scenario = Scenario::start(site(listeners));
    assert_eq!(own(&mut scenario, VIP), Some(want));
}

const TCP: Own = Own { tcp_port_be: 0, udp_port_be: 0, flags: OWN_ECHO | OWN_TCP, pad: 0 };

#[test]
fn a_client_has_one_backend_by_one_scope() {
    let to = |port: u16| Own { tcp_port_be: port.to_be(), ..TCP };
    check(vec![at(80, 0, 60)], to(80));
    check(vec![of_group(at(443, 0, 60)), of_group(at(80, 0, 60))], to(80));
    // Of each protocol by itself.
    let both = Own { udp_port_be: 53_u16.to_be(), flags: TCP.flags | OWN_UDP, ..to(80) };
    check(vec![at(80, 0, 60), udp(at(53, 1, 60))], both);
}

#[test]
fn a_client_may_have_several() {
    // Two scopes; none; one of them without.
    check(vec![at(80, 0, 60), at(443, 0, 60)], TCP);
    check(vec![at(80, 0, 60), at(443, 1, 60)], TCP);
    check(vec![at(80, 0, 0)], TCP);
    check(vec![at(80, 0, 60), at(443, 0, 0)], TCP);
    // Translated: the first fragment alone says what by.
    check(vec![at(80, 2, 60)], TCP);
}

#[test]
fn it_follows_the_listeners() {
    let mut scenario = Scenario::start(site(vec![at(80, 0, 60)]));
    scenario.reload(site(vec![at(80, 0, 60), at(443, 1, 60)]));
    assert_eq!(own(&mut scenario, VIP), Some(TCP));
    scenario.reload(site(vec![at(443, 1, 60)]));
    assert_eq!(own(&mut scenario, VIP), Some(Own { tcp_port_be: 443_u16.to_be(), ..TCP }));
    let mut silent = site(vec![at(443, 1, 60)]);
    silent.agent.echo = false;
    scenario.reload(silent);
    let flags = own(&mut scenario, VIP).expect("there").flags;
    assert_eq!(flags, OWN_TCP, "pings are the kernel's");
}

/// An address that packets to backends come from has listeners or none.
#[test]
fn nat_sources() {
    let mut scenario = Scenario::start(site(vec![at(80, 2, 60)]));
    assert_eq!(own(&mut scenario, "10.0.0.254"), Some(Own::default()));
    let here = listener("here", "10.0.0.254:80", 2, 60);
    scenario.reload(site(vec![at(80, 2, 60), here]));
    assert_eq!(own(&mut scenario, "10.0.0.254"), Some(TCP));
}
