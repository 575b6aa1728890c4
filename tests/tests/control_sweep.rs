//! The sweeper, the list of sessions, and what is counted (P3, P7, P9, P10, P11).

use lb_common::{event::Event, layout::TcpState};
use lb_userspace::{
    config::{Config, OnDown},
    control::{controller::Progress, facts::Intent},
    sessions::{
        expiry::Counts,
        list::{Filter, PageCursor, Session},
    },
};
use tests::control::{SECOND, Scenario, config, listener, pool};

fn web(timeout: u64) -> Config {
    let backends = ["web-1 10.0.0.11:80", "web-2 10.0.0.12:80"];
    let pools = vec![pool("web", OnDown::Reset, &backends)];
    config(pools, vec![listener("web", "203.0.113.10:80", 0, timeout)])
}

fn pins(removed: u64) -> Counts {
    Counts { pins: removed, ..Counts::default() }
}

/// One step of the clock: a nanosecond.
fn shift(scenario: &mut Scenario, seconds: u64, nanoseconds: i64) {
    scenario.pass(seconds);
    let maps = scenario.maps();
    maps.now_ns = maps.now_ns.saturating_add_signed(nanoseconds);
}

#[test]
fn p3_a_pin_goes_at_its_timeout() {
    for (step, removed) in [(-1, 0), (0, 1), (1, 1)] {
        let mut scenario = Scenario::start(web(60));
        scenario.pin(1, "198.51.100.7", "web-1");
        shift(&mut scenario, 60, step);
        assert_eq!(scenario.sweep().removed, pins(removed), "{step}");
        assert_eq!(scenario.maps().pins.is_empty(), removed == 1, "{step}");
    }
}

#[test]
fn p4_a_pin_goes_at_its_max_lifetime() {
    for (step, removed) in [(-1, 0), (0, 1)] {
        let mut config = web(60);
        config.listeners[0].persistence.as_mut().expect("pins").max_lifetime =
            Some(std::time::Duration::from_secs(100));
        let mut scenario = Scenario::start(config);
        let key = scenario.pin(1, "198.51.100.7", "web-1");
        scenario.pass(90);
        let now = scenario.maps().now_ns;
        scenario.maps().pins.get_mut(&key).expect("there").last_seen_ns = now;
        shift(&mut scenario, 10, step);
        assert_eq!(scenario.sweep().removed, pins(removed), "{step}");
    }
}

#[test]
fn p7_what_was_seen_lately_stays() {
    // Out of time after a second, but not reclaimed before five have passed.
    for (step, removed) in [(-1, 0), (0, 0), (1, 1)] {
        let mut scenario = Scenario::start(web(1));
        scenario.pin(1, "198.51.100.7", "web-1");
        shift(&mut scenario, 5, step);
        assert_eq!(scenario.sweep().removed, pins(removed), "{step}");
    }
}

#[test]
fn p7_the_mark_stands_while_anything_is_deleted() {
    let mut scenario = Scenario::start(web(60));
    for client in 1..=9 {
        scenario.pin(1, &format!("198.51.100.{client}"), "web-1");
    }
    scenario.pass(60);
    scenario.maps().batch = 4;
    scenario.log();
    assert_eq!(scenario.agent.sweep_step().expect("a step"), Progress::More);
    assert_eq!(scenario.log(), ["set_reclaim", "grace_period"], "before anything is read");
    let before = scenario.maps().now_ns - 5 * SECOND;
    let mut steps = 0;
    loop {
        assert_eq!(scenario.maps().reclaim.before_ns, before);
        match scenario.agent.sweep_step().expect("a step") {
            Progress::More => steps += 1,
            Progress::Done(outcome) => {
                assert_eq!(outcome.removed, pins(9));
                break;
            }
        }
    }
    assert_eq!(steps, 5, "three batches of pins and their end, that of flows; replies end it");
    assert_eq!(scenario.maps().reclaim.before_ns, 0);
    assert_eq!(scenario.maps().reclaim.pins_removed, 9);
}

#[test]
fn p7_a_pin_that_runs_out_during_the_sweep_stays() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    shift(&mut scenario, 60, -1);
    assert_eq!(scenario.agent.sweep_step().expect("begun"), Progress::More);
    // A packet that came before may be refreshing it just now.
    scenario.pass(1);
    assert_eq!(scenario.sweep().removed, Counts::default());
    assert_eq!(scenario.sweep().removed, pins(1));
}

#[test]
fn p7_an_agent_that_dies_sweeping_leaves_no_mark() {
    let mut scenario = Scenario::start(web(60));
    assert_eq!(scenario.agent.sweep_step().expect("begun"), Progress::More);
    assert_ne!(scenario.maps().reclaim.before_ns, 0);
    let mut scenario = scenario.restart(web(60));
    assert_eq!(scenario.maps().reclaim.before_ns, 0);
}

#[test]
fn a_sweep_that_fails_takes_its_mark_back() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pass(60);
    assert_eq!(scenario.agent.sweep_step().expect("begun"), Progress::More);
    scenario.maps().fails_after.set(Some(0));
    let error = scenario.agent.sweep_step().expect_err("told to fail");
    assert_eq!(error.to_string(), "write PINS: told to fail");
    assert_eq!(scenario.maps().reclaim.before_ns, 0);
    assert_eq!(scenario.sweep().removed, pins(1));
}

#[test]
fn p9_pins_of_an_earlier_life_go() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pin(1, "198.51.100.8", "web-2");
    scenario.pass(6);
    scenario.intent("web-2", Intent::Evacuate);
    assert_eq!(scenario.sweep().removed, pins(0), "it may be called back");
    scenario.intent("web-2", Intent::Down);
    assert_eq!(scenario.sweep().removed, pins(0));
    scenario.intent("web-2", Intent::Ready);
    let outcome = scenario.sweep();
    assert_eq!(outcome.removed, pins(1), "another life");
    assert_eq!(outcome.pins_of.into_iter().collect::<Vec<_>>(), [(1, 1)]);
}

#[test]
fn pins_of_a_scope_that_is_gone_go() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pass(6);
    scenario.reload(web(0));
    assert_eq!(scenario.sweep().removed, pins(1));
}

#[test]
fn p10_a_longer_timeout_ends_the_sweep_first() {
    let mut scenario = Scenario::start(web(10));
    let key = scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pass(30);
    assert_eq!(scenario.agent.sweep_step().expect("begun"), Progress::More);
    scenario.log();
    scenario.reload(web(60));
    assert_eq!(scenario.log(), ["set_reclaim", "set_vip 1"], "the mark goes, then the time");
    assert_eq!(scenario.sweep().removed, pins(0), "revived");
    assert!(scenario.maps().pins.contains_key(&key));
    scenario.reload(web(20));
    assert_eq!(scenario.sweep().removed, pins(1));
}

#[test]
fn a_flap_does_not_end_the_sweep() {
    let mut scenario = Scenario::start(web(10));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pass(30);
    assert_eq!(scenario.agent.sweep_step().expect("begun"), Progress::More);
    scenario.health("web-1", false);
    scenario.health("web-1", true);
    assert_ne!(scenario.maps().reclaim.before_ns, 0);
    // Made in a life that the sweep does not know.
    scenario.pin(1, "198.51.100.8", "web-1");
    assert_eq!(scenario.sweep().removed, pins(1));
    assert_eq!(scenario.maps().pins.len(), 1);
}

#[test]
fn flows_are_over_when_idle_and_replies_go_a_margin_later() {
    for (state, idle) in [
        (TcpState::Opening, 240),
        (TcpState::Established, 7440),
        (TcpState::ClosedByBackend, 60),
        (TcpState::Reset, 10),
    ] {
        let check = |seconds, step, flows, replies| {
            let mut scenario = Scenario::start(web(60));
            scenario.flow("198.51.100.7", "web-1", state);
            shift(&mut scenario, seconds, step);
            let outcome = scenario.sweep();
            let got = (outcome.held.flows, outcome.removed.replies);
            assert_eq!(got, (flows, replies), "{state:?} {step}");
            assert_eq!(outcome.removed.flows, 0, "their places are free for others");
        };
        check(idle, -1, 1, 0);
        check(idle, 0, 0, 0);
        check(idle + 2, -1, 0, 0);
        check(idle + 2, 0, 0, 1);
    }
}

#[test]
fn p9_flows_of_a_dead_backend_stay_for_their_reset() {
    let mut scenario = Scenario::start(web(60));
    scenario.flow("198.51.100.7", "web-1", TcpState::Established);
    scenario.health("web-1", false);
    scenario.health("web-1", true);
    scenario.pass(6);
    let outcome = scenario.sweep();
    assert_eq!(outcome.removed, Counts::default());
    assert_eq!(outcome.held, Counts { pins: 0, flows: 1, replies: 1 });
    assert!(outcome.flows_of.is_empty(), "it is not served");
}

#[test]
fn p11_evictions_are_counted() {
    let mut scenario = Scenario::start(web(60));
    for client in 1..=9 {
        scenario.pin(1, &format!("198.51.100.{client}"), "web-1");
    }
    let evict = |scenario: &mut Scenario, count: usize| {
        let keys: Vec<_> = scenario.maps().pins.keys().take(count).copied().collect();
        for key in keys {
            scenario.maps().pins.remove(&key);
        }
    };
    evict(&mut scenario, 2);
    let evicted = |scenario: &mut Scenario| {
        let outcome = scenario.sweep();
        let status = scenario.agent.status().expect("read");
        assert_eq!(status.pins.held, Some(outcome.held.pins));
        status.pins.evicted.expect("counted")
    };
    assert_eq!(evicted(&mut scenario), 2);
    let one =
        Filter { client: Some(("198.51.100.9".parse().expect("ip"), 32)), ..Filter::default() };
    assert_eq!(scenario.agent.flush(&one).expect("flushed"), 1);
    assert_eq!(evicted(&mut scenario), 2, "what is flushed was not evicted");
    scenario.pass(60);
    assert_eq!(evicted(&mut scenario), 2, "nor what was reclaimed");
    // The listener's counters go with it; what they told of evictions does not.
    let mut next = web(60);
    next.listeners[0].name = "other".to_owned();
    scenario.reload(next.clone());
    assert_eq!(evicted(&mut scenario), 2);
    let mut scenario = scenario.restart(next);
    assert_eq!(evicted(&mut scenario), 2, "nor is it lost with the agent");
    assert_eq!(scenario.maps().listener_counters.get(&1), None);
}

fn sessions(scenario: &mut Scenario, filter: &Filter, limit: usize) -> Vec<Session> {
    let mut cursor = PageCursor::default();
    let mut all = Vec::new();
    loop {
        let page = scenario.agent.sessions(&cursor, filter, limit).expect("a page");
        assert!(page.sessions.len() <= limit);
        all.extend(page.sessions);
        match page.next {
            Some(next) => cursor = next,
            None => return all,
        }
    }
}

#[test]
fn sessions_are_shown_by_name() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.pass(20);
    scenario.pin(1, "198.51.100.8", "web-2");
    scenario.pin(9, "198.51.100.9", "web-2");
    let shown = sessions(&mut scenario, &Filter::default(), 10);
    assert_eq!(shown.len(), 2, "no VIP has scope 9");
    let first = &shown[0];
    assert_eq!((first.scope.as_str(), first.group), ("web", false));
    assert_eq!(first.listeners, ["web"]);
    assert_eq!((first.client.to_string(), first.prefix), ("198.51.100.7".to_owned(), 32));
    assert_eq!(first.backend, "web-1");
    assert_eq!((first.age.as_secs(), first.idle.as_secs(), first.left.as_secs()), (20, 20, 40));
    scenario.intent("web-1", Intent::Evacuate);
    assert_eq!(sessions(&mut scenario, &Filter::default(), 10).len(), 1, "no longer honoured");
    scenario.pass(60);
    assert_eq!(sessions(&mut scenario, &Filter::default(), 10), []);
}

#[test]
fn pages_and_filters() {
    let mut scenario = Scenario::start(web(60));
    for client in 1..=9 {
        let backend = if client % 3 == 0 { "web-2" } else { "web-1" };
        scenario.pin(1, &format!("198.51.100.{client}"), backend);
    }
    for batch in 1..=10 {
        scenario.maps().batch = batch;
        for limit in 1..=10 {
            let shown = sessions(&mut scenario, &Filter::default(), limit);
            let mut clients: Vec<_> = shown.into_iter().map(|session| session.client).collect();
            clients.dedup();
            assert_eq!(clients.len(), 9, "batch {batch}, limit {limit}");
        }
    }
    let mut check = |filter: Filter, count| {
        assert_eq!(sessions(&mut scenario, &filter, 2).len(), count, "{filter:?}");
    };
    let name = |name: &str| Some(name.to_owned());
    check(Filter { backend: name("web-2"), ..Filter::default() }, 3);
    check(Filter { backend: name("web-9"), ..Filter::default() }, 0);
    check(Filter { listener: name("web"), ..Filter::default() }, 9);
    check(Filter { listener: name("other"), ..Filter::default() }, 0);
    let client = |ip: &str, bits| Some((ip.parse().expect("ip"), bits));
    check(Filter { client: client("198.51.100.4", 32), ..Filter::default() }, 1);
    check(Filter { client: client("198.51.100.4", 30), ..Filter::default() }, 4);
    check(Filter { client: client("198.51.100.4", 0), ..Filter::default() }, 9);
    check(Filter { client: client("::", 0), ..Filter::default() }, 0);
    let flush = Filter { backend: name("web-2"), ..Filter::default() };
    assert_eq!(scenario.agent.flush(&flush).expect("flushed"), 3);
    assert_eq!(scenario.maps().pins.len(), 6);
    assert_eq!(scenario.agent.flush(&Filter::default()).expect("flushed"), 6);
}

#[test]
fn status_counts() {
    let mut scenario = Scenario::start(web(60));
    scenario.pin(1, "198.51.100.7", "web-1");
    scenario.flow("198.51.100.7", "web-1", TcpState::Established);
    let status = scenario.agent.status().expect("read");
    assert_eq!(status.pins.held, None, "not counted yet");
    assert_eq!(status.listeners[0].counters.events[Event::PinMade as usize], 1);
    scenario.sweep();
    let status = scenario.agent.status().expect("read");
    let web_1 = &status.backends[0];
    assert_eq!((web_1.pins, web_1.flows, web_1.takes_clients), (Some(1), Some(1), true));
    assert_eq!((status.pins.held, status.pins.capacity), (Some(1), 1024));
    assert_eq!(status.replies.held, Some(1));
    assert_eq!(status.counted_ns, Some(100 * SECOND));
}

#[test]
fn p9_what_is_void_counts_for_no_backend() {
    let check = |on_down: OnDown, kept: u64| {
        let pools = |backends: &[&str]| vec![pool("web", on_down, backends)];
        let listeners = || vec![listener("web", "203.0.113.10:80", 0, 60)];
        let both = ["web-1 10.0.0.11:80", "web-2 10.0.0.12:80"];
        let mut scenario = Scenario::start(config(pools(&both), listeners()));
        for (client, backend) in [("198.51.100.7", "web-1"), ("198.51.100.8", "web-2")] {
            scenario.pin(1, client, backend);
            scenario.flow(client, backend, TcpState::Established);
        }
        let counts = |scenario: &mut Scenario| {
            let status = scenario.agent.status().expect("read");
            let of = status.backends.iter().map(|one| (one.pins, one.flows));
            let of: Vec<_> =
                of.map(|(pins, flows)| (pins.expect("counted"), flows.expect("counted"))).collect();
            (of, scenario.agent.pins_held().expect("read").expect("counted"))
        };
        scenario.sweep();
        assert_eq!(counts(&mut scenario), (vec![(1, 1), (1, 1)], 2));
        scenario.intent("web-1", Intent::Evacuate);
        assert_eq!(counts(&mut scenario), (vec![(1, 1), (1, 1)], 2), "it may be called back");
        scenario.intent("web-1", Intent::Down);
        let down = (vec![(0, kept), (1, 1)], 1);
        assert_eq!(counts(&mut scenario), down, "{on_down:?}: at once");
        scenario.pass(6);
        assert_eq!(scenario.sweep().removed, Counts::default());
        assert_eq!(counts(&mut scenario), down, "{on_down:?}: when counted anew");
        scenario.intent("web-1", Intent::Ready);
        let outcome = scenario.sweep();
        assert_eq!(outcome.removed, pins(1), "another life");
        assert_eq!(counts(&mut scenario), down, "{on_down:?}: nothing comes back");
        // Last of all it is taken out of the configuration.
        scenario.pin(1, "198.51.100.7", "web-1");
        scenario.flow("198.51.100.7", "web-1", TcpState::Established);
        scenario.sweep();
        scenario.reload(config(pools(&both[1..]), listeners()));
        let (of, held) = counts(&mut scenario);
        // Its flows go on, or it is not even named any more.
        let left: &[_] = if on_down == OnDown::Keep { &[(0, 2)] } else { &[] };
        assert_eq!((of[0], &of[1..], held), ((1, 1), left, 1), "{on_down:?}: removed");
    };
    check(OnDown::Reset, 0);
    check(OnDown::Keep, 1);
}
