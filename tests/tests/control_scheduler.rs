//! Schedulers and slow start: what stands in the maps, and when it changes.

use std::time::Duration;

use lb_common::layout::{Running, TcpState};
use lb_userspace::{
    config::{Config, OnDown, Scheduler},
    control::facts::Intent,
};
use tests::control::{SECOND, Scenario, config, listener, pool};

const WEB: [&str; 3] = ["web-1 10.0.0.11:80", "web-2 10.0.0.12:80*2", "web-3 10.0.0.13:80"];

fn web(scheduler: Scheduler, slow_start: u64) -> Config {
    let mut pool = pool("web", OnDown::Reset, &WEB);
    pool.scheduler = scheduler;
    pool.slow_start = Duration::from_secs(slow_start);
    config(vec![pool], vec![listener("web", "203.0.113.10:80", 0, 60)])
}

fn first_slots(scenario: &mut Scenario, count: usize) -> Vec<u16> {
    let maps = scenario.maps();
    maps.tables[&maps.pools[&1].table][..count].to_vec()
}

fn held(scenario: &mut Scenario, id: u16) -> usize {
    let maps = scenario.maps();
    maps.tables[&maps.pools[&1].table].iter().filter(|slot| **slot == id).count()
}

fn running(scenario: &mut Scenario) -> Vec<(u32, u32, u32)> {
    let rows = scenario.maps().running.iter();
    rows.map(|(id, Running { flows, weight })| (*id, *flows, *weight)).collect()
}

#[test]
fn tables_of_turns() {
    let mut scenario = Scenario::start(web(Scheduler::RoundRobin, 0));
    assert_eq!(first_slots(&mut scenario, 8), [2, 1, 2, 3, 2, 1, 2, 3]);
    assert_eq!(scenario.maps().pools[&1].scheduler, 1);
    assert_eq!(running(&mut scenario), []);
    // Only the word of the pool's row and the table change with the scheduler.
    scenario.log();
    scenario.reload(web(Scheduler::Maglev, 0));
    assert_eq!(scenario.log(), ["write_table 2", "set_pool 1"]);
    assert_eq!(scenario.maps().pools[&1].scheduler, 0);
    scenario.reload(web(Scheduler::RoundRobin, 0));
    assert_eq!(scenario.log(), ["set_pool 1"], "the table was there still");
    scenario.intent("web-2", Intent::Drain);
    assert_eq!(first_slots(&mut scenario, 4), [1, 3, 1, 3]);
}

#[test]
fn flows_are_counted_where_the_scheduler_asks() {
    let mut scenario = Scenario::start(web(Scheduler::LeastConnections, 0));
    assert_eq!(running(&mut scenario), [(1, 0, 1), (2, 0, 2), (3, 0, 1)]);
    for last in 1..=5 {
        scenario.flow(&format!("192.0.2.{last}"), "web-3", TcpState::Established);
    }
    // What packets have added up meanwhile gives way to what the sweep counts.
    scenario.maps().running.get_mut(&1).expect("a row").flows = 77;
    scenario.sweep();
    assert_eq!(running(&mut scenario), [(1, 0, 1), (2, 0, 2), (3, 5, 1)]);

    // Another weight, and draining and back, keep the count; another life does not.
    let mut next = web(Scheduler::LeastConnections, 0);
    next.pools[0].backends[2].weight = 4;
    scenario.log();
    scenario.reload(next);
    assert_eq!(scenario.log()[0], "set_running 3", "before the table that draws by it");
    assert_eq!(running(&mut scenario)[2], (3, 5, 4));
    scenario.intent("web-3", Intent::Drain);
    scenario.intent("web-3", Intent::Ready);
    assert_eq!(running(&mut scenario)[2], (3, 5, 4));
    scenario.health("web-3", false);
    scenario.health("web-3", true);
    assert_eq!(running(&mut scenario)[2], (3, 0, 4), "its flows were reset");
    scenario.log();
    assert_eq!(scenario.apply(), lb_userspace::control::reconcile::Applied::default());
}

#[test]
fn counts_outlive_the_agent() {
    let mut scenario = Scenario::start(web(Scheduler::LeastConnections, 0));
    scenario.maps().running.get_mut(&2).expect("a row").flows = 9;
    let mut scenario = scenario.restart(web(Scheduler::LeastConnections, 0));
    scenario.log();
    scenario.all_well();
    scenario.apply();
    assert_eq!(scenario.log(), [""; 0], "nothing to write");
    assert_eq!(running(&mut scenario)[1], (2, 9, 2));
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin, Scheduler::LeastConnections] {
        let mut scenario = Scenario::start(web(scheduler, 30));
        assert_eq!(scenario.agent.next_step(), None, "all are new alike: nobody is slow");
        let whole = held(&mut scenario, 3);
        assert!(whole.abs_diff(251 / 4) < 3, "{whole}");

        scenario.health("web-3", false);
        assert_eq!(held(&mut scenario, 3), 0);
        scenario.pass(10);
        scenario.health("web-3", true);
        assert_eq!(scenario.agent.next_step(), Some(Duration::from_secs(3)));
        let mut before = 0;
        for step in 1..=10_u64 {
            // Its weight is `step` against 10 and 20.
            let fair = 251 * step / (30 + step);
            let now = held(&mut scenario, 3);
            assert!((now as u64).abs_diff(fair) < 3, "{scheduler:?}, step {step}: {now}");
            assert!(now > before, "{scheduler:?}, step {step}: {now}");
            before = now;
            scenario.maps().now_ns += 3 * SECOND - 1;
            scenario.log();
            scenario.apply();
            assert_eq!(scenario.log(), [""; 0], "not yet");
            scenario.maps().now_ns += 1;
            scenario.apply();
        }
        assert_eq!(held(&mut scenario, 3), whole);
        assert_eq!(scenario.agent.next_step(), None);
        scenario.expect_of(
            "backend web-3",
            "backend web-3=3 10.0.0.13:80 pool web=1 ready generation=2 since=2 interface=2 sources=1",
        );
    }
}

#[test]
fn slow_start_is_for_who_comes_to_others() {
    let mut scenario = Scenario::start(web(Scheduler::Maglev, 30));
    // All go and come back: the first has everything, as has one that comes while it is slow.
    for name in ["web-1", "web-2", "web-3"] {
        scenario.health(name, false);
    }
    scenario.health("web-1", true);
    assert_eq!((held(&mut scenario, 1), scenario.agent.next_step()), (251, None));
    scenario.health("web-2", true);
    assert!(held(&mut scenario, 2) < 60, "{}", held(&mut scenario, 2));
    // Another agent takes over in the middle: it does not know, and all have their weight.
    let mut scenario = scenario.restart(web(Scheduler::Maglev, 30));
    scenario.all_well();
    assert!(held(&mut scenario, 2) > 150, "{}", held(&mut scenario, 2));
    // One that is new in the file is slow too; without the setting nobody is.
    let mut next = web(Scheduler::Maglev, 30);
    next.pools[0].backends.push(tests::control::backend("web-4 10.0.0.14:80"));
    scenario.reload(next.clone());
    assert!((1..10).contains(&held(&mut scenario, 4)), "{}", held(&mut scenario, 4));
    next.pools[0].slow_start = Duration::ZERO;
    scenario.reload(next);
    assert!(held(&mut scenario, 4) > 40, "{}", held(&mut scenario, 4));
    assert_eq!(scenario.agent.next_step(), None);
}
