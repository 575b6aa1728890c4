//! Keeps the maps as they should be: takes in facts and wishes, and tries again what could not be
//! written until it is.
//!
//! Owns when the maps are brought to what is wanted. Waits for nothing: the writer task does.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::news::{News, Turn};
use crate::{
    config::Config,
    control::{
        controller::{ControlError, Controller},
        facts::{Health, HealthReport, Intent, Reach, ReachReport},
    },
    maps::LbMaps,
};

/// Facts that come within this time are acted on together.
const SETTLE: Duration = Duration::from_millis(10);
/// After a failure to write the maps.
const RETRY: Duration = Duration::from_secs(1);

/// The controller, and when it is to act.
pub(super) struct Keeper<M> {
    /// The maps and what should be in them.
    pub(super) controller: Controller<M>,
    apply_at: Option<Instant>,
    /// When a backend in its slow start gets more weight.
    step_at: Option<Instant>,
    news: News,
}

impl<M: LbMaps> Keeper<M> {
    /// For maps that are as the controller wants them.
    pub(super) fn new(controller: Controller<M>) -> Self {
        Self { controller, apply_at: None, step_at: None, news: News::default() }
    }

    /// When [`Self::apply`] is to be called; `None`: the maps are as they should be.
    pub(super) fn due(&self) -> Option<Instant> {
        self.apply_at.into_iter().chain(self.step_at).min()
    }

    /// Brings the maps to what is wanted.
    pub(super) fn apply(&mut self) -> Result<(), ControlError> {
        let applied = self.controller.apply();
        self.note(applied.map(|applied| debug!("maps: {applied:?}")))
    }

    /// Takes in what a probe found.
    pub(super) fn hear_health(&mut self, report: HealthReport) {
        let (name, health) = (report.backend.clone(), report.health.clone());
        if !self.controller.set_health(report) {
            debug!("{name}: {health:?}, but it is not probed so any more");
            return;
        }
        match (self.news.of_health(&name, &health), health) {
            (Turn::Better, _) => info!("{name}: up"),
            (Turn::Worse, Health::Down(reason)) => warn!("{name}: down: {reason}"),
            (_, health) => debug!("{name}: {health:?}"),
        }
        self.soon();
    }

    /// Takes in how a backend is reached.
    pub(super) fn hear_reach(&mut self, report: ReachReport) {
        debug!("{report:?}");
        let (name, reach) = (report.backend.clone(), report.reach.clone());
        if !self.controller.set_reach(report) {
            return;
        }
        match (self.news.of_reach(&name, &reach), reach) {
            (Turn::Better, _) => info!("{name}: reached"),
            (Turn::Worse, Reach::Lost(why)) => warn!("{name}: cannot be reached: {why}"),
            _ => {}
        }
        self.soon();
    }

    /// Does what the operator wants. After an error of writing it is wanted nevertheless, and
    /// tried again.
    pub(super) fn set_intent(&mut self, backend: &str, intent: Intent) -> Result<(), ControlError> {
        self.controller.set_intent(backend, intent)?;
        self.apply()
    }

    /// Takes on another configuration: all of it, or after an error nothing. What of it could not
    /// be written is tried again.
    pub(super) fn configure(&mut self, config: &Config) -> Result<(), ControlError> {
        let outcome = self.controller.configure(config.clone());
        let outcome = outcome.map(|applied| debug!("maps: {applied:?}"));
        if outcome.is_err() && self.controller.config() != config {
            return outcome;
        }
        let names: HashSet<&str> =
            config.pools.iter().flat_map(|pool| &pool.backends).map(|one| &*one.name).collect();
        self.news.keep(|name| names.contains(name));
        // It is in force, and what is missing in the maps comes with the next try.
        self.note(outcome).or(Ok(()))
    }

    fn soon(&mut self) {
        self.apply_at.get_or_insert(Instant::now() + SETTLE);
    }

    fn note(&mut self, outcome: Result<(), ControlError>) -> Result<(), ControlError> {
        self.step_at = None;
        self.apply_at = match &outcome {
            Ok(()) => {
                let step = self.controller.next_step();
                // The data path's clock is a tick behind.
                self.step_at = step.map(|step| Instant::now() + step.max(SETTLE));
                None
            }
            Err(error) => {
                error!("maps: {error}; trying again");
                Some(Instant::now() + RETRY)
            }
        };
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lb_common::{hash::Seed, layout::BackendState};

    use super::*;
    use crate::{config, control::facts::Subject, maps::fake::FakeMaps};

    /// With these backends, at most three; each at an address of its own.
    fn with(names: &[&str]) -> Config {
        let backend = |name: &&str| {
            format!("{{ name = \"{name}\", address = \"10.0.0.{}:80\" }}", name.len())
        };
        let backends: Vec<String> = names.iter().map(backend).collect();
        let backends = backends.join(", ");
        let text = format!(
            r#"
[agent]
interfaces = ["eth0"]
[limits]
listeners = 2
backends = 3
pools = 2
[[pool]]
name = "web"
health = {{ kind = "tcp" }}
backend = [{backends}]
[[listener]]
name = "site"
protocol = "tcp"
address = "203.0.113.1:80"
pool = "web"
"#
        );
        config::parse(&text, Path::new("t.toml")).expect("configuration")
    }

    /// The reports of a good probe and a known way.
    fn all_well(keeper: &mut Keeper<FakeMaps>, config: &Config) {
        for backend in &config.pools[0].backends {
            let subject = Subject::of(&config.pools[0], backend);
            let name = backend.name.clone();
            keeper.hear_health(HealthReport { backend: name.clone(), subject, health: Health::Up });
            let hop = lb_common::layout::Hop { interface: 2, ..Default::default() };
            let reach = Reach::Known { hop, nat_sources: vec![backend.address.into()], mtu: 1500 };
            keeper.hear_reach(ReachReport { backend: name, address: backend.address, reach });
        }
    }

    /// Waits and writes, as the writer task does, until nothing is left to do; how often.
    async fn settle(keeper: &mut Keeper<FakeMaps>) -> usize {
        let mut times = 0;
        while let Some(due) = keeper.due() {
            tokio::time::sleep_until(due).await;
            drop(keeper.apply());
            times += 1;
            assert!(times < 10, "it is never done");
        }
        times
    }

    async fn start() -> Keeper<FakeMaps> {
        let controller = Controller::new(FakeMaps::default(), with(&["a", "bb"]), Seed([1, 2]));
        let mut keeper = Keeper::new(controller.expect("new maps"));
        keeper.apply().expect("applied");
        assert_eq!(keeper.due(), None);
        all_well(&mut keeper, &with(&["a", "bb"]));
        assert_eq!(settle(&mut keeper).await, 1, "facts are acted on together");
        keeper
    }

    fn fail_after(keeper: &Keeper<FakeMaps>, changes: usize) {
        keeper.controller.maps().fails_after.set(Some(changes));
    }

    /// The states of the backends that have a name, by id.
    fn states(keeper: &mut Keeper<FakeMaps>) -> Vec<(String, BackendState)> {
        let status = keeper.controller.status().expect("read");
        status.backends.into_iter().map(|backend| (backend.name, backend.state)).collect()
    }

    fn named(states: &[(&str, BackendState)]) -> Vec<(String, BackendState)> {
        states.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_intent_that_was_not_written_is_tried_again() {
        use BackendState::{Draining, Ready};
        let mut keeper = start().await;
        fail_after(&keeper, 0);
        keeper.set_intent("bb", Intent::Drain).expect_err("told to fail");
        let again = keeper.due().expect("to be tried again") - Instant::now();
        assert_eq!(again, RETRY);
        assert_eq!(states(&mut keeper), named(&[("a", Ready), ("bb", Ready)]));
        // It fails once more, later on; and then no more.
        tokio::time::sleep_until(keeper.due().expect("due")).await;
        fail_after(&keeper, 1);
        keeper.apply().expect_err("told to fail");
        assert_eq!(settle(&mut keeper).await, 1);
        assert_eq!(states(&mut keeper), named(&[("a", Ready), ("bb", Draining)]));
        // A name that is none changes nothing.
        keeper.set_intent("c", Intent::Drain).expect_err("unknown");
        assert_eq!(keeper.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_was_not_written_is_in_force_and_tried_again() {
        use BackendState::{Down, Ready};
        let next = with(&["a", "bb", "ccc"]);
        let mut failures = 0;
        for changes in 0.. {
            let mut keeper = start().await;
            fail_after(&keeper, changes);
            keeper.configure(&next).expect("it is in force, written or not");
            assert_eq!(keeper.controller.config(), &next);
            if keeper.due().is_none() {
                break;
            }
            failures += 1;
            assert_eq!(settle(&mut keeper).await, 1);
            let before = named(&[("a", Ready), ("bb", Ready), ("ccc", Down)]);
            assert_eq!(states(&mut keeper), before, "after {changes} changes");
            all_well(&mut keeper, &next);
            settle(&mut keeper).await;
            let after = named(&[("a", Ready), ("bb", Ready), ("ccc", Ready)]);
            assert_eq!(states(&mut keeper), after, "after {changes} changes");
        }
        assert!(failures > 1, "{failures}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_whose_first_step_fails_is_in_force_too() {
        let mut keeper = start().await;
        let _more = keeper.controller.sweep_step().expect("begun");
        let mut next = with(&["a", "bb"]);
        next.listeners[0].address.set_port(81);
        // To end the sweep comes before everything that is written.
        fail_after(&keeper, 0);
        keeper.configure(&next).expect("in force");
        assert!(keeper.due().is_some());
        settle(&mut keeper).await;
        let ports: Vec<u16> =
            keeper.controller.maps().vips.keys().map(|vip| u16::from_be(vip.port_be)).collect();
        assert_eq!(ports, [81]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_without_room_changes_nothing() {
        let mut keeper = start().await;
        let mut next = with(&["a", "ccc", "dddd"]);
        // `bb` has its number until its flows are over.
        next.pools[0].on_down = config::OnDown::Keep;
        let error = keeper.configure(&next).expect_err("room for three");
        assert!(matches!(error, ControlError::Full(_)), "{error}");
        assert_eq!((keeper.controller.config(), keeper.due()), (&with(&["a", "bb"]), None));
    }

    #[tokio::test(start_paused = true)]
    async fn facts_do_not_put_off_a_retry_nor_hurry_it() {
        let mut keeper = start().await;
        fail_after(&keeper, 0);
        keeper.set_intent("bb", Intent::Down).expect_err("told to fail");
        let due = keeper.due();
        all_well(&mut keeper, &with(&["a", "bb"]));
        assert_eq!(keeper.due(), due);
        // What is about nobody is no reason to write.
        let mut keeper = start().await;
        let report = HealthReport { backend: "x".to_owned(), subject: None, health: Health::Up };
        keeper.hear_health(report);
        assert_eq!(keeper.due(), None);
    }
}
