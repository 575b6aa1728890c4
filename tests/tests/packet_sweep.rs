//! The sweeper on the kernel's own maps: a million expired pins go, none that holds does.

use std::{path::Path, thread, time::Duration};

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    address::Address,
    hash::Seed,
    layout::{BackendRef, Hop, Pin, PinKey},
    maps::PINS,
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
    sessions::expiry::Outcome,
};
use nix::sys::resource::{UsageWho, getrusage};
use tests::mount::Mount;

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
        test_clock: false,
    })
    .expect("loaded");
    let mut controller =
        Controller::new(loaded.maps().expect("maps"), config, seed).expect("controller");
    let hop = Hop { interface: 1, ..Hop::default() };
    assert!(controller.set_reach("web-1", Reach::Known { hop, nat_sources: Vec::new() }));
    let _applied = controller.apply().expect("applied");
    controller
}

/// Pins of clients `from` and on, last seen at `last_seen_ns`.
fn fill(directory: &Path, controller: &Controller<KernelMaps>, from: u64, count: u64, seen: u64) {
    let data = MapData::from_pin(directory.join(PINS)).expect("map");
    let mut pins: HashMap<_, PinKey, Pin> = HashMap::try_from(Map::LruHashMap(data)).expect("pins");
    let (_, vip) = controller.maps().vips().expect("vips")[0];
    let (id, backend) = controller.maps().backends().expect("backends")[0];
    for client in from..from + count {
        let client = u32::try_from(client).expect("a client's number");
        let key = PinKey { client: Address::from_v4(client.to_be_bytes()), scope: vip.scope };
        let pin = Pin {
            backend: BackendRef::new(id, backend.generation),
            created_ns: seen,
            last_seen_ns: seen,
        };
        pins.insert(key, pin, 0).expect("inserted");
    }
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
    // Nothing is older than the machine, which may have started just now.
    let age = Duration::from_nanos(controller.maps().now_ns());
    thread::sleep(Duration::from_nanos(2 * MINUTE_NS + 1).saturating_sub(age));
    let now = controller.maps().now_ns();
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
