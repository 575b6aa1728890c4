//! Loading the program and running packets through it (`BPF_PROG_TEST_RUN`).

use std::{collections::BTreeMap, fs, path::Path};

use aya::{
    Pod,
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    event::{Event, EventKind},
    features::Features,
    layout::{Flood, FlowKey, Pin, PinKey, Reply},
    maps,
    rate::Rate,
};
use lb_userspace::{
    config::Limits,
    limits,
    loader::{self, Loaded},
    maps::LbMaps as _,
    object::OBJECT,
};

use super::{Bench, SEED, SETTINGS, START};
use crate::{
    mount::Mount,
    outcome::{Outcome, Verdict},
    packet::Frame,
    raw_map,
};

/// The kernel hands a program no less than an Ethernet header.
pub const SHORTEST: usize = 14;

/// A page, less what the kernel keeps of it before and after the packet.
const LONGEST: usize = 3520;

impl Bench {
    /// Small maps, and nothing in them but idle times.
    ///
    /// # Panics
    ///
    /// When the program cannot be loaded; without root.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is an act, not a value")]
    pub fn new() -> Self {
        Self::sized(1024)
    }

    /// With room for so many pins and flows, or more where the machine has many CPUs: each keeps
    /// free entries of its own.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn sized(entries: u32) -> Self {
        Self::made(entries, |_| {})
    }

    /// With room for one entry only in that map, `PINS` or `REPLIES`: an insert of another
    /// fails, as it otherwise does only when the kernel has no memory.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn with_room_for_one(map: &str) -> Self {
        let [key, value] = match map {
            maps::PINS => [size_of::<PinKey>(), size_of::<Pin>()],
            maps::REPLIES => [size_of::<FlowKey>(), size_of::<Reply>()],
            other => panic!("{other} is not filled by packets"),
        };
        Self::made(1024, |instance| {
            fs::create_dir_all(instance).expect("a directory");
            // So that an insert fails as it otherwise does only when the kernel has no memory (P11).
            raw_map::pin(&instance.join(map), raw_map::HASH, key, value, 1);
        })
    }

    /// With so many lines of flows.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn with_lines_of_flows(lines: u32) -> Self {
        Self::with(1024, Some(2 * lines), Features::ALL, |_| {})
    }

    /// With a flow table of several regions, of which one is in use.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn with_regions() -> Self {
        Self::with(1024, Some(131_072), Features::ALL, |_| {})
    }

    /// Loaded for these features only.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn loaded_for(features: Features) -> Self {
        Self::with(1024, None, features, |_| {})
    }

    fn made(entries: u32, prepare: impl FnOnce(&Path)) -> Self {
        Self::with(entries, None, Features::ALL, prepare)
    }

    fn with(
        entries: u32,
        flows: Option<u32>,
        features: Features,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let cpus = u32::try_from(aya::util::nr_cpus().expect("CPUs counted")).expect("a few CPUs");
        let entries = entries.max(512 * cpus);
        let limits = Limits {
            pins: entries,
            flows: flows.unwrap_or(entries),
            listeners: 16,
            backends: 64,
            pools: 8,
            maglev_slots: 251,
        };
        let mount = Mount::new();
        prepare(&mount.instance());
        let mut program = load(&mount, &limits, features);
        let (clock, answers) =
            (taken(&mut program, maps::CLOCK), taken(&mut program, maps::ANSWERS));
        let mut maps = program.maps().expect("maps opened");
        maps.set_meta(&limits::meta(&limits)).expect("meta written");
        maps.set_settings(&SETTINGS).expect("settings written");
        // Whatever the clock does: tests set it back.
        let unlimited = Rate { every_ns: 0, room_ns: u64::MAX };
        let (all, network) = (unlimited, unlimited);
        maps.set_flood(&Flood { all, network, ..Flood::default() }).expect("rates written");
        let rows = limits.listeners as usize + 1;
        let mut bench = Self {
            maps,
            program,
            clock,
            answers,
            now_ns: 0,
            met: BTreeMap::new(),
            vips: BTreeMap::new(),
            own: BTreeMap::new(),
            pools: BTreeMap::new(),
            backends: BTreeMap::new(),
            counters: vec![[0; lb_common::event::EVENTS]; rows],
            rows: vec![0],
            limits,
            mount,
        };
        bench.at(START);
        bench
    }

    /// Loads the program anew over the maps, as a restarted agent does.
    ///
    /// # Panics
    ///
    /// When the program cannot be loaded.
    pub fn reload(&mut self) {
        let mut program = load(&self.mount, &self.limits, Features::ALL);
        self.maps = program.maps().expect("maps opened");
        self.clock = taken(&mut program, maps::CLOCK);
        self.answers = taken(&mut program, maps::ANSWERS);
        self.program = program;
        self.at(self.now_ns);
    }

    /// The time, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// Sets the clock.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.clock.set(0, now_ns, 0).expect("clock set");
    }

    /// Sets the clock forward.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn pass(&mut self, ns: u64) {
        self.at(self.now_ns + ns);
    }

    /// Runs a packet through the program, as if it came in by the loopback interface.
    ///
    /// # Panics
    ///
    /// When what must hold of every packet does not; see [`Outcome`].
    pub fn send(&mut self, frame: &Frame) -> Outcome {
        self.meet(frame);
        self.run(&frame.build())
    }

    /// The same of bytes that may be none.
    ///
    /// # Panics
    ///
    /// As [`Self::send`], and for a length that the kernel does not take.
    pub fn run(&mut self, bytes: &[u8]) -> Outcome {
        assert!((SHORTEST..=LONGEST).contains(&bytes.len()), "{} bytes", bytes.len());
        let mut out = vec![0; LONGEST + 256];
        let program: &Xdp = self
            .program
            .ebpf
            .program(maps::PROGRAM)
            .expect("the program")
            .try_into()
            .expect("an XDP program");
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(bytes),
                data_out: Some(&mut out),
                ..TestRunOptions::new()
            })
            .expect("a test run");
        out.truncate(result.data_size_out as usize);
        let outcome = Outcome {
            verdict: Verdict::from_code(result.return_value),
            bytes: out,
            counted: self.newly_counted(),
        };
        outcome.check_invariants(bytes);
        outcome
    }

    /// What has been counted since the last packet. A packet is counted in one row, so the rows
    /// are looked at until its fate is found, the last one's first; what is in no row that is
    /// looked at now is found when the next packets are.
    fn newly_counted(&mut self) -> Vec<(u32, Event)> {
        let mut counted = Vec::new();
        for at in 0..self.rows.len() {
            let row = self.rows[at];
            let now = self.maps.listener_counters(row).expect("counters read").events;
            let before = &mut self.counters[row as usize];
            for event in Event::ALL {
                let more = now[event as usize] - before[event as usize];
                counted.extend((0..more).map(|_| (row, event)));
            }
            *before = now;
            if counted.iter().any(|(_, event)| event.kind() != EventKind::Noted) {
                self.rows[..=at].rotate_right(1);
                break;
            }
        }
        counted
    }
}

fn load(mount: &Mount, limits: &Limits, features: Features) -> Loaded {
    loader::load(&loader::Options {
        object: OBJECT,
        directory: &mount.instance(),
        limits,
        seed: SEED,
        packet_events: false,
        features,
        test_clock: true,
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// An array of the program's own.
fn taken<V: Pod>(program: &mut Loaded, map: &str) -> Array<MapData, V> {
    program.ebpf.take_map(map).expect("a map").try_into().expect("an array")
}
