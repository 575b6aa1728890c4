//! Backends in and out of service: drain, evacuate, down, health, reach, removal (P9).

use lb_common::layout::TcpState;
use lb_userspace::{
    config::{Config, OnDown},
    control::facts::{Health, Intent, Reach},
};
use tests::control::{Scenario, config, listener, pool};

fn web(on_down: OnDown) -> Config {
    let backends = ["web-1 10.0.0.11:80", "web-2 10.0.0.12:80"];
    config(vec![pool("web", on_down, &backends)], vec![listener("web", "203.0.113.10:80", 0, 60)])
}

fn without_the_second(on_down: OnDown) -> Config {
    let mut config = web(on_down);
    config.pools[0].backends.pop();
    config
}

#[test]
fn operator_intent() {
    let mut scenario = Scenario::start(web(OnDown::Reset));
    let mut check = |intent, record: &str, pool: &str| {
        scenario.intent("web-2", intent);
        scenario.expect_of("backend web-2", record);
        scenario.expect_of("pool", pool);
    };
    let only_one = |table| format!("pool web=1 nat table={table} web-1=1:251");
    check(
        Intent::Drain,
        "backend web-2=2 10.0.0.12:80 pool web=1 draining generation=1 since=1 interface=2 sources=1",
        &only_one(2),
    );
    check(
        Intent::Evacuate,
        "backend web-2=2 10.0.0.12:80 pool web=1 evacuating generation=1 since=1 interface=2 sources=1",
        &only_one(2),
    );
    check(
        Intent::Ready,
        "backend web-2=2 10.0.0.12:80 pool web=1 ready generation=1 since=1 interface=2 sources=1",
        "pool web=1 nat table=1 web-1=1:126 web-2=2:125",
    );
    check(
        Intent::Down,
        "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1 interface=2 sources=1",
        &only_one(2),
    );
    check(
        Intent::Ready,
        "backend web-2=2 10.0.0.12:80 pool web=1 ready generation=2 since=2 interface=2 sources=1",
        "pool web=1 nat table=1 web-1=1:126 web-2=2:125",
    );
}

#[test]
fn a_flap_begins_a_new_life() {
    for (on_down, end) in [
        (OnDown::Reset, "since=2 interface=2 sources=1"),
        (OnDown::Keep, "since=1 interface=2 sources=1 keep"),
    ] {
        let mut scenario = Scenario::start(web(on_down));
        scenario.log();
        scenario.health("web-2", false);
        let log = ["write_table 2", "set_pool 1", "set_backend 2"];
        assert_eq!(scenario.log(), log, "out of the table, then down");
        scenario.health("web-2", true);
        let log = ["set_backend 2", "set_pool 1"];
        assert_eq!(scenario.log(), log, "up, then into the table, which is still there");
        let record = format!("backend web-2=2 10.0.0.12:80 pool web=1 ready generation=2 {end}");
        scenario.expect_of("backend web-2", &record);
    }
}

#[test]
fn nobody_takes_clients() {
    let mut scenario = Scenario::start(web(OnDown::Reset));
    scenario.health("web-1", false);
    scenario.intent("web-2", Intent::Drain);
    scenario.expect_of("pool", "pool web=1 nat table=0");
    scenario.health("web-1", true);
    scenario.expect_of("pool", "pool web=1 nat table=1 web-1=1:251");
}

#[test]
fn a_backend_waits_for_probe_and_neighbour() {
    let mut scenario = Scenario::start(without_the_second(OnDown::Reset));
    scenario.agent.configure(web(OnDown::Reset)).expect("taken on");
    let only_one = "pool web=1 nat table=1 web-1=1:251";
    scenario.expect_of("pool", only_one);
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1",
    );
    scenario.health("web-2", true);
    scenario.expect_of("pool", only_one);
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1",
    );
    scenario.all_well();
    scenario.apply();
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 ready generation=2 since=2 interface=2 sources=1",
    );
    scenario.expect_of("pool", "pool web=1 nat table=2 web-1=1:126 web-2=2:125");
    scenario.log();
    // A neighbour that is silent for a moment is still where it was.
    scenario.reached("web-2", Reach::Pending("neighbour".to_owned()));
    scenario.apply();
    assert_eq!(scenario.log(), [""; 0]);
}

fn lost() -> Reach {
    Reach::Lost("no route".to_owned())
}

#[test]
fn who_cannot_be_reached_makes_room_for_the_others() {
    let mut config = web(OnDown::Reset);
    config.pools[0].health = None;
    let mut scenario = Scenario::start(config);
    scenario.reached("web-2", lost());
    scenario.apply();
    scenario.expect_of("pool", "pool web=1 nat table=2 web-1=1:251");
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1 sources=1",
    );
    let status = scenario.agent.status().expect("read");
    assert!(!status.backends[1].takes_clients);
    // What is not known again yet does not bring it back.
    scenario.reached("web-2", Reach::Pending("neighbour".to_owned()));
    scenario.apply();
    scenario.expect_of("pool", "pool web=1 nat table=2 web-1=1:251");
    scenario.all_well();
    scenario.apply();
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 ready generation=2 since=2 interface=2 sources=1",
    );
    scenario.expect_of("pool", "pool web=1 nat table=1 web-1=1:126 web-2=2:125");
}

#[test]
fn who_cannot_be_reached_keeps_its_clients_where_nobody_else_serves() {
    let mut scenario = Scenario::start(web(OnDown::Reset));
    let ready = scenario.maps().backends.clone();
    scenario.reached("web-1", lost());
    scenario.reached("web-2", lost());
    scenario.apply();
    scenario.expect_of("pool", "pool web=1 nat table=0");
    for (id, record) in &scenario.maps().backends {
        assert_eq!((record.state, record.generation, record.hop.interface), (1, 1, 0), "{id}");
    }
    // The whole network comes back: as if nothing had been, whoever answers first.
    for name in ["web-2", "web-1"] {
        scenario.reached(name, Reach::Pending("neighbour".to_owned()));
    }
    scenario.apply();
    scenario.all_well();
    scenario.apply();
    assert_eq!(scenario.maps().backends, ready);
}

#[test]
fn an_unprobed_pool_is_healthy() {
    let mut config = web(OnDown::Reset);
    config.pools[0].health = None;
    let mut scenario = Scenario::start(config);
    scenario.found("web-1", Health::Unknown);
    scenario.apply();
    scenario.expect_of("pool", "pool web=1 nat table=1 web-1=1:126 web-2=2:125");
}

#[test]
fn no_weight_no_new_clients() {
    let mut scenario = Scenario::start(web(OnDown::Reset));
    let mut next = web(OnDown::Reset);
    next.pools[0].backends[0].weight = 0;
    scenario.reload(next);
    scenario.expect_of("pool", "pool web=1 nat table=2 web-2=2:251");
    scenario.expect_of(
        "backend web-1",
        "backend web-1=1 10.0.0.11:80 pool web=1 ready generation=1 since=1 interface=2 sources=1",
    );
}

#[test]
fn a_removed_backend_that_keeps_its_flows() {
    let mut scenario = Scenario::start(web(OnDown::Keep));
    scenario.flow("198.51.100.7", "web-2", TcpState::Established);
    scenario.reload(without_the_second(OnDown::Keep));
    let serving = "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1 interface=2 sources=1 keep";
    scenario.expect_of("backend web-2", serving);
    scenario.sweep();
    scenario.expect_of("backend web-2", serving);
    let status = scenario.agent.status().expect("read");
    let leaving = status.backends.iter().find(|backend| backend.removed).expect("shown");
    assert_eq!((leaving.name.as_str(), leaving.flows), ("web-2", Some(1)));
    // Called back before its flows are over, it keeps them through its new life.
    scenario.reload(web(OnDown::Keep));
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:80 pool web=1 ready generation=2 since=1 interface=2 sources=1 keep",
    );
    scenario.reload(without_the_second(OnDown::Keep));
    scenario.pass(7440);
    scenario.sweep();
    scenario.expect_of("backend web-2", "");
    scenario.expect_of(
        "backend -",
        "backend -=2 10.0.0.12:80 pool web=1 down generation=2 since=1 interface=2 sources=1",
    );
    assert!(scenario.agent.status().expect("read").backends.iter().all(|backend| !backend.removed));
}

#[test]
fn a_removed_pool_forwards_the_flows_it_keeps() {
    let mut scenario = Scenario::start(web(OnDown::Keep));
    scenario.flow("198.51.100.7", "web-2", TcpState::Established);
    let other = || {
        let pools = vec![pool("other", OnDown::Reset, &["other-1 10.0.0.21:80"])];
        config(pools, vec![listener("web", "203.0.113.10:80", 0, 60)])
    };
    scenario.reload(other());
    scenario.expect_of(
        "pool",
        "pool web=1 nat table=0
         pool other=2 nat table=3 other-1=3:251",
    );
    // The next agent does not know the pool, but its record says that flows are kept.
    let mut scenario = scenario.restart(other());
    scenario.sweep();
    scenario.expect_of("backend web", "backend web-2=2 10.0.0.12:80 pool web=1 down generation=1 since=1 interface=2 sources=1 keep");
    scenario.pass(7440);
    scenario.sweep();
    scenario.expect_of("pool", "pool other=2 nat table=3 other-1=3:251");
}
