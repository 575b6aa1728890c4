//! Control scenarios: a configuration and events in, the maps' contents out, on maps in memory.
//!
//! Owns the shorthand that makes a scenario readable. The events are those of the agent: health,
//! reach, intent, reload, restart, sweep; packets are played by writing what they would write.

#![expect(clippy::missing_panics_doc, reason = "a harness panics where its test has failed")]

use std::{net::IpAddr, time::Duration};

use lb_common::{
    address::Address,
    event::Event,
    hash::Seed,
    layout::{
        BackendRef, Flow, FlowKey, Hop, ListenerCounters, Pin, PinKey, Protocol, Reply, TcpState,
    },
};
use lb_userspace::{
    config::{
        Agent, Backend, Config, Flood, FlowTimeouts, Forward, Health as Check, Limits, Listener,
        OnDown, Persistence, Pool, Probe, Protocol as ListenerProtocol, Refresh, Scheduler,
        XdpMode,
        http::{PoolHttp, Sidecar},
    },
    control::{
        controller::{ControlError, Controller, Progress},
        facts::{Health, HealthReport, Intent, Reach, ReachReport, Subject},
        reconcile::Applied,
    },
    maps::{LbMaps as _, dump::dump, fake::FakeMaps},
    sessions::expiry::Outcome,
};

/// A second, in the nanoseconds of the maps' clock.
pub const SECOND: u64 = 1_000_000_000;

/// The seed of every scenario.
pub const SEED: Seed = Seed([1, 2]);

/// An instance with room for little, and without pools.
#[must_use]
pub fn config(pools: Vec<Pool>, listeners: Vec<Listener>) -> Config {
    Config {
        agent: Agent {
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            admin: "/run/holdfast/admin.sock".into(),
            bpffs: "/sys/fs/bpf/holdfast".into(),
            state: "/var/lib/holdfast".into(),
            manage_addresses: false,
            echo: true,
            packet_events: false,
            flow_timeouts: FlowTimeouts {
                tcp_established: Duration::from_mins(124),
                tcp_transitory: Duration::from_mins(4),
                tcp_time_wait: Duration::from_mins(1),
                udp: Duration::from_mins(5),
            },
        },
        limits: Limits {
            pins: 1024,
            flows: 1024,
            listeners: 4,
            backends: 8,
            pools: 4,
            maglev_slots: 251,
        },
        flood: Flood::default(),
        pools,
        listeners,
        sidecar: Sidecar::default(),
        http_listeners: Vec::new(),
    }
}

/// A probed `nat` pool of backends written `name address:port`, or `name address:port*weight`.
#[must_use]
pub fn pool(name: &str, on_down: OnDown, backends: &[&str]) -> Pool {
    Pool {
        name: name.to_owned(),
        forward: Forward::Nat,
        on_down,
        scheduler: Scheduler::Maglev,
        slow_start: Duration::ZERO,
        nat_sources: Vec::new(),
        health: Some(Check {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }),
        http: PoolHttp::default(),
        backends: backends.iter().map(|text| backend(text)).collect(),
    }
}

/// One of [`pool`]'s backends.
#[must_use]
pub fn backend(text: &str) -> Backend {
    let (name, rest) = text.split_once(' ').expect("a name and an address");
    let (at, weight) = rest.split_once('*').unwrap_or((rest, "1"));
    let (address, port) = at.rsplit_once(':').expect("an address and a port");
    Backend {
        name: name.to_owned(),
        address: address.parse().expect("an address"),
        port: Some(port.parse().expect("a port")),
        weight: weight.parse().expect("a weight"),
    }
}

/// A TCP listener with pins of its own that live that many seconds; 0: without pins.
#[must_use]
pub fn listener(name: &str, address: &str, pool: usize, timeout: u64) -> Listener {
    Listener {
        name: name.to_owned(),
        protocol: ListenerProtocol::Tcp,
        address: address.parse().expect("an address and a port"),
        pool,
        persistence: (timeout > 0).then(|| Persistence {
            group: None,
            timeout: Duration::from_secs(timeout),
            refresh: Refresh::Activity,
            max_lifetime: None,
            prefix_v4: 32,
            prefix_v6: 128,
        }),
    }
}

/// A listener that shares its pins with a group.
#[must_use]
pub fn grouped(mut listener: Listener, group: &str) -> Listener {
    if let Some(persistence) = &mut listener.persistence {
        persistence.group = Some(group.to_owned());
    }
    listener
}

/// An agent on maps in memory.
pub struct Scenario {
    /// The agent's state.
    pub agent: Controller<FakeMaps>,
}

impl Scenario {
    /// Starts on empty maps at 100 s. All backends are found healthy and reachable, and the maps
    /// are brought there.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let mut maps = FakeMaps::default();
        maps.now_ns = 100 * SECOND;
        let agent = Controller::new(maps, config, SEED).expect("new maps");
        let mut scenario = Self { agent };
        scenario.all_well();
        scenario.apply();
        scenario
    }

    /// All backends are found healthy and reachable.
    pub fn all_well(&mut self) {
        let pools = self.agent.config().pools.clone();
        for backend in pools.iter().flat_map(|pool| &pool.backends) {
            self.found(&backend.name, Health::Up);
            self.reached(&backend.name, reach());
        }
    }

    /// A probe's finding about a backend as it is configured now, not acted on yet.
    pub fn found(&mut self, backend: &str, health: Health) {
        let report = health_report(self.agent.config(), backend, health);
        assert!(self.agent.set_health(report), "{backend} is probed so");
    }

    /// How a backend is reached as it is configured now, not acted on yet.
    pub fn reached(&mut self, backend: &str, reach: Reach) {
        let report = reach_report(self.agent.config(), backend, reach);
        assert!(self.agent.set_reach(report), "{backend} is there");
    }

    /// Brings the maps to what is wanted.
    pub fn apply(&mut self) -> Applied {
        self.agent.apply().expect("applied")
    }

    /// A probe's finding, acted on.
    pub fn health(&mut self, backend: &str, up: bool) {
        let health = if up { Health::Up } else { Health::Down("refused".to_owned()) };
        self.found(backend, health);
        self.apply();
    }

    /// The operator's intent, acted on.
    pub fn intent(&mut self, backend: &str, intent: Intent) {
        self.agent.set_intent(backend, intent).expect("known");
        self.apply();
    }

    /// Another configuration; backends that are new in it are then found healthy and reachable.
    pub fn reload(&mut self, config: Config) {
        self.agent.configure(config).expect("taken on");
        self.all_well();
        self.apply();
    }

    /// The agent is gone, and another one takes over what it left: nothing is known of backends
    /// before they have been probed again.
    #[must_use]
    pub fn restart(self, config: Config) -> Self {
        let agent = Controller::new(self.agent.into_maps(), config, SEED).expect("taken over");
        let mut scenario = Self { agent };
        scenario.apply();
        scenario
    }

    /// A new agent on the maps of this one, if it starts.
    pub fn try_restart(self, config: Config) -> Result<Controller<FakeMaps>, ControlError> {
        Controller::new(self.agent.into_maps(), config, SEED)
    }

    /// The maps.
    pub fn maps(&mut self) -> &mut FakeMaps {
        self.agent.maps_mut()
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        self.maps().now_ns += seconds * SECOND;
    }

    /// A whole sweep.
    pub fn sweep(&mut self) -> Outcome {
        loop {
            match self.agent.sweep_step().expect("a step") {
                Progress::More => {}
                Progress::Done(outcome) => return outcome,
            }
        }
    }

    /// The changes since the last call.
    pub fn log(&mut self) -> Vec<String> {
        self.maps().take_log()
    }

    /// The maps as text equal `expected`, line by line, whatever the indent.
    pub fn expect(&mut self, expected: &str) {
        self.expect_of("", expected);
    }

    /// The same of those lines only that begin so.
    pub fn expect_of(&mut self, beginning: &str, expected: &str) {
        let got = self.dump();
        let expected: Vec<&str> =
            expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let got: Vec<&str> = got.lines().filter(|line| line.starts_with(beginning)).collect();
        assert!(got == expected, "got:\n{}\nexpected:\n{}", got.join("\n"), expected.join("\n"));
    }

    /// The maps as text.
    pub fn dump(&mut self) -> String {
        dump(self.maps()).expect("read")
    }

    /// The number and the present generation of a backend.
    pub fn life(&mut self, backend: &str) -> BackendRef {
        let maps = self.maps();
        let (key, _) = maps
            .identities
            .iter()
            .find(|(key, name)| key.kind == 4 && name.as_str() == Some(backend))
            .expect("a backend of that name");
        BackendRef::new(key.id, maps.backends[&key.id].generation)
    }

    /// A packet pins a client now, and is counted for the listener in row 1.
    pub fn pin(&mut self, scope: u32, client: &str, backend: &str) -> PinKey {
        let backend = self.life(backend);
        let maps = self.maps();
        let now = maps.now_ns;
        let key = PinKey { client: ip(client), scope };
        maps.pins.insert(key, Pin { backend, created_ns: now, last_seen_ns: now });
        count(maps, Event::PinMade);
        key
    }

    /// A packet begins an established TCP flow now, with its reply entry.
    pub fn flow(&mut self, client: &str, backend: &str, state: TcpState) -> FlowKey {
        let life = self.life(backend);
        let maps = self.maps();
        let (last_seen_ns, seen) = (maps.now_ns, maps.now_ticks());
        let key = FlowKey {
            source: ip(client),
            destination: ip("203.0.113.10"),
            source_port_be: 40_000_u16.to_be(),
            destination_port_be: 80_u16.to_be(),
            protocol: Protocol::Tcp.code(),
            pad: [0; 3],
        };
        let flow = Flow {
            backend: life.id(),
            generation: life.generation(),
            seen,
            state: state.code(),
            pin_owed: false,
            source: 0,
            port_be: 5000_u16.to_be(),
        };
        let reply = Reply {
            last_seen_ns,
            backend: life,
            client: key,
            hop: Hop::default(),
            listener: 1,
            state: state.code(),
            pad: [0; 3],
        };
        maps.flows.push(flow);
        maps.replies.insert(key.reversed(), reply);
        count(maps, Event::FlowMade);
        count(maps, Event::ReplyMade);
        key
    }
}

/// A probe's finding about a backend of that configuration.
#[must_use]
pub fn health_report(config: &Config, backend: &str, health: Health) -> HealthReport {
    let (pool, found) = configured(config, backend);
    let subject = Subject::of(pool, found);
    HealthReport { backend: backend.to_owned(), subject, health }
}

/// How a backend of that configuration is reached.
#[must_use]
pub fn reach_report(config: &Config, backend: &str, reach: Reach) -> ReachReport {
    let address = configured(config, backend).1.address;
    ReachReport { backend: backend.to_owned(), address, reach }
}

fn configured<'a>(config: &'a Config, name: &str) -> (&'a Pool, &'a Backend) {
    let mut all = config.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b)));
    all.find(|(_, backend)| backend.name == name).expect("a backend of that name")
}

/// A way to a backend, with a source address for `nat`.
#[must_use]
pub fn reach() -> Reach {
    let hop = Hop { interface: 2, to: [2; 6], from: [4; 6], ..Hop::default() };
    Reach::Known { hop, nat_sources: vec![ip("10.0.0.254")], mtu: 1500 }
}

/// An address.
#[must_use]
pub fn ip(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

fn count(maps: &mut FakeMaps, event: Event) {
    let row = maps.listener_counters.entry(1).or_insert(ListenerCounters::ZERO);
    row.events[event as usize] += 1;
}
