//! Start, reload and restart: what stands in the maps, and how little is written.

use std::time::Duration;

use lb_common::maps::LAYOUT_VERSION;
use lb_userspace::{
    config::{Config, Forward, Limits, OnDown, Persistence},
    control::{controller::ControlError, facts::Intent, ids::Full, reconcile::Applied},
};
use tests::control::{Scenario, backend, config, grouped, listener, pool};

const WEB: [&str; 3] = ["web-1 10.0.0.11:8080", "web-2 10.0.0.12:8080", "web-3 10.0.0.13:8080"];
const API: [&str; 2] = ["api-1 10.0.0.21:9000", "api-2 10.0.0.22:9000"];

fn web() -> Config {
    let pools = vec![pool("web", OnDown::Reset, &WEB)];
    config(pools, vec![listener("web", "203.0.113.10:80", 0, 60)])
}

fn two_pools() -> Config {
    let pools = vec![pool("web", OnDown::Reset, &WEB), pool("api", OnDown::Keep, &API)];
    let listeners = vec![
        listener("web", "203.0.113.10:80", 0, 60),
        listener("api", "[2001:db8::10]:9000", 1, 0),
    ];
    config(pools, listeners)
}

#[test]
fn start_on_empty_maps() {
    let mut scenario = Scenario::start(two_pools());
    scenario.expect(
        "scope 1 listener web
         vip 203.0.113.10:80/tcp listener web=1 pool web=1 scope=1 timeout=60s refresh=activity mask=/32
         vip [2001:db8::10]:9000/tcp listener api=2 pool api=2
         own 10.0.0.254 203.0.113.10 2001:db8::10
         pool web=1 nat table=1 web-1=1:84 web-2=2:84 web-3=3:83
         pool api=2 nat table=3 api-1=4:126 api-2=5:125
         backend web-1=1 10.0.0.11:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend web-2=2 10.0.0.12:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend web-3=3 10.0.0.13:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend api-1=4 10.0.0.21:9000 pool api=2 ready generation=1 since=1 interface=2 sources=1 keep
         backend api-2=5 10.0.0.22:9000 pool api=2 ready generation=1 since=1 interface=2 sources=1 keep",
    );
    assert!(!scenario.log().contains(&"grace_period".to_owned()), "nobody reads new maps");
    assert_eq!(scenario.apply(), Applied::default());
    assert_eq!(scenario.log(), [""; 0], "nothing to do, nothing written");
}

#[test]
fn a_reload_writes_only_what_it_changes() {
    let mut scenario = Scenario::start(two_pools());
    let mut next = two_pools();
    let mut reload = |next: &Config| {
        scenario.log();
        scenario.reload(next.clone());
        scenario.log()
    };
    assert_eq!(reload(&next), [""; 0]);
    next.pools[0].backends[1].weight = 5;
    assert_eq!(reload(&next), ["write_table 2", "set_pool 1"]);
    next.pools[0].backends[1].weight = 6;
    assert_eq!(reload(&next), ["grace_period", "write_table 1", "set_pool 1"]);
    pins(&mut next).timeout = Duration::from_secs(5);
    assert_eq!(reload(&next), ["set_vip 1"]);
    next.agent.flow_timeouts.udp = Duration::from_secs(5);
    assert_eq!(reload(&next), ["set_settings"]);
    next.flood.network_v4 = 16;
    assert_eq!(reload(&next), ["set_flood"]);
    next.pools[1].backends[0].port = Some(9001);
    let log = [
        // At its new port it has not been probed yet.
        "write_table 4",
        "set_pool 2",
        "set_backend 4",
        "set_backend 4",
        "grace_period",
        "write_table 3",
        "set_pool 2",
    ];
    assert_eq!(reload(&next), log);
}

#[test]
fn backends_come_go_and_move() {
    let mut scenario = Scenario::start(two_pools());
    let mut next = two_pools();
    let moved = next.pools[0].backends.remove(0);
    next.pools[1].backends.push(moved);
    next.pools[0].backends.push(backend("web-4 10.0.0.14:8080*2"));
    let removed = next.pools[0].backends.remove(0);
    scenario.reload(next.clone());
    scenario.expect_of(
        "pool",
        "pool web=1 nat table=1 web-3=3:84 web-4=6:167
         pool api=2 nat table=4 web-1=1:83 api-1=4:84 api-2=5:84",
    );
    scenario.expect_of(
        "backend web",
        "backend web-1=1 10.0.0.11:8080 pool api=2 ready generation=2 since=1 interface=2 sources=1 keep
         backend web-3=3 10.0.0.13:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
         backend web-4=6 10.0.0.14:8080 pool web=1 ready generation=2 since=2 interface=2 sources=1",
    );
    // The removed one's number is free; its record stays, so that its flows get their reset.
    scenario.expect_of(
        "backend -",
        "backend -=2 10.0.0.12:8080 pool web=1 down generation=1 since=1 interface=2 sources=1",
    );
    next.pools[0].backends.push(removed);
    scenario.reload(next);
    scenario.expect_of(
        "backend web-2",
        "backend web-2=2 10.0.0.12:8080 pool web=1 ready generation=3 since=3 interface=2 sources=1",
    );
}

fn pins(config: &mut Config) -> &mut Persistence {
    config.listeners[0].persistence.as_mut().expect("pins")
}

#[test]
fn scopes_follow_pool_and_prefix() {
    let mut scenario = Scenario::start(two_pools());
    let mut check = |change: &dyn Fn(&mut Config), scopes: &str| {
        let mut next = two_pools();
        change(&mut next);
        scenario.reload(next);
        scenario.expect_of("scope", scopes);
    };
    check(&|next| pins(next).timeout = Duration::from_secs(7), "scope 1 listener web");
    check(&|next| next.listeners[0].address.set_port(81), "scope 1 listener web");
    check(&|next| pins(next).prefix_v6 = 64, "scope 1 listener web");
    check(&|next| pins(next).prefix_v4 = 24, "scope 2 listener web");
    check(&|next| next.listeners[0].pool = 1, "scope 3 listener web");
    check(&|next| next.listeners[0].pool = 1, "scope 3 listener web");
    check(&|next| next.listeners[0].persistence = None, "");
    check(&|_| (), "scope 4 listener web");
}

#[test]
fn a_group_shares_one_scope() {
    let both = |group: bool| {
        let listeners = [
            listener("http", "203.0.113.10:80", 0, 60),
            listener("https", "203.0.113.10:443", 0, 60),
        ];
        let listeners =
            listeners.map(|listener| if group { grouped(listener, "site") } else { listener });
        config(vec![pool("web", OnDown::Reset, &WEB)], listeners.into())
    };
    let mut scenario = Scenario::start(both(false));
    scenario.expect_of("scope", "scope 1 listener http\nscope 2 listener https");
    scenario.reload(both(true));
    scenario.expect_of("scope", "scope 3 group site");
    scenario.expect_of(
        "vip",
        "vip 203.0.113.10:80/tcp listener http=1 pool web=1 scope=3 timeout=60s refresh=activity mask=/32
         vip 203.0.113.10:443/tcp listener https=2 pool web=1 scope=3 timeout=60s refresh=activity mask=/32",
    );
    scenario.reload(both(true));
    scenario.expect_of("scope", "scope 3 group site");
}

#[test]
fn another_forwarding_mode_is_another_row() {
    let mut scenario = Scenario::start(web());
    let mut next = web();
    next.pools[0].forward = Forward::Dsr;
    scenario.reload(next);
    scenario.expect(
        "scope 2 listener web
         vip 203.0.113.10:80/tcp listener web=1 pool web=2 scope=2 timeout=60s refresh=activity mask=/32
         own 10.0.0.254 203.0.113.10
         pool web=2 dsr table=3 web-1=1:84 web-2=2:84 web-3=3:83
         backend web-1=1 10.0.0.11:8080 pool web=2 ready generation=2 since=2 interface=2 sources=1
         backend web-2=2 10.0.0.12:8080 pool web=2 ready generation=2 since=2 interface=2 sources=1
         backend web-3=3 10.0.0.13:8080 pool web=2 ready generation=2 since=2 interface=2 sources=1",
    );
}

#[test]
fn a_restart_takes_over_what_is_there() {
    let mut scenario = Scenario::start(two_pools());
    scenario.health("web-2", false);
    let before = scenario.dump();
    scenario.log();
    let mut scenario = scenario.restart(two_pools());
    assert_eq!(scenario.dump(), before);
    assert_eq!(scenario.log(), ["set_settings", "set_flood"]);
    scenario.health("web-1", true);
    scenario.health("web-2", false);
    assert_eq!(scenario.log(), [""; 0], "the first probes tell nothing new");
    // Whether the agent before had just swapped a table is not known.
    scenario.health("web-2", true);
    let log = ["set_backend 2", "grace_period", "write_table 1", "set_pool 1"];
    assert_eq!(scenario.log(), log);
}

#[test]
fn a_restart_with_another_order_keeps_the_numbers() {
    let scenario = Scenario::start(two_pools());
    let mut next = two_pools();
    next.pools.reverse();
    next.pools[1].backends.reverse();
    next.listeners.reverse();
    for listener in &mut next.listeners {
        listener.pool = 1 - listener.pool;
    }
    let mut scenario = scenario;
    scenario.log();
    let mut scenario = scenario.restart(next);
    assert_eq!(scenario.log(), ["set_settings", "set_flood"]);
}

#[test]
fn sizes_do_not_change_under_way() {
    type Change = fn(&mut Limits);
    let changes: [(&str, Change); 6] = [
        ("pins", |limits| limits.pins += 1),
        ("flows", |limits| limits.flows += 1),
        ("listeners", |limits| limits.listeners += 1),
        ("backends", |limits| limits.backends += 1),
        ("pools", |limits| limits.pools += 1),
        ("maglev_slots", |limits| limits.maglev_slots = 257),
    ];
    for (name, change) in changes {
        let mut scenario = Scenario::start(web());
        let mut next = two_pools();
        change(&mut next.limits);
        scenario.log();
        let refused = |error: ControlError| {
            let text = error.to_string();
            assert!(matches!(error, ControlError::Limit { limit, .. } if limit == name), "{text}");
            assert!(text.contains(name) && text.contains("holdfast detach"), "{text}");
        };
        refused(scenario.agent.configure(next.clone()).expect_err("another size"));
        assert_eq!(scenario.log(), [""; 0]);
        assert_eq!(scenario.agent.config(), &web());
        refused(scenario.try_restart(next).err().expect("another size"));
    }
}

/// From a VIP or a NAT source comes no client: known before the first packet, and no longer.
#[test]
fn own_addresses_follow_listeners_and_sources() {
    let mut scenario = Scenario::start(two_pools());
    scenario.log();
    let mut next = two_pools();
    next.listeners[0].address = "203.0.113.11:80".parse().expect("an address");
    scenario.reload(next);
    scenario.expect_of("own", "own 10.0.0.254 203.0.113.11 2001:db8::10");
    let log = scenario.log();
    let at = |what: &str| log.iter().position(|line| line.starts_with(what)).expect(what);
    assert!(at("set_own 203.0.113.11") < at("set_vip"), "{log:?}");
    assert!(at("remove_vip") < at("remove_own 203.0.113.10"), "{log:?}");
}

#[test]
fn another_layout_is_refused() {
    let mut scenario = Scenario::start(web());
    scenario.maps().meta.as_mut().expect("written").layout_version += 1;
    let error = scenario.try_restart(web()).err().expect("another layout");
    assert!(
        matches!(error, ControlError::Layout { found } if found == LAYOUT_VERSION + 1),
        "{error}"
    );
}

#[test]
fn what_has_no_room_changes_nothing() {
    let mut scenario = Scenario::start(two_pools());
    let before = scenario.dump();
    let mut check = |next: Config, limit: &str| {
        scenario.log();
        let error = scenario.agent.configure(next).expect_err("no room");
        assert!(
            matches!(&error, ControlError::Full(Full { limit: l, .. }) if *l == limit),
            "{error}"
        );
        assert_eq!(scenario.log(), [""; 0]);
        assert_eq!(scenario.dump(), before);
        assert_eq!(scenario.apply(), Applied::default());
    };
    let mut next = two_pools();
    // Eight fit; five are there, of which one goes and keeps its flows.
    next.pools[0].on_down = OnDown::Keep;
    next.pools[0].backends.remove(0);
    let new = ["n-1 10.0.0.31:1", "n-2 10.0.0.32:1", "n-3 10.0.0.33:1", "n-4 10.0.0.34:1"];
    next.pools[0].backends.extend(new.map(backend));
    check(next, "backends");
    let mut next = two_pools();
    next.pools.extend((0..3).map(|n| pool(&format!("p{n}"), OnDown::Reset, &[])));
    check(next, "pools");
}

/// With `reset` nothing of a backend outlives its removal.
#[test]
fn all_backends_can_be_replaced_at_once() {
    let eight = |first: u8| {
        let names: Vec<String> =
            (first..first + 8).map(|n| format!("b-{n} 10.0.0.{n}:80")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        config(
            vec![pool("web", OnDown::Reset, &names)],
            vec![listener("web", "203.0.113.10:80", 0, 60)],
        )
    };
    let mut scenario = Scenario::start(eight(1));
    scenario.reload(eight(11));
    let lives: Vec<_> = (11..19).map(|n| scenario.life(&format!("b-{n}"))).collect();
    assert_eq!(lives.iter().map(|life| life.id()).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert!(lives.iter().all(|life| life.generation() > 1), "{lives:?}");
    for life in lives {
        let record = scenario.maps().backends[&life.id()];
        assert_eq!((record.state, record.flows_since), (1, record.generation));
    }
    // The names change and the places do not: other backends nevertheless.
    let mut renamed = eight(11);
    for backend in &mut renamed.pools[0].backends {
        backend.name = format!("new-{}", backend.name);
    }
    let before = scenario.life("b-11");
    scenario.reload(renamed);
    let after = scenario.life("new-b-11");
    assert_eq!(after.id(), before.id());
    assert!(after.generation() > before.generation());
}

#[test]
fn all_listeners_can_be_replaced_at_once() {
    let four = |first: u16| {
        let names = first..first + 4;
        let listeners = names.map(|n| listener(&format!("l{n}"), &format!("192.0.2.1:{n}"), 0, 60));
        config(vec![pool("web", OnDown::Reset, &WEB)], listeners.collect())
    };
    let mut scenario = Scenario::start(four(1));
    scenario.reload(four(5));
    scenario.expect_of(
        "vip",
        "vip 192.0.2.1:5/tcp listener l5=1 pool web=1 scope=5 timeout=60s refresh=activity mask=/32
         vip 192.0.2.1:6/tcp listener l6=2 pool web=1 scope=6 timeout=60s refresh=activity mask=/32
         vip 192.0.2.1:7/tcp listener l7=3 pool web=1 scope=7 timeout=60s refresh=activity mask=/32
         vip 192.0.2.1:8/tcp listener l8=4 pool web=1 scope=8 timeout=60s refresh=activity mask=/32",
    );
}

/// The reload of [`a_failed_change_is_made_up_for`]: a bit of everything.
fn other() -> Config {
    let pools = vec![
        pool("new", OnDown::Reset, &["new-1 10.0.0.41:80"]),
        pool("web", OnDown::Reset, &["web-1 10.0.0.11:8080", "web-2 10.0.0.12:8081", API[0]]),
    ];
    let listeners =
        vec![listener("new", "203.0.113.11:80", 0, 0), listener("web", "203.0.113.10:80", 1, 30)];
    config(pools, listeners)
}

#[test]
fn a_failed_change_is_made_up_for() {
    let mut whole = Scenario::start(two_pools());
    whole.reload(other());
    let expected = whole.dump();
    let mut failures = 0;
    for after in 0.. {
        let mut scenario = Scenario::start(two_pools());
        scenario.maps().fails_after.set(Some(after));
        let first = scenario.agent.configure(other());
        scenario.all_well();
        let second = scenario.agent.apply();
        let failed = first.is_err() || second.is_err();
        scenario.maps().fails_after.set(None);
        // Once by the same agent, once by another that knows nothing of the failure.
        if after % 2 == 0 {
            scenario.apply();
        } else {
            scenario = scenario.restart(other());
            scenario.all_well();
            scenario.apply();
        }
        assert_eq!(lives(&scenario.dump()), lives(&expected), "after {after} changes");
        scenario.log();
        assert_eq!(scenario.apply(), Applied::default());
        if !failed {
            break;
        }
        failures += 1;
    }
    assert!(failures > 20, "{failures}");
}

/// A dump without the numbers that a second attempt may choose otherwise.
fn lives(dump: &str) -> String {
    let words = dump.split(' ').map(|word| match word.split_once('=') {
        Some(("generation" | "since" | "table", _)) => word.split('=').next().unwrap_or(word),
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn an_intent_for_nobody_is_refused() {
    let mut scenario = Scenario::start(web());
    let error = scenario.agent.set_intent("web-9", Intent::Drain).expect_err("unknown");
    assert_eq!(error.to_string(), "no backend is named `web-9`");
}
