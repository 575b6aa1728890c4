//! Facts across reloads: what was found out counts for the backend it was found out about, and for
//! no other that has its name.

use std::time::Duration;

use lb_common::layout::Hop;
use lb_userspace::{
    config::{Config, OnDown, Probe},
    control::facts::{Health, Intent, Reach},
    sessions::list::{Filter, PageCursor},
};
use tests::control::{
    Scenario, backend, config, health_report, ip, listener, pool, reach, reach_report,
};

/// `web-1`, and `web-2` at that place.
fn web(second: &str) -> Config {
    let backends = ["web-1 10.0.0.11:80", &format!("web-2 {second}")];
    let pool = pool("web", OnDown::Reset, &backends);
    config(vec![pool], vec![listener("web", "203.0.113.10:80", 0, 60)])
}

fn old() -> Config {
    web("10.0.0.12:80")
}

fn down() -> Health {
    Health::Down("refused".to_owned())
}

/// A way of which one can tell that it was taken.
fn other_way() -> Reach {
    let hop = Hop { interface: 9, to: [9; 6], from: [4; 6], ..Hop::default() };
    Reach::Known { hop, nat_sources: vec![ip("10.0.0.253")], mtu: 1500 }
}

/// The same with a change to the pool.
fn changed(mut config: Config, change: impl Fn(&mut lb_userspace::config::Pool)) -> Config {
    change(&mut config.pools[0]);
    config
}

fn probed(config: Config, change: impl Fn(&mut lb_userspace::config::Health)) -> Config {
    changed(config, |pool| change(pool.health.as_mut().expect("probed")))
}

#[test]
fn a_late_report_is_not_taken_for_the_next_backend_of_that_name() {
    // What was queued before the reload: is it about the new one? Health, then next hop.
    let check = |next: Config, health: bool, way: bool| {
        let mut scenario = Scenario::start(old());
        scenario.agent.configure(next.clone()).expect("taken on");
        let before = (scenario.dump(), scenario.log());
        let verdict = health_report(&old(), "web-2", Health::Up);
        assert_eq!(scenario.agent.set_health(verdict), health, "{next:?}");
        let found = reach_report(&old(), "web-2", other_way());
        assert_eq!(scenario.agent.set_reach(found), way, "{next:?}");
        scenario.apply();
        if !health && !way {
            assert_eq!((scenario.dump(), scenario.log()), (before.0, vec![]), "{next:?}");
        }
        // What is about it is taken.
        scenario.all_well();
        scenario.apply();
        let life = scenario.life("web-2");
        let record = scenario.maps().backends[&life.id()];
        assert_eq!((record.state, record.hop.interface), (1, 2), "{next:?}");
    };
    check(old(), true, true);
    check(web("10.0.0.12:80*7"), true, true);
    check(web("10.0.0.13:80"), false, false);
    check(web("10.0.0.12:81"), false, true);
    check(web("10.0.0.13:81"), false, false);
    check(probed(old(), |health| health.interval = Duration::from_secs(9)), true, true);
    check(probed(old(), |health| health.port = Some(8080)), false, true);
    let http = |health: &mut lb_userspace::config::Health| {
        health.probe = Probe::Http { path: "/".to_owned(), host: None, expect: (200, 399) };
    };
    check(probed(old(), http), false, true);
    check(changed(old(), |pool| pool.health = None), false, true);
}

#[test]
fn reports_about_nobody_are_dropped() {
    let mut scenario = Scenario::start(old());
    let without = changed(old(), |pool| drop(pool.backends.pop()));
    scenario.agent.configure(without).expect("taken on");
    scenario.log();
    assert!(!scenario.agent.set_health(health_report(&old(), "web-2", down())));
    assert!(!scenario.agent.set_reach(reach_report(&old(), "web-2", other_way())));
    scenario.apply();
    assert_eq!(scenario.log(), [""; 0]);
    let facts = scenario.agent.facts();
    assert!(!facts.health.contains_key("web-2") && !facts.reach.contains_key("web-2"));
}

/// A health check that goes on does not report its verdict again: it has to be kept.
#[test]
fn a_verdict_outlives_changes_that_do_not_touch_its_probe() {
    // Its probe goes to a port of its own, so another port of the backend is no other subject.
    let apart = |config| probed(config, |health| health.port = Some(9000));
    let check = |next: Config, generation: u32| {
        let mut scenario = Scenario::start(apart(old()));
        scenario.agent.configure(next.clone()).expect("taken on");
        let facts = scenario.agent.facts();
        assert_eq!(facts.health.get("web-2"), Some(&Health::Up), "{next:?}");
        let life = scenario.life("web-2");
        let record = scenario.maps().backends[&life.id()];
        assert_eq!((record.state, record.generation), (1, generation), "{next:?}");
        // Nor is it forgotten while the operator has the backend down.
        scenario.intent("web-2", Intent::Down);
        scenario.agent.configure(apart(old())).expect("taken on");
        scenario.intent("web-2", Intent::Ready);
        let record = scenario.maps().backends[&life.id()];
        assert_eq!(record.state, 1, "{next:?}");
    };
    let pace = |health: &mut lb_userspace::config::Health| {
        health.interval = Duration::from_secs(9);
        health.timeout = Duration::from_secs(3);
        (health.rise, health.fall) = (7, 8);
    };
    check(apart(old()), 1);
    check(probed(apart(old()), pace), 1);
    check(apart(web("10.0.0.12:80*5")), 1);
    // Another port is another life, of a backend that is known to be in order.
    check(apart(web("10.0.0.12:81")), 2);

    // A bad verdict stays as well.
    let mut scenario = Scenario::start(apart(old()));
    scenario.health("web-2", false);
    scenario.agent.configure(probed(apart(web("10.0.0.12:81")), pace)).expect("taken on");
    assert_eq!(scenario.agent.facts().health.get("web-2"), Some(&down()));
}

fn sessions(scenario: &mut Scenario) -> Vec<String> {
    let from = PageCursor::default();
    let page = scenario.agent.sessions(&from, &Filter::default(), 100).expect("read");
    page.sessions.iter().map(|one| format!("{} {}", one.client, one.backend)).collect()
}

#[test]
fn a_backend_that_was_removed_and_comes_back_begins_anew() {
    for on_down in [OnDown::Reset, OnDown::Keep] {
        let with = || changed(old(), |pool| pool.on_down = on_down);
        let without = || changed(with(), |pool| drop(pool.backends.pop()));
        let mut scenario = Scenario::start(with());
        let one = scenario.pin(1, "198.51.100.1", "web-1");
        let _two = scenario.pin(1, "198.51.100.2", "web-2");
        let before = scenario.life("web-2");
        assert_eq!(sessions(&mut scenario), ["198.51.100.1 web-1", "198.51.100.2 web-2"]);
        scenario.agent.set_intent("web-2", Intent::Drain).expect("known");
        scenario.apply();

        scenario.agent.configure(without()).expect("taken on");
        assert_eq!(sessions(&mut scenario), ["198.51.100.1 web-1"]);
        scenario.agent.configure(with()).expect("taken on");
        // Nothing is known of it: neither what was found nor what was wanted.
        let facts = scenario.agent.facts();
        assert_eq!(facts.health.get("web-2"), None);
        assert_eq!(facts.reach.get("web-2"), None);
        assert_eq!(facts.intent.get("web-2"), None);
        let status = scenario.agent.status().expect("read");
        let shown = status.backends.iter().find(|one| one.name == "web-2").expect("shown");
        assert_eq!(shown.health, Some(Health::Unknown));
        assert!(matches!(shown.reach, Reach::Pending(_)), "{:?}", shown.reach);
        assert!(!shown.takes_clients);
        let only_one = "pool web=1 nat table=2 web-1=1:251";
        scenario.expect_of("pool", only_one);

        // Healthy, it still waits for its way; which may be another one.
        scenario.found("web-2", Health::Up);
        scenario.apply();
        if on_down == OnDown::Reset {
            scenario.expect_of("pool", only_one);
        }
        scenario.reached("web-2", other_way());
        scenario.apply();
        let now = scenario.life("web-2");
        assert!(now.generation() > before.generation(), "{now:?} after {before:?}");
        let record = scenario.maps().backends[&now.id()];
        assert_eq!((record.state, record.hop.interface), (1, 9));
        scenario.expect_of("pool", "pool web=1 nat table=1 web-1=1:126 web-2=2:125");

        // The pin of its former life is void, and goes; it gets a new one.
        assert_eq!(sessions(&mut scenario), ["198.51.100.1 web-1"]);
        scenario.pass(6);
        scenario.sweep();
        assert_eq!(scenario.maps().pins.keys().copied().collect::<Vec<_>>(), [one]);
        let _two = scenario.pin(1, "198.51.100.2", "web-2");
        assert_eq!(sessions(&mut scenario), ["198.51.100.1 web-1", "198.51.100.2 web-2"]);
    }
}

#[test]
fn a_number_that_is_given_on_brings_no_pins_along() {
    let mut scenario = Scenario::start(old());
    let _pin = scenario.pin(1, "198.51.100.2", "web-2");
    let number = scenario.life("web-2").id();
    let next = changed(old(), |pool| pool.backends[1] = backend("web-9 10.0.0.12:80"));
    scenario.agent.configure(changed(old(), |pool| drop(pool.backends.pop()))).expect("taken on");
    scenario.reload(next);
    assert_eq!(scenario.life("web-9").id(), number, "the free number is used again");
    assert_eq!(sessions(&mut scenario), [""; 0]);
    scenario.agent.configure(old()).expect("taken on");
    scenario.reached("web-2", reach());
    assert_eq!(scenario.agent.facts().health.get("web-2"), None);
}

/// What could not be written is wanted nevertheless, and holds in the end, however often and
/// wherever it failed.
#[test]
fn an_intent_that_could_not_be_written_is_made_up_for() {
    for intent in [Intent::Drain, Intent::Evacuate, Intent::Down] {
        let mut whole = Scenario::start(old());
        whole.intent("web-2", intent);
        let expected = whole.dump();
        let mut failures = 0;
        for after in 0.. {
            let mut scenario = Scenario::start(old());
            scenario.agent.set_intent("web-2", intent).expect("known");
            let mut failed = 0;
            for _ in 0..3 {
                scenario.maps().fails_after.set(Some(after));
                failed += usize::from(scenario.agent.apply().is_err());
            }
            scenario.maps().fails_after.set(None);
            scenario.apply();
            assert_eq!(without_tables(&scenario.dump()), without_tables(&expected), "{after}");
            scenario.log();
            scenario.apply();
            assert_eq!(scenario.log(), [""; 0], "after {after} changes");
            if failed == 0 {
                break;
            }
            failures += failed;
        }
        assert!(failures >= 3, "{intent}: {failures}");
    }
}

/// A dump without the numbers of tables, which a second attempt may choose otherwise.
fn without_tables(dump: &str) -> String {
    let words = dump.split(' ').filter(|word| !word.starts_with("table="));
    words.collect::<Vec<_>>().join(" ")
}
