//! Listeners of layer 7 in the data path's maps: VIPs without a pool, beside those of layer 4 and in
//! their place.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    event::Event,
    layout::{ListenerCounters, OWN_ECHO, OWN_SIDECAR, OWN_TCP, Own, TcpState},
};
use lb_userspace::{
    config::{
        Config, Forward, OnDown,
        http::{HostPattern, HttpListener, HttpRule},
    },
    control::{controller::ControlError, ids::Full, reconcile::Applied},
};
use tests::control::{Scenario, config, listener, pool};

const WEB: [&str; 2] = ["web-1 10.0.0.11:8080", "web-2 10.0.0.12:8080"];
const SHOP: [&str; 1] = ["shop-1 10.0.0.21:8080"];
const VIP: &str = "203.0.113.10";

fn http(name: &str, address: &str, pool: usize) -> HttpListener {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let (host, path) = (HostPattern::Any, "/".to_owned());
    HttpListener {
        name: name.to_owned(),
        address,
        certificates: Vec::new(),
        https_redirect: None,
        accept_proxy: false,
        rules: vec![HttpRule { host, path, pool, persistence: None }],
    }
}

/// One listener of layer 4, and these.
fn site(http_listeners: Vec<HttpListener>) -> Config {
    let pools = vec![pool("web", OnDown::Reset, &WEB), pool("shop", OnDown::Reset, &SHOP)];
    Config { http_listeners, ..config(pools, vec![listener("web", "203.0.113.10:80", 0, 60)]) }
}

fn own(scenario: &mut Scenario, address: &str) -> Own {
    let address: IpAddr = address.parse().expect("an address");
    scenario.maps().own[&address.into()]
}

#[test]
fn vips_without_a_pool() {
    let both = vec![http("shop", "203.0.113.10:443", 1), http("six", "[2001:db8::10]:80", 1)];
    let mut scenario = Scenario::start(site(both));
    scenario.expect(
        "scope 1 listener web
         vip 203.0.113.10:80/tcp listener web=1 pool web=1 scope=1 timeout=60s refresh=activity mask=/32
         vip 203.0.113.10:443/tcp listener shop=2 sidecar
         vip [2001:db8::10]:80/tcp listener six=3 sidecar
         own 10.0.0.254 203.0.113.10 2001:db8::10
         pool web=1 nat table=1 web-1=1:126 web-2=2:125
         pool shop=2 nat table=3 shop-1=3:251
         backend web-1=1 10.0.0.11:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend web-2=2 10.0.0.12:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend shop-1=3 10.0.0.21:8080 pool shop=2 ready generation=1 since=1 interface=2 sources=1",
    );
    assert_eq!(scenario.apply(), Applied::default());
}

/// Pings are answered; what has no ports is not taken for layer 4's.
#[test]
fn own_addresses() {
    let mut pinned = site(vec![http("six", "[2001:db8::10]:80", 1)]);
    pinned.pools[0].forward = Forward::Dsr;
    let mut scenario = Scenario::start(pinned.clone());
    let alone = Own { flags: OWN_ECHO | OWN_SIDECAR, ..Own::default() };
    assert_eq!(own(&mut scenario, "2001:db8::10"), alone);
    let web = Own { tcp_port_be: 80_u16.to_be(), flags: OWN_ECHO | OWN_TCP, ..alone };
    assert_eq!(own(&mut scenario, VIP), web);
    // A fragment without ports may be the sidecar's, whichever of the two is first.
    for port in [8, 443] {
        let mut next = pinned.clone();
        next.http_listeners.push(http("shop", &format!("{VIP}:{port}"), 1));
        scenario.reload(next);
        let both = Own { flags: OWN_ECHO | OWN_TCP | OWN_SIDECAR, ..alone };
        assert_eq!(own(&mut scenario, VIP), both);
    }
    pinned.agent.echo = false;
    scenario.reload(pinned);
    assert_eq!(own(&mut scenario, "2001:db8::10").flags, OWN_SIDECAR);
    assert_eq!(own(&mut scenario, VIP), Own { flags: OWN_TCP, ..web });
}

/// One word in the index changes: packets meet the old listener or the new one.
#[test]
fn a_listener_becomes_the_sidecars_and_layer_4s_again() {
    let layer_4 = site(Vec::new());
    let mut layer_7 = site(vec![http("web", "203.0.113.10:80", 0)]);
    layer_7.listeners.clear();
    let mut scenario = Scenario::start(layer_4.clone());
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.flow("198.51.100.7", "web-1", TcpState::Established);
    count(&mut scenario, Event::Forwarded);

    let vips = |scenario: &mut Scenario| -> Vec<String> {
        scenario.log().into_iter().filter(|line| line.contains("_vip")).collect()
    };
    scenario.log();
    scenario.reload(layer_7.clone());
    assert_eq!(vips(&mut scenario), ["set_vip 1"]);
    scenario.expect_of("vip", "vip 203.0.113.10:80/tcp listener web=1 sidecar");
    scenario.expect_of("scope", "");
    // Of the same name: it counts on.
    count(&mut scenario, Event::PassSidecar);
    let status = scenario.agent.status().expect("gathered");
    assert_eq!(status.listeners, []);
    let [http] = status.http.as_slice() else { panic!("{status:?}") };
    assert_eq!(http.listener, layer_7.http_listeners[0]);
    let of = |event: Event| http.counters.events[event as usize];
    assert_eq!([Event::Forwarded, Event::PassSidecar].map(of), [1, 1]);

    // Its flows are there until they are idle for too long; its pins go with the next sweep.
    scenario.pass(60);
    let swept = scenario.sweep();
    assert_eq!((swept.removed.pins, swept.held.flows), (1, 1));

    scenario.log();
    scenario.reload(layer_4);
    assert_eq!(vips(&mut scenario), ["set_vip 1"]);
    scenario.expect_of(
        "vip",
        "vip 203.0.113.10:80/tcp listener web=1 pool web=1 scope=2 timeout=60s refresh=activity mask=/32",
    );
    let status = scenario.agent.status().expect("gathered");
    assert_eq!(status.http, []);
    assert_eq!(status.listeners[0].counters.events[Event::PassSidecar as usize], 1);
}

fn count(scenario: &mut Scenario, event: Event) {
    let rows = &mut scenario.maps().listener_counters;
    rows.entry(1).or_insert(ListenerCounters::ZERO).events[event as usize] += 1;
}

/// Counters are by name, also over a restart, and begin anew with another.
#[test]
fn counters_keep_to_their_names() {
    let shop = || site(vec![http("shop", "203.0.113.10:443", 1)]);
    let counted = |scenario: &mut Scenario| -> Vec<(String, u64)> {
        let status = scenario.agent.status().expect("gathered");
        let row = |one: &lb_userspace::control::status::HttpListenerStatus| {
            let events = &one.counters.events;
            (one.listener.name.clone(), events[Event::PassSidecar as usize])
        };
        status.http.iter().map(row).collect()
    };
    let mut scenario = Scenario::start(shop());
    let rows = &mut scenario.maps().listener_counters;
    let row = rows.entry(2).or_insert(ListenerCounters::ZERO);
    row.events[Event::PassSidecar as usize] = 5;
    assert_eq!(counted(&mut scenario), [("shop".to_owned(), 5)]);
    let mut scenario = scenario.restart(shop());
    assert_eq!(counted(&mut scenario), [("shop".to_owned(), 5)]);
    let mut next = shop();
    next.http_listeners.insert(0, http("new", "203.0.113.10:8080", 1));
    next.http_listeners[1].address.set_port(444);
    scenario.reload(next.clone());
    assert_eq!(counted(&mut scenario), [("new".to_owned(), 0), ("shop".to_owned(), 5)]);
    next.http_listeners.pop();
    scenario.reload(next);
    scenario.reload(shop());
    assert_eq!(counted(&mut scenario), [("shop".to_owned(), 0)]);
}

#[test]
fn they_count_among_the_listeners() {
    let at = |port: u16| http(&format!("h{port}"), &format!("{VIP}:{port}"), 1);
    let mut scenario = Scenario::start(site(vec![at(1), at(2), at(3)]));
    let before = scenario.dump();
    scenario.log();
    let error = scenario.agent.configure(site((1..=4).map(at).collect())).expect_err("no room");
    assert!(
        matches!(&error, ControlError::Full(Full { limit: "listeners", capacity: 4 })),
        "{error}"
    );
    assert_eq!(scenario.log(), [""; 0]);
    assert_eq!(scenario.dump(), before);
}
