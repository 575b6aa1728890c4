//! The backends' program on maps of a test's own: packets in, what became of them out.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{decap::DecapEvent, maps::DECAP};
use lb_userspace::{
    decap::{self, Loaded, Rules},
    object::DECAP_OBJECT,
};

use crate::{mount::Mount, outcome::Verdict};

/// The program with its rules.
pub struct Decap {
    program: Loaded,
    before: Vec<(DecapEvent, u64)>,
    // The last to go: what is above is in it.
    mount: Mount,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// What was counted, once.
    pub event: DecapEvent,
    /// What the program did with it.
    pub verdict: Verdict,
    /// As the program left it.
    pub bytes: Vec<u8>,
}

impl Decap {
    /// With these rules.
    ///
    /// # Panics
    ///
    /// When it cannot be loaded; without root.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let mount = Mount::new();
        let program = decap::load(DECAP_OBJECT, &mount.instance(), rules)
            .unwrap_or_else(|error| panic!("{error}"));
        let before = decap::counters(&mount.instance()).expect("counters");
        Self { program, before, mount }
    }

    /// Runs a packet through it.
    ///
    /// # Panics
    ///
    /// When not one event was counted, or one that the verdict does not go with.
    pub fn run(&mut self, bytes: &[u8]) -> Came {
        let mut out = vec![0; bytes.len().max(64) + 64];
        let program = self.program.ebpf.program(DECAP).expect("the program");
        let program: &Xdp = program.try_into().expect("an XDP program");
        let options = TestRunOptions {
            data_in: Some(bytes),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).expect("a test run");
        out.truncate(result.data_size_out as usize);
        let verdict = Verdict::from_code(result.return_value);
        let now = decap::counters(&self.mount.instance()).expect("counters");
        let counted: Vec<DecapEvent> = now
            .iter()
            .zip(&self.before)
            .flat_map(|((event, now), (_, before))| (*before..*now).map(|_| *event))
            .collect();
        self.before = now;
        let [event] = counted[..] else { panic!("one event, not {counted:?}") };
        let drops = event.name().starts_with("drop_");
        assert_eq!(verdict, if drops { Verdict::Drop } else { Verdict::Pass }, "{event:?}");
        if !drops && event != DecapEvent::Decapsulated {
            assert_eq!(out, bytes, "passed on, and changed: {event:?}");
        }
        Came { event, verdict, bytes: out }
    }
}
