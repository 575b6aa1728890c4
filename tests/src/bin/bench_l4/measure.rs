//! How one row is measured: rounds in which everything that is compared takes its turn.

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_common::event::Event;
use tests::generator::{Driver, Subject, Traffic};

use crate::{round::Round, scene::Scene};

/// Flows and pins are refreshed once a second at most: packets that follow within this time of a
/// flow's last refresh do without.
const FRESH: Duration = Duration::from_millis(850);
/// After this time every packet refreshes its flow.
const STALE: Duration = Duration::from_millis(1_100);
/// How long flows may take to be known.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much of what is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// In a round, each subject's quietest run counts, of so many.
    pub(crate) tries: u32,
    /// Packets of a run; as many go before it, so that caches hold what they do in the long run.
    pub(crate) packets: u32,
}

/// What a packet costs when as many went before.
pub(crate) fn steady(
    driver: &mut Driver,
    subject: Subject,
    traffic: &Traffic,
    packets: u32,
) -> f64 {
    let _before = driver.run(subject, traffic, packets);
    driver.run(subject, traffic, packets)
}

/// Flows under way, that are kept from being refreshed while they are measured.
pub(crate) struct UnderWay<'a> {
    driver: &'a mut Driver,
    scene: &'a mut Scene,
    traffic: Traffic,
    refreshed: Instant,
    last: Instant,
    /// The longest that refreshing all of them took.
    slowest: Duration,
}

impl<'a> UnderWay<'a> {
    /// Sends the packets that open every flow, then those of the traffic, until all are known.
    pub(crate) fn new(
        driver: &'a mut Driver,
        scene: &'a mut Scene,
        opening: &Traffic,
        traffic: Traffic,
    ) -> Self {
        driver.measure(&scene.program());
        driver.check(&traffic);
        let all = traffic.clone().in_order();
        let flows = traffic.count();
        let _ns = driver.run(Subject::Holdfast, &opening.clone().in_order(), flows);
        let start = Instant::now();
        loop {
            let (forwarded, made) =
                (scene.counted(Event::Forwarded), scene.counted(Event::FlowMade));
            scene.make_room();
            let _ns = driver.run(Subject::Holdfast, &all, flows);
            let passed = scene.counted(Event::Forwarded) - forwarded;
            assert_eq!(passed, u64::from(flows), "packets forwarded, of all");
            // A table that is as large as the flows are many loses some now and then.
            if scene.counted(Event::FlowMade) - made <= u64::from(flows / 10) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "flows are not known after {PATIENCE:?}");
        }
        assert_eq!(scene.counted(Event::FlowLimited), 0, "flows that are not known, by the rates");
        let now = Instant::now();
        Self { driver, scene, traffic, refreshed: now, last: now, slowest: Duration::ZERO }
    }

    /// Puts the flows into the table that is looked up.
    pub(crate) fn fill_table(&mut self) {
        let all = self.traffic.clone().in_order();
        let _ns = self.driver.run(Subject::Insert, &all, self.traffic.count());
        let _none_yet = self.driver.missed();
        let _ns = self.driver.run(Subject::LookUp, &all, self.traffic.count());
        let missed = self.driver.missed();
        assert!(missed <= u64::from(self.traffic.count() / 1000), "{missed} were not found");
    }

    /// Rounds of packets that refresh nothing, against look-ups; and what must be known of them.
    pub(crate) fn rounds(&mut self, plan: Plan) -> (Vec<Round>, String) {
        let mut sent = 0_u64;
        let made = self.scene.counted(Event::FlowMade);
        let rounds = (0..plan.rounds)
            .map(|_| {
                let mut best =
                    Round { ours: f64::INFINITY, against: f64::INFINITY, empty: f64::INFINITY };
                for _ in 0..plan.tries {
                    best.empty = best.empty.min(self.steady(Subject::Empty, plan.packets));
                    best.against = best.against.min(self.steady(Subject::LookUp, plan.packets));
                    sent += self.freshen();
                    best.ours = best.ours.min(self.steady(Subject::Holdfast, plan.packets));
                    self.last = Instant::now();
                    sent += 2 * u64::from(plan.packets);
                }
                best
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = (self.scene.counted(Event::FlowMade) - made) as f64 / sent as f64;
        let share = share * 1000.0;
        let mut notes = Vec::new();
        if share >= 0.5 {
            notes.push(format!("{share:.1} ‰ placed anew"));
        }
        if self.slowest > FRESH {
            notes.push("some packets refresh: to refresh all takes too long".to_owned());
        }
        (rounds, notes.join("; "))
    }

    /// Rounds in which every packet refreshes its flow and its client's pin.
    pub(crate) fn refresh_rounds(&mut self, plan: Plan) -> Vec<Round> {
        let all = self.traffic.clone().shuffled();
        let flows = self.traffic.count();
        (0..plan.rounds)
            .map(|_| {
                let empty = self.steady(Subject::Empty, plan.packets);
                let against = self.steady(Subject::LookUp, plan.packets);
                thread::sleep(STALE);
                let ours = self.driver.run(Subject::Holdfast, &all, flows);
                Round { ours, against, empty }
            })
            .collect()
    }

    fn steady(&mut self, subject: Subject, packets: u32) -> f64 {
        steady(self.driver, subject, &self.traffic, packets)
    }

    /// Refreshes every flow if it may be due before the next run is over; packets sent.
    fn freshen(&mut self) -> u64 {
        if self.refreshed.elapsed() < FRESH {
            return 0;
        }
        // None is refreshed now and due soon.
        thread::sleep(STALE.saturating_sub(self.last.elapsed()));
        self.refreshed = Instant::now();
        let all = self.traffic.clone().in_order();
        let _ns = self.driver.run(Subject::Holdfast, &all, self.traffic.count());
        self.slowest = self.slowest.max(self.refreshed.elapsed());
        self.traffic.count().into()
    }
}

/// Rounds of pairs of packets that begin a new flow of a new client, the first of which makes the
/// flow's entry and the second its client's pin (P12), against an insert into a full table each. `traffic` is
/// that of flows from the first on; more are drawn from there.
pub(crate) fn new_flows(
    driver: &mut Driver,
    scene: &mut Scene,
    traffic: &Traffic,
    full: u32,
    plan: Plan,
) -> Vec<Round> {
    driver.measure(&scene.program());
    let mut next = 0;
    let mut fresh = |count: u32| {
        let these = traffic.clone().from(next, count);
        next += count;
        these
    };
    let filling = fresh(full + full / 4);
    for subject in [Subject::Holdfast, Subject::Insert] {
        let _ns = driver.run(subject, &filling, filling.count());
    }
    // In as many rounds as make all of the table used.
    for _ in 0..4 {
        let _pinned = driver.run(Subject::Holdfast, &filling, filling.count());
        scene.make_room();
    }
    let (flows, pins) = (scene.counted(Event::FlowMade), scene.counted(Event::PinMade));
    let mut sent = 0_u64;
    let rounds = (0..plan.rounds)
        .map(|_| {
            let mut best =
                Round { ours: f64::INFINITY, against: f64::INFINITY, empty: f64::INFINITY };
            for _ in 0..plan.tries {
                let these = fresh(plan.packets);
                let mut run = |subject| driver.run(subject, &these, plan.packets);
                best.empty = best.empty.min(run(Subject::Empty));
                best.against = best.against.min(run(Subject::Insert));
                let twice = these.clone().twice();
                let one = driver.run(Subject::Holdfast, &twice, 2 * plan.packets);
                // Of the two packets' empty programs one is taken off here, the other with all.
                best.ours = best.ours.min(2.0 * one - best.empty);
                sent += u64::from(plan.packets);
            }
            best
        })
        .collect();
    // Now and then the full table loses a flow between the packets of its pair, which then makes
    // another flow and no pin.
    let flows = scene.counted(Event::FlowMade) - flows;
    let pins = scene.counted(Event::PinMade) - pins;
    let lost = sent / 100;
    assert!((sent..=sent + lost).contains(&flows), "{flows} flows made by {sent} pairs");
    assert!((sent - lost..=sent).contains(&pins), "{pins} pins made by {sent} pairs");
    rounds
}

/// Rounds of packets that are for no listener.
pub(crate) fn not_for_us(
    driver: &mut Driver,
    scene: &Scene,
    traffic: &Traffic,
    plan: Plan,
) -> Vec<Round> {
    driver.measure(&scene.program());
    driver.check(traffic);
    let passed = scene.counted(Event::PassNoListener);
    let rounds = (0..plan.rounds)
        .map(|_| {
            let mut best =
                Round { ours: f64::INFINITY, against: f64::INFINITY, empty: f64::INFINITY };
            for _ in 0..plan.tries {
                best.empty = best.empty.min(driver.run(Subject::Empty, traffic, plan.packets));
                best.ours = best.ours.min(driver.run(Subject::Holdfast, traffic, plan.packets));
            }
            best
        })
        .collect();
    let sent = u64::from(plan.rounds) * u64::from(plan.tries) * u64::from(plan.packets);
    assert_eq!(scene.counted(Event::PassNoListener) - passed, sent, "packets for no listener");
    rounds
}
