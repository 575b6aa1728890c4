//! The agent's memory stays bounded: default limits, every listener and backend there can be, and
//! many who ask at once.
#![expect(clippy::print_stdout, reason = "the figures are printed too")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    address::Address,
    layout::{BackendRef, Pin, PinKey},
    maps::PINS,
};
use lb_userspace::api::wire::Health;
use nix::time::{ClockId, clock_gettime};
use tests::{
    agent::{Agent, Holdfast, all_ready},
    topology::{Lab, Shape},
};

/// What the README promises, in kB.
const MOST: u64 = 50 * 1024;
const POOLS: u32 = 32;
const IN_POOL: u32 = 128;
const LISTENERS: u32 = 512;
/// The table is full, as sizes are unless set.
const PINS_HELD: u32 = 1_000_000;
/// Who asks gets this many, but for one who wants all.
const SOME: usize = 10_000;
const AT_ONCE: usize = 16;
const PORT: u16 = 8080;

fn configuration(lab: &Lab, timeout: &str) -> String {
    let mut text = lab.agent_table();
    for pool in 0..POOLS {
        let health = format!("{{ kind = \"tcp\", port = {PORT} }}");
        writeln!(text, "[[pool]]\nname = \"pool-{pool}\"\nforward = \"dsr\"\nhealth = {health}")
            .expect("memory");
        for n in pool * IN_POOL..(pool + 1) * IN_POOL {
            let address = Ipv4Addr::from(0x0a01_0000 + n);
            writeln!(
                text,
                "[[pool.backend]]\nname = \"backend-number-{n}\"\naddress = \"{address}\""
            )
            .expect("memory");
        }
    }
    for n in 0..LISTENERS {
        let address = Ipv4Addr::from(0xcb00_7200 + n);
        let pool = n % POOLS;
        writeln!(
            text,
            "[[listener]]\nname = \"listener-number-{n}\"\nprotocol = \"tcp\"\naddress = \
             \"{address}:80\"\npool = \"pool-{pool}\"\npersistence = {{ timeout = \"{timeout}\" }}"
        )
        .expect("memory");
    }
    text
}

/// All backends' addresses are one namespace's, where somebody answers probes.
fn serve_backends(lab: &Lab) {
    let backend = &lab.backends[0];
    backend.ip("route add local 10.1.0.0/20 dev lo");
    lab.balancer.ip("route add 10.1.0.0/20 via 10.0.0.11");
    let listener = backend.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("bind"));
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// Pins of so many clients, spread over listeners and backends as a hash would.
fn fill(lab: &Lab, generations: &[u32]) {
    let data = MapData::from_pin(lab.instance().join(PINS)).expect("a map");
    let mut pins: HashMap<_, PinKey, Pin> =
        HashMap::try_from(Map::LruHashMap(data)).expect("an LRU map");
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the time");
    let now_ns = u64::try_from(Duration::from(now).as_nanos()).expect("a time");
    for n in 0..PINS_HELD {
        // The agent gives numbers in the order of the file.
        let (scope, backend) = (n % LISTENERS + 1, n % (POOLS * IN_POOL));
        let key = PinKey { client: Address::from_v4((0x0b00_0000 + n).to_be_bytes()), scope };
        let backend = BackendRef::new(backend + 1, generations[backend as usize]);
        let pin = Pin { backend, created_ns: now_ns, last_seen_ns: now_ns };
        pins.insert(key, pin, 0).expect("inserted");
    }
}

/// How often it is in what a child prints, which may be too much to keep.
fn count(mut child: Child, part: &str) -> usize {
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let count = output.lines().map(|line| line.expect("text").matches(part).count()).sum();
    assert!(child.wait().expect("a child").success());
    count
}

/// The most that it has had at any time so far, in kB.
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[track_caller]
fn check(agent: &Agent, after: &str) {
    let peak = peak(agent);
    println!("the agent's peak after {after}: {peak} kB");
    assert!(peak <= MOST, "{peak} kB after {after}");
}

#[test]
fn full_tables_and_many_who_ask_fit_into_fifty_mebibytes() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    serve_backends(&lab);
    let holdfast = Holdfast::new(&lab, &configuration(&lab, "1h"));
    let agent = holdfast.start_ready();
    let status = holdfast.status();
    assert_eq!(status.backends.iter().filter(|one| one.health == Health::Up).count(), 4096);
    assert!(all_ready(&status));
    check(&agent, "the start");
    let generations: Vec<u32> = status.backends.iter().map(|one| one.generation).collect();
    fill(&lab, &generations);

    let _changes = holdfast.verb("reload");
    for timeout in ["59m", "58m"] {
        fs::write(&holdfast.config, configuration(&lab, timeout)).expect("the configuration");
        let changes = holdfast.verb("reload");
        assert!(changes.contains("512 changes"), "{changes}");
    }
    check(&agent, "reloads");

    let some = format!("sessions --limit {SOME} --json");
    let ask = |verb: &str| -> Child {
        let mut command = lab.balancer.command(holdfast.binary());
        command.arg("--socket").arg(lab.folder().join("admin.sock"));
        command.args(verb.split_whitespace()).stdout(Stdio::piped()).spawn().expect("a child")
    };
    for (verb, part, want) in
        [(some.as_str(), "\"client\":", SOME), ("status --json", "\"reach\":", 4096)]
    {
        let asking: Vec<Child> = (0..AT_ONCE).map(|_| ask(verb)).collect();
        let counts = asking.into_iter().map(|child| thread::spawn(|| count(child, part)));
        for counting in counts.collect::<Vec<_>>() {
            assert_eq!(counting.join().expect("an answer"), want, "{verb}");
        }
        check(&agent, verb);
    }
    let all = "sessions --all --json";
    let shown = count(ask(all), "\"client\":");
    println!("{shown} sessions");
    // An LRU map gives up some for others before its last place is taken.
    assert!(shown > PINS_HELD as usize / 10 * 9, "{shown}");
    check(&agent, all);
}
