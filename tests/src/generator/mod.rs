//! Packets by the million, for the benchmark and for floods: programs that write each anew, and call
//! what is measured or send it out by an interface.

#[path = "../../bench-ebpf/src/draw.rs"]
mod draw;
mod traffic;

use std::{path::Path, time::Duration};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, MapData, PerCpuArray, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use nix::time::{ClockId, clock_gettime};

use crate::packet;

use draw::Draw;
pub use traffic::Traffic;

// SAFETY: integers without padding.
unsafe impl Pod for Draw {}

/// What a driver calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// `XDP_TX`, at once.
    Empty,
    /// One look-up of the five-tuple in an LRU hash map with keys of 40 bytes.
    LookUp,
    /// One insert into it.
    Insert,
    /// The program that is measured.
    Holdfast,
}

impl Subject {
    const fn driver(self) -> &'static str {
        match self {
            Self::Empty => "drive_empty",
            Self::LookUp => "drive_look_up",
            Self::Insert => "drive_insert",
            Self::Holdfast => "drive_other",
        }
    }
}

/// The programs and their maps.
pub struct Driver {
    /// All of them.
    pub ebpf: Ebpf,
    draw: Array<MapData, Draw>,
    next: Array<MapData, u64>,
    missed: Array<MapData, u64>,
    arrived: PerCpuArray<MapData, u64>,
    runs: u64,
    // The slots that the drivers call by; they empty when this goes.
    measured: ProgramArray<MapData>,
}

impl Driver {
    /// Loads them, with a table of so many entries.
    ///
    /// # Panics
    ///
    /// When it cannot.
    #[must_use]
    pub fn load(object: &Path, entries: u32) -> Self {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TABLE", entries)
            .load_file(object)
            .unwrap_or_else(|e| panic!("{}: {e}", object.display()));
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into().expect("an XDP program");
            program.load().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let measured = ebpf.take_map("MEASURED").expect("a map of programs");
        let mut measured = ProgramArray::try_from(measured).expect("a map of programs");
        for (slot, name) in (0..).zip(["empty", "look_up", "insert"]) {
            let fd = fd(&ebpf, name);
            measured.set(slot, &fd, 0).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        Self {
            draw: array(&mut ebpf, "DRAW"),
            next: array(&mut ebpf, "NEXT"),
            missed: array(&mut ebpf, "MISSED"),
            arrived: PerCpuArray::try_from(ebpf.take_map("ARRIVED").expect("a map"))
                .expect("an array"),
            ebpf,
            runs: 0,
            measured,
        }
    }

    /// Puts the program in the place that is measured.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn measure(&mut self, program: &ProgramFd) {
        self.measured.set(3, program, 0).expect("the program in its place");
    }

    /// Runs so many packets; nanoseconds of this thread's time each.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn run(&mut self, subject: Subject, traffic: &Traffic, packets: u32) -> f64 {
        self.aim(traffic);
        let packet = traffic.packet();
        let program = program(&self.ebpf, subject.driver());
        let before = thread_time();
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&packet),
                repeat: packets,
                ..TestRunOptions::new()
            })
            .expect("a test run");
        let took = thread_time().saturating_sub(before);
        assert_ne!(result.return_value, 0, "{subject:?} was not called");
        nanoseconds(took) / f64::from(packets)
    }

    /// Sends so many packets out by that interface of this thread's network namespace; how long
    /// each took, with what the kernel did for it at once: without the making of buffers, and
    /// without what other threads took.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn send(&mut self, traffic: &Traffic, packets: u32, interface: u32) -> Duration {
        self.aim(traffic);
        let packet = traffic.packet();
        // `struct xdp_md`: where the packet begins and ends; where it came in.
        let length = u32::try_from(packet.len()).expect("a short packet");
        let context: Vec<u8> =
            [0, length, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let result = program(&self.ebpf, Subject::Empty.driver())
            .test_run(TestRunOptions {
                data_in: Some(&packet),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(64),
                ..TestRunOptions::new()
            })
            .expect("packets sent");
        result.duration
    }

    /// Five-tuples that were not found since the last call.
    ///
    /// # Panics
    ///
    /// When the count cannot be read.
    pub fn missed(&mut self) -> u64 {
        let missed = self.missed.get(&0, 0).expect("a count");
        self.missed.set(0, 0, 0).expect("a count");
        missed
    }

    /// Packets that came to the end of a wire, so far.
    ///
    /// # Panics
    ///
    /// When the count cannot be read.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived.get(&0, 0).expect("counts").iter().sum()
    }

    /// Is what the drivers write what the traffic says?
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn check(&mut self, traffic: &Traffic) {
        for number in [0, traffic.draw.flows / 2, traffic.draw.flows - 1] {
            let one = traffic.clone().from(traffic.draw.first + number, 1);
            self.aim(&one);
            let packet = traffic.packet();
            let mut out = vec![0; 256];
            let result = program(&self.ebpf, Subject::Empty.driver())
                .test_run(TestRunOptions {
                    data_in: Some(&packet),
                    data_out: Some(&mut out),
                    ..TestRunOptions::new()
                })
                .expect("a test run");
            out.truncate(result.data_size_out as usize);
            let parsed = packet::parse(&out).expect("a packet");
            assert_eq!(parsed.frame.source, traffic.source(one.draw.first));
            assert!(parsed.ip_sum_right && parsed.transport_sum_right, "{}", parsed.frame);
        }
    }

    fn aim(&mut self, traffic: &Traffic) {
        self.draw.set(0, traffic.draw, 0).expect("what to draw");
        self.runs += 1;
        // Other flows in every run, the same in every program of the benchmark: Weyl's sequence.
        let random = self.runs.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = if traffic.draw.step == 0 { random } else { 0 };
        self.next.set(0, next, 0).expect("where to begin");
    }
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> &'a Xdp {
    let program = ebpf.program(name).unwrap_or_else(|| panic!("no program {name}"));
    program.try_into().expect("an XDP program")
}

fn fd(ebpf: &Ebpf, name: &str) -> ProgramFd {
    let fd = program(ebpf, name).fd().expect("a loaded program");
    fd.try_clone().expect("a descriptor")
}

fn array<V: Pod>(ebpf: &mut Ebpf, name: &str) -> Array<MapData, V> {
    ebpf.take_map(name).expect("a map").try_into().expect("an array")
}

/// The time that this thread has had a CPU: what others take does not count.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// Of a time below a day.
fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
