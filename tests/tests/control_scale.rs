//! Thousands of listeners and backends: a change of one touches no other.

use std::time::Duration;

use lb_userspace::{
    config::{Config, OnDown},
    control::reconcile::Applied,
};
use tests::control::{Scenario, config, listener, pool};

const POOLS: usize = 64;
const BACKENDS: usize = 4096;
const LISTENERS: usize = 10_000;

/// With room for exactly these.
fn thousands() -> Config {
    let each = BACKENDS / POOLS;
    let pools = (0..POOLS).map(|index| {
        let backends: Vec<String> = (index * each..(index + 1) * each)
            .map(|n| format!("web-{n} 10.0.{}.{}:8080", n / 256, n % 256))
            .collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        pool(&format!("pool-{index}"), OnDown::Reset, &backends)
    });
    let listeners = (0..LISTENERS).map(|n| {
        let address = format!("203.0.{}.{}:80", n / 256, n % 256);
        listener(&format!("site-{n}"), &address, n % POOLS, 60)
    });
    let mut config = config(pools.collect(), listeners.collect());
    config.limits.pools = 64;
    config.limits.backends = 4096;
    config.limits.listeners = 10_000;
    config.limits.maglev_slots = 1009;
    config
}

/// What a reload writes, all backends being found in order after it.
fn written(scenario: &mut Scenario, next: &Config) -> Vec<String> {
    scenario.log();
    scenario.reload(next.clone());
    scenario.log()
}

#[test]
fn a_reload_of_one_backend_touches_only_that() {
    let mut next = thousands();
    let mut scenario = Scenario::start(next.clone());
    assert_eq!(scenario.maps().vips.len(), LISTENERS);
    assert_eq!(scenario.maps().backends.len(), BACKENDS);
    assert_eq!(scenario.apply(), Applied::default());
    assert_eq!(written(&mut scenario, &next), [""; 0]);

    let last = BACKENDS / POOLS - 1;
    next.pools[POOLS - 1].backends[last].weight = 2;
    assert_eq!(written(&mut scenario, &next), ["write_table 128", "set_pool 64"]);
    next.pools[0].backends[0].address = "10.9.9.9".parse().expect("address");
    let moved = ["write_table 2", "set_pool 1", "set_backend 1", "set_backend 1"];
    let back = ["grace_period", "write_table 1", "set_pool 1"];
    assert_eq!(written(&mut scenario, &next), [&moved[..], &back].concat());
    let name = next.pools[1].backends[5].name.clone();
    scenario.health(&name, false);
    let gone = ["write_table 4", "set_pool 2", "set_backend 70"];
    assert_eq!(scenario.log(), gone);
}

#[test]
fn a_reload_of_one_listener_touches_only_that() {
    let mut next = thousands();
    let mut scenario = Scenario::start(next.clone());
    let persistence = next.listeners[LISTENERS - 1].persistence.as_mut().expect("pins");
    persistence.timeout = Duration::from_secs(30);
    assert_eq!(written(&mut scenario, &next), ["set_vip 10000"]);
    next.listeners[17].pool = 3;
    let log = ["set_meta", "set_identity 2 10001", "set_vip 18", "remove_identity 2 18"];
    assert_eq!(written(&mut scenario, &next), log);
}

#[test]
fn all_listeners_may_be_replaced_in_a_full_table() {
    let mut next = thousands();
    let mut scenario = Scenario::start(next.clone());
    for listener in &mut next.listeners {
        listener.name = format!("new-{}", listener.name);
        listener.address.set_port(81);
    }
    let vips = |log: Vec<String>| {
        let count = |verb: &str| log.iter().filter(|line| line.starts_with(verb)).count();
        [count("set_vip"), count("remove_vip"), count("write_table"), count("set_backend")]
    };
    assert_eq!(vips(written(&mut scenario, &next)), [LISTENERS, LISTENERS, 0, 0]);
    let rows: std::collections::BTreeSet<u32> =
        scenario.maps().vips.values().map(|vip| vip.listener).collect();
    assert_eq!(rows, (1..=10_000).collect());
}
