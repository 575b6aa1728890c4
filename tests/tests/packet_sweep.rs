//! The sweeper on the kernel's own maps: a million expired pins go, none that holds does.

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};
use lb_common::{
    address::Address,
    features::Features,
    hash::Seed,
    layout::{BackendRef, Flow, FlowKey, FlowLine, Hop, Pin, PinKey, Protocol, Reply, TcpState},
    maps::{FLOWS, PINS, REPLIES, SWEEP_PINS},
    ticks::BITS,
};
use lb_userspace::{
    config::{self, Config},
    control::{
        controller::{Controller, Progress},
        facts::Reach,
    },
    loader::{self, Options},
    maps::{LbMaps, kernel::KernelMaps},
    object::OBJECT,
    sessions::expiry::{Counts, Outcome},
};
use nix::sys::resource::{UsageWho, getrusage};
use tests::{control::reach_report, mount::Mount};

const EXPIRED: u64 = 1_000_000;
const VALID: u64 = 1_000;
const MINUTE_NS: u64 = 60_000_000_000;

fn configuration() -> Config {
    let text = r#"
[agent]
interfaces = ["lo"]
[limits]
pins = 1300000
flows = 1024
[[pool]]
name = "web"
forward = "dsr"
backend = [{ name = "web-1", address = "10.0.0.1" }]
[[listener]]
name = "web"
protocol = "udp"
address = "203.0.113.1:53"
pool = "web"
persistence = { mode = "source-ip", timeout = "60s" }
"#;
    config::parse(text, Path::new("sweep.toml")).expect("configuration")
}

fn controller(directory: &Path) -> Controller<KernelMaps> {
    let config = configuration();
    let seed = Seed([1, 2]);
    let loaded = loader::load(&Options {
        object: OBJECT,
        directory,
        limits: &config.limits,
        seed,
        packet_events: false,
        features: Features::ALL,
        test_clock: false,
    })
    .expect("loaded");
    let mut controller =
        Controller::new(loaded.maps().expect("maps"), config, seed).expect("controller");
    let hop = Hop { interface: 1, ..Hop::default() };
    let reach = Reach::Known { hop, nat_sources: Vec::new(), mtu: 1500 };
    assert!(controller.set_reach(reach_report(&configuration(), "web-1", reach)));
    let _applied = controller.apply().expect("applied");
    controller
}

/// Pins of clients `from` and on, last seen at `last_seen_ns`.
fn fill(directory: &Path, controller: &Controller<KernelMaps>, from: u64, count: u64, seen: u64) {
    let mut pins = open::<PinKey, Pin>(directory, PINS);
    let (_, vip) = controller.maps().vips().expect("vips")[0];
    let pin = pin(controller, seen);
    for client in from..from + count {
        let key = PinKey { client: client_address(client), scope: vip.scope };
        pins.insert(key, pin, 0).expect("inserted");
    }
}

fn open<K: Pod, V: Pod>(directory: &Path, map: &str) -> HashMap<MapData, K, V> {
    let data = MapData::from_pin(directory.join(map)).expect("a map");
    HashMap::try_from(Map::LruHashMap(data)).expect("an LRU map")
}

fn client_address(client: u64) -> Address {
    Address::from_v4(u32::try_from(client).expect("a client's number").to_be_bytes())
}

fn pin(controller: &Controller<KernelMaps>, seen: u64) -> Pin {
    Pin { backend: present_life(controller), created_ns: seen, last_seen_ns: seen }
}

fn present_life(controller: &Controller<KernelMaps>) -> BackendRef {
    let (id, backend) = controller.maps().backends().expect("backends")[0];
    BackendRef::new(id, backend.generation)
}

fn keys<K: Pod + Ord, V: Pod>(directory: &Path, map: &str) -> BTreeSet<K> {
    open::<K, V>(directory, map).keys().collect::<Result<_, _>>().expect("keys")
}

/// The present, on a machine that runs for two minutes at least: nothing is older than it.
fn now(controller: &Controller<KernelMaps>) -> u64 {
    let age = Duration::from_nanos(controller.maps().now_ns());
    thread::sleep(Duration::from_nanos(2 * MINUTE_NS + 1).saturating_sub(age));
    controller.maps().now_ns()
}

fn sweep(controller: &mut Controller<KernelMaps>) -> Outcome {
    loop {
        if let Progress::Done(outcome) = controller.sweep_step().expect("swept") {
            return outcome;
        }
    }
}

fn cpu_ms() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("usage");
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000 + time.tv_usec() / 1_000;
    ms(usage.user_time()) + ms(usage.system_time())
}

#[test]
fn a_million_expired_pins_go_and_no_other() {
    let mount = Mount::new();
    let directory = mount.instance();
    let mut controller = controller(&directory);
    let now = now(&controller);
    fill(&directory, &controller, 0x0a00_0000, EXPIRED, now - 2 * MINUTE_NS);
    // Seen in the future: they hold, however slow the machine is.
    fill(&directory, &controller, 0x0b00_0000, VALID, now + 60 * MINUTE_NS);

    let before = cpu_ms();
    let outcome = sweep(&mut controller);
    let spent = cpu_ms() - before;
    eprintln!("{} pins reclaimed in {spent} ms of CPU time", outcome.removed.pins);
    assert_eq!(outcome.removed.pins, EXPIRED);
    assert_eq!(outcome.held.pins, VALID);
    assert_eq!(outcome.pins_of.values().sum::<u64>(), VALID);

    let again = sweep(&mut controller);
    assert_eq!((again.removed.pins, again.held.pins), (0, VALID));
    assert_eq!(controller.maps().reclaim().expect("mark").before_ns, 0, "the mark is cleared");
}

#[test]
fn p7_a_pin_made_anew_during_the_sweep_stays() {
    let mount = Mount::new();
    let directory = mount.instance();
    let mut controller = controller(&directory);
    let now = now(&controller);
    fill(&directory, &controller, 0x0a00_0000, 10_000, now - 2 * MINUTE_NS);
    // The first step sets the mark, the second deals with some of them.
    for _ in 0..2 {
        assert_eq!(controller.sweep_step().expect("a step"), Progress::More);
    }
    let left = keys::<PinKey, Pin>(&directory, PINS);
    assert!((1..10_000).contains(&left.len()), "some, not all: {}", left.len());
    // Evicted, and made anew by a packet; also those that were judged before and wait.
    let mut pins = open::<PinKey, Pin>(&directory, PINS);
    let anew = pin(&controller, now);
    for key in &left {
        pins.remove(key).expect("evicted");
        pins.insert(key, anew, 0).expect("made anew");
    }
    let outcome = sweep(&mut controller);
    assert_eq!(keys::<PinKey, Pin>(&directory, PINS), left);
    assert_eq!(outcome.removed.pins, 10_000 - left.len() as u64);
}

#[test]
fn p7_nothing_goes_without_the_mark() {
    let mount = Mount::new();
    let directory = mount.instance();
    let mut controller = controller(&directory);
    let now = now(&controller);
    let _none = sweep(&mut controller);
    fill(&directory, &controller, 0x0a00_0000, 100, now - 2 * MINUTE_NS);
    let told = fs::read(directory.join(SWEEP_PINS)).expect("an iterator");
    assert_eq!(told, [0_u8; 0], "the rules of a sweep that is over");
    assert_eq!(keys::<PinKey, Pin>(&directory, PINS).len(), 100);
    assert_eq!(sweep(&mut controller).removed.pins, 100);
}

#[test]
fn flows_and_replies_go_when_idle() {
    let mount = Mount::new();
    let directory = mount.instance();
    let mut controller = controller(&directory);
    let seen = now(&controller) - MINUTE_NS;
    let backend = present_life(&controller);
    let minute = u32::try_from(MINUTE_NS / controller.maps().tick_ns()).expect("a few");
    let ticks_ago = controller.maps().now_ticks().wrapping_sub(minute) & ((1 << BITS) - 1);
    let data = MapData::from_pin(directory.join(FLOWS)).expect("a map");
    let mut flows = Array::<_, FlowLine>::try_from(Map::Array(data)).expect("an array");
    let mut replies = open::<FlowKey, Reply>(&directory, REPLIES);
    for client in 0..100 {
        let state = if client < 30 { TcpState::Reset } else { TcpState::Established }.code();
        let key = FlowKey {
            source: client_address(client),
            destination: client_address(0x0a00_0001),
            source_port_be: 1,
            destination_port_be: 2,
            protocol: Protocol::Tcp.code(),
            pad: [0; 3],
        };
        let flow = Flow {
            backend: backend.id(),
            generation: backend.generation(),
            seen: ticks_ago,
            state,
            pin_owed: false,
            source: 0,
            port_be: 0,
        };
        let mut line = FlowLine::default();
        line.entries[usize::from(client % 2 == 0)] = flow.pack(client + 1);
        flows.set(u32::try_from(client).expect("a line"), line, 0).expect("a flow");
        let reply = Reply {
            last_seen_ns: seen,
            backend,
            client: key,
            hop: Hop::default(),
            listener: 1,
            state,
            pad: [0; 3],
        };
        replies.insert(key.reversed(), reply, 0).expect("a reply");
    }
    let outcome = sweep(&mut controller);
    assert_eq!(outcome.removed, Counts { pins: 0, flows: 0, replies: 30 });
    assert_eq!(outcome.held, Counts { pins: 0, flows: 70, replies: 70 }, "flows under way");
    assert_eq!(outcome.flows_of.into_iter().collect::<Vec<_>>(), [(backend.id(), 70)]);
    let left = keys::<FlowKey, Reply>(&directory, REPLIES);
    assert_eq!(left.len(), 70);
    assert!(left.iter().all(|key| key.destination >= client_address(30)));
}
