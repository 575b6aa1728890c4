//! Random events: whatever happens, in whatever order, the maps end where they should.

use lb_common::layout::{Backend, BackendState};
use lb_userspace::{
    config::{Config, OnDown},
    control::facts::{Health, Intent},
};
use tests::control::{Scenario, config, grouped, listener, pool, reach};

const WALKS: u64 = 100;
const EVENTS: usize = 60;

/// Configurations to reload: backends that move, change and go; listeners that regroup.
fn configs() -> Vec<Config> {
    let a = "a 10.0.0.1:80";
    let b = "b 10.0.0.2:80*3";
    let c = "c 10.0.0.3:80";
    let one = |timeout| listener("one", "192.0.2.1:80", 0, timeout);
    let two = |pool| listener("two", "192.0.2.1:443", pool, 60);
    vec![
        config(vec![pool("p", OnDown::Reset, &[a, b, c])], vec![one(60), two(0)]),
        config(vec![pool("p", OnDown::Keep, &[a, c])], vec![one(5)]),
        config(
            vec![pool("p", OnDown::Keep, &[a]), pool("q", OnDown::Reset, &[b, c])],
            vec![one(60), two(1)],
        ),
        config(
            vec![pool("q", OnDown::Keep, &["a 10.0.0.9:80", b]), pool("p", OnDown::Keep, &[c])],
            vec![grouped(one(60), "g"), grouped(two(0), "g")],
        ),
    ]
}

/// One event; an error is one that was asked for.
fn event(scenario: Scenario, random: &mut fastrand::Rng) -> Scenario {
    let mut scenario = scenario;
    let config = scenario.agent.config().clone();
    let backends: Vec<&str> = config
        .pools
        .iter()
        .flat_map(|pool| &pool.backends)
        .map(|backend| backend.name.as_str())
        .collect();
    let backend = backends[random.usize(..backends.len())];
    match random.u8(..10) {
        0 | 1 => {
            let health = if random.bool() { Health::Up } else { Health::Down("test".to_owned()) };
            scenario.found(backend, health);
        }
        2 => scenario.reached(backend, reach()),
        3 => {
            let intents = [Intent::Ready, Intent::Drain, Intent::Evacuate, Intent::Down];
            let intent = intents[random.usize(..intents.len())];
            scenario.agent.set_intent(backend, intent).expect("known");
        }
        4 => {
            let configs = configs();
            drop(scenario.agent.configure(configs[random.usize(..configs.len())].clone()));
        }
        5 => scenario.maps().fails_after.set(Some(random.usize(..12))),
        6 => scenario = restart(scenario),
        7 => scenario.pass(random.u64(..4)),
        8 => {
            let scope = random.u32(1..4);
            let known = scenario.maps().identities.values().any(|n| n.as_str() == Some(backend));
            if known {
                scenario.pin(scope, &format!("198.51.100.{}", random.u8(..)), backend);
            }
        }
        _ => drop(scenario.agent.sweep_step()),
    }
    drop(scenario.agent.apply());
    scenario
}

/// Another agent takes over, with what the health checks had found so far.
fn restart(scenario: Scenario) -> Scenario {
    scenario.agent.maps().fails_after.set(None);
    let config = scenario.agent.config().clone();
    scenario.restart(config)
}

/// Backends that new clients of that pool come to, by the record alone.
fn ready(backends: impl Iterator<Item = (u32, Backend)>, pool: u32) -> Vec<u32> {
    let ready = BackendState::Ready.code();
    backends.filter(|(_, b)| b.pool == pool && b.state == ready).map(|(id, _)| id).collect()
}

#[test]
fn random_walks_end_where_they_should() {
    for seed in 0..WALKS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scenario = Scenario::start(configs().remove(0));
        for _ in 0..EVENTS {
            scenario = event(scenario, &mut random);
        }
        scenario.maps().fails_after.set(None);
        scenario.all_well();
        let config = scenario.agent.config().clone();
        for pool in &config.pools {
            for backend in &pool.backends {
                scenario.agent.set_intent(&backend.name, Intent::Ready).expect("known");
            }
        }
        scenario.apply();
        scenario.log();
        scenario.apply();
        assert_eq!(scenario.log(), [""; 0], "walk {seed}: a second time writes nothing");
        // The sweeper takes out what is over, and the mark with it.
        scenario.pass(3600);
        scenario.agent.abort_sweep().expect("one that began before");
        scenario.sweep();
        assert!(scenario.maps().pins.is_empty(), "walk {seed}");
        assert_eq!(scenario.maps().reclaim.before_ns, 0, "walk {seed}");
        let maps = scenario.maps();
        let named = maps.pools.iter().filter(|(_, pool)| pool.table != 0);
        let mut tables = 0;
        for (id, pool) in named {
            let mut held = maps.tables[&pool.table].clone();
            held.sort_unstable();
            held.dedup();
            let held: Vec<u32> = held.into_iter().map(u32::from).collect();
            let backends = maps.backends.iter().map(|(id, backend)| (*id, *backend));
            assert_eq!(held, ready(backends, *id), "walk {seed}, pool {id}");
            tables += 1;
        }
        assert_eq!(tables, config.pools.len(), "walk {seed}");
        assert_eq!(maps.vips.len(), config.listeners.len(), "walk {seed}");
        // Another agent finds nothing to do.
        let before = scenario.dump();
        let mut scenario = restart(scenario);
        assert_eq!(scenario.dump(), before, "walk {seed}");
        scenario.log();
        scenario.all_well();
        scenario.apply();
        assert_eq!(scenario.log(), [""; 0], "walk {seed}");
    }
}
