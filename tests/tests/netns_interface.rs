//! Interfaces that go and come back, and an agent that starts while another one dies.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lb_userspace::api::wire::Status;
use nix::sys::signal::Signal;
use tests::{
    agent::{PATIENCE, all_ready},
    clients::{Answers, curl_all, placed},
    site::{Site, usual},
    topology::Family,
    wait,
};

const CLIENTS: u8 = 6;

fn vip(site: &Site) -> SocketAddr {
    SocketAddr::new(site.lab.vip(Family::V4), 80)
}

fn clients(site: &Site) -> Vec<IpAddr> {
    (0..CLIENTS).map(|index| site.lab.client(Family::V4, index)).collect()
}

fn ask_all(site: &Site) -> Vec<(IpAddr, Answers)> {
    curl_all(&site.lab.clients, &clients(site), vip(site), 3)
}

fn mode<'a>(status: &'a Status, interface: &str) -> &'a str {
    let found = status.interfaces.iter().find(|one| one.name == interface);
    found.map_or("not shown", |one| one.mode.as_str())
}

/// Words of `ip address show` on an interface of the balancer.
fn addresses(site: &Site, interface: &str) -> BTreeSet<String> {
    let text = site.lab.balancer.ip(&format!("-brief address show dev {interface}"));
    text.split_whitespace().map(str::to_owned).collect()
}

/// What of an interface of the balancer no other ever has.
fn index(site: &Site, interface: &str) -> String {
    let link = site.lab.balancer.ip(&format!("-o link show dev {interface}"));
    link.split(':').next().expect("an index").to_owned()
}

/// An interface is deleted, which the agent may notice, and made anew.
fn replace(site: &Site, interface: &str, noticed: bool) {
    let before = (index(site, interface), site.agent().id());
    site.lab.balancer.ip(&format!("link del {interface}"));
    if noticed {
        site.holdfast.until(&format!("{interface} is missed"), |status| {
            mode(status, interface) == "not there"
        });
    }
    site.lab.bring_back(interface, CLIENTS);
    assert_ne!(index(site, interface), before.0);
    wait::until("it has the program again", PATIENCE, || {
        let link = site.lab.balancer.ip(&format!("-details link show dev {interface}"));
        link.contains("prog/xdp").then_some(())
    });
    site.holdfast.until("every backend is in service", |status| {
        mode(status, interface) == "native" && all_ready(status)
    });
    assert_eq!(site.agent().id(), before.1, "by the same agent");
}

#[test]
fn the_clients_interface_goes_and_comes_back() {
    let site = usual(CLIENTS, 3);
    let before = placed(&ask_all(&site), 3);
    let listener = format!("{}/32", vip(&site).ip());
    assert!(addresses(&site, "eth0").contains(&listener));
    // More than once: what the first time left behind must not be in the way.
    for noticed in [true, false] {
        replace(&site, "eth0", noticed);
        wait::until("the listener's address is back", PATIENCE, || {
            addresses(&site, "eth0").contains(&listener).then_some(())
        });
        // Nobody lost its backend by it.
        assert_eq!(placed(&ask_all(&site), 3), before);
    }
    // What was put there is known as the agent's own: it goes with it.
    drop(site.agent);
    let detached = site.holdfast.try_with_config("detach");
    assert!(detached.status.success(), "{detached:?}");
    let left = site.lab.balancer.ip("-brief address show");
    assert!(!left.contains(&listener), "{left}");
}

#[test]
fn the_backends_interface_goes_and_comes_back() {
    let mut site = usual(CLIENTS, 3);
    let _before = placed(&ask_all(&site), 3);
    replace(&site, "eth1", true);
    let _after = placed(&ask_all(&site), 3);
    // Without an agent to see it; the next one finds a link that is pinned for the old one.
    site.agent.take().expect("an agent").kill();
    site.lab.balancer.ip("link del eth1");
    site.lab.bring_back("eth1", CLIENTS);
    site.agent = Some(site.holdfast.start_ready());
    let _after = placed(&ask_all(&site), 3);
}

#[test]
fn an_address_that_somebody_took_off_is_put_back() {
    let site = usual(1, 1);
    let listener = format!("{}/32", vip(&site).ip());
    site.lab.balancer.ip(&format!("addr del {listener} dev eth0"));
    wait::until("the listener's address is back", PATIENCE, || {
        addresses(&site, "eth0").contains(&listener).then_some(())
    });
}

#[test]
fn an_agent_that_starts_while_another_dies_takes_over() {
    let mut site = usual(CLIENTS, 3);
    let before = placed(&ask_all(&site), 3);
    for _ in 0..5 {
        let dying = site.agent.take().expect("an agent");
        let next = site.holdfast.start_only();
        dying.signal(Signal::SIGKILL);
        site.agent = Some(next);
        drop(dying);
        site.holdfast.until("every backend is in service", all_ready);
    }
    assert_eq!(placed(&ask_all(&site), 3), before);
}
