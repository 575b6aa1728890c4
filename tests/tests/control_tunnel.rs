//! Tunnels: from the file and what is known of the way to the backends' records.

use lb_common::layout::Hop;
use lb_userspace::{
    config::{Config, Forward, OnDown, Prefix, Tunnel, TunnelKind},
    control::facts::Reach,
};
use tests::control::{Scenario, config, ip, listener, pool};

const PLAIN: Tunnel = Tunnel { kind: TunnelKind::IpIp, source: None, mtu: None };
const GUE: Tunnel = Tunnel { kind: TunnelKind::Gue { port: 6080 }, ..PLAIN };

fn far(forward: Forward) -> Config {
    let mut pool = pool("far", OnDown::Reset, &["far-1 10.0.0.11:80"]);
    pool.forward = forward;
    config(vec![pool], vec![listener("far", "203.0.113.10:80", 0, 60)])
}

fn prefix(text: &str, length: u8) -> Prefix {
    Prefix { address: text.parse().expect("an address"), length }
}

fn known(sources: &[&str], mtu: u32) -> Reach {
    let hop = Hop { interface: 2, to: [2; 6], from: [4; 6], ..Hop::default() };
    Reach::Known { hop, nat_sources: sources.iter().map(|source| ip(source)).collect(), mtu }
}

const LIFE: &str = "backend far-1=1 10.0.0.11:80 pool far=1 ready generation=1 since=1";

#[test]
fn what_the_file_says_and_what_the_way_says() {
    let check = |tunnel: Tunnel, reach: Reach, want: &str| {
        let mut scenario = Scenario::start(far(Forward::Tunnel(tunnel)));
        scenario.reached("far-1", reach);
        scenario.apply();
        scenario.expect_of("backend", &format!("{LIFE} interface=2 {want}"));
        scenario.expect_of("pool", "pool far=1 tunnel table=1 far-1=1:251");
        // The outer source is no address that clients are refused for.
        scenario.expect_of("own", "own 203.0.113.10");
    };
    let plain = || known(&["10.0.0.254"], 1500);
    check(PLAIN, plain(), "ipip from 10.0.0.254/32 mtu=1500");
    check(GUE, known(&["10.0.0.254"], 9000), "gue:6080 from 10.0.0.254/32 mtu=9000");
    check(GUE, known(&["10.0.0.254"], 70_000), "gue:6080 from 10.0.0.254/32 mtu=65535");
    let source = Some(prefix("10.255.0.0", 16));
    check(Tunnel { source, ..PLAIN }, known(&[], 1500), "ipip from 10.255.0.0/16 mtu=1500");
    check(Tunnel { mtu: Some(1400), ..PLAIN }, plain(), "ipip from 10.0.0.254/32 mtu=1400");
    check(Tunnel { mtu: Some(9000), ..PLAIN }, plain(), "ipip from 10.0.0.254/32 mtu=1500");
}

#[test]
fn ipv4_clients_of_ipv6_backends() {
    let mut config =
        far(Forward::Tunnel(Tunnel { source: Some(prefix("fd00:ff::", 64)), ..PLAIN }));
    config.pools[0].backends[0].address = "fd00::11".parse().expect("an address");
    let mut scenario = Scenario::start(config);
    scenario.expect_of(
        "backend",
        "backend far-1=1 [fd00::11]:80 pool far=1 ready generation=1 since=1 interface=2 \
         ipip from fd00:ff::/64 mtu=1500",
    );
}

/// Flows go on when only the tunnel changes, also while the new way is not found yet.
#[test]
fn another_tunnel_is_no_other_backend() {
    let mut scenario = Scenario::start(far(Forward::Tunnel(PLAIN)));
    scenario.agent.configure(far(Forward::Tunnel(GUE))).expect("taken on");
    scenario
        .expect_of("backend", &format!("{LIFE} interface=2 gue:6080 from 10.0.0.254/32 mtu=1500"));
    scenario.reached("far-1", Reach::Pending("silent".into()));
    scenario.apply();
    scenario
        .expect_of("backend", &format!("{LIFE} interface=2 gue:6080 from 10.0.0.254/32 mtu=1500"));
    scenario.agent.configure(far(Forward::Tunnel(PLAIN))).expect("taken on");
    scenario.expect_of("backend", &format!("{LIFE} interface=2 ipip from 10.0.0.254/32 mtu=1500"));
}

/// As with any change of the mode: flows placed in one cannot go on in the other.
#[test]
fn another_mode_is_another_backend() {
    for (before, after) in [
        (Forward::Nat, Forward::Tunnel(PLAIN)),
        (Forward::Dsr, Forward::Tunnel(PLAIN)),
        (Forward::Tunnel(PLAIN), Forward::Dsr),
        (Forward::Tunnel(GUE), Forward::Nat),
    ] {
        let mut scenario = Scenario::start(far(before));
        scenario.reload(far(after));
        let way = match after {
            // `dsr` asks for no source, but the scenario finds one.
            Forward::Nat | Forward::Dsr => " sources=1",
            Forward::Tunnel(_) => " ipip from 10.0.0.254/32 mtu=1500",
        };
        scenario.expect_of(
            "backend",
            &format!(
                "backend far-1=1 10.0.0.11:80 pool far=2 ready generation=2 since=2 interface=2{way}"
            ),
        );
    }
}

/// A packet that went without its tunnel would go astray.
#[test]
fn no_clients_before_the_tunnel_is_laid() {
    let mut scenario = Scenario::start(far(Forward::Tunnel(PLAIN)));
    for reach in [known(&[], 1500), known(&["10.0.0.254"], 1327)] {
        scenario.reached("far-1", reach);
        scenario.apply();
        scenario.expect_of("backend", LIFE);
        scenario.expect_of("pool", "pool far=1 tunnel table=0");
        scenario.reached("far-1", known(&["10.0.0.254"], 1328));
        scenario.apply();
        scenario
            .expect_of("backend", &format!("{LIFE} interface=2 ipip from 10.0.0.254/32 mtu=1328"));
    }
}
