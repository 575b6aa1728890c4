//! Health checks: one task per backend that probes it and reports its verdict when that changes.
//!
//! Owns the tasks and their timing. Never touches maps, intent or the pool's tables: a verdict is
//! a fact that the control side weighs.

pub mod probe;
pub mod state;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    config::{self, Pool},
    control::facts::{Health, HealthReport, Subject},
};
use state::State;

/// Probes that are under way at once, over all backends: each holds a file descriptor, of which
/// a process has 1,024 unless told otherwise.
const AT_ONCE: usize = 512;

/// The health checks of a configuration. Dropping it ends them.
///
/// Must live inside a tokio runtime.
#[derive(Debug)]
pub struct Checks {
    report: mpsc::Sender<HealthReport>,
    permits: Arc<Semaphore>,
    running: BTreeMap<String, Running>,
}

/// How a subject is probed and judged: may change without forgetting the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pace {
    interval: Duration,
    timeout: Duration,
    rise: u8,
    fall: u8,
}

#[derive(Debug)]
struct Running {
    /// `None`: not checked, always up.
    subject: Option<Subject>,
    pace: watch::Sender<Pace>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// No checks yet; verdicts will go to `report`.
    #[must_use]
    pub fn new(report: mpsc::Sender<HealthReport>) -> Self {
        Self { report, permits: Arc::new(Semaphore::new(AT_ONCE)), running: BTreeMap::new() }
    }

    /// Checks the backends of these pools from now on, and no others. Backends whose probe and
    /// target stay the same keep their verdict, also with another interval, timeout, `rise` or
    /// `fall`. New ones are probed at once; those of pools without a check are reported up.
    ///
    /// Waits for nothing, so it may be called by the task that reads the reports.
    pub fn configure(&mut self, pools: &[Pool]) {
        let mut before = std::mem::take(&mut self.running);
        for pool in pools {
            for backend in &pool.backends {
                let subject = Subject::of(pool, backend);
                let pace = pace(pool.health.as_ref());
                let running = match before.remove(&backend.name) {
                    Some(running) if running.subject == subject => {
                        running.pace.send_if_modified(|current| {
                            let changed = *current != pace;
                            *current = pace;
                            changed
                        });
                        running
                    }
                    _ => self.start(backend.name.clone(), subject, pace),
                };
                self.running.insert(backend.name.clone(), running);
            }
        }
    }

    fn start(&self, name: String, subject: Option<Subject>, pace: Pace) -> Running {
        let (sender, receiver) = watch::channel(pace);
        let report = self.report.clone();
        let task = match subject.clone() {
            Some(subject) => {
                tokio::spawn(check(name, subject, receiver, report, Arc::clone(&self.permits)))
            }
            None => tokio::spawn(async move {
                // Nobody listens any more only when the agent is on its way out.
                drop(report.send(about(&name, None, &Health::Up)).await);
            }),
        };
        Running { subject, pace: sender, task }
    }
}

fn about(name: &str, subject: Option<&Subject>, health: &Health) -> HealthReport {
    HealthReport { backend: name.to_owned(), subject: subject.cloned(), health: health.clone() }
}

fn pace(health: Option<&config::Health>) -> Pace {
    health.map_or(
        Pace { interval: Duration::ZERO, timeout: Duration::ZERO, rise: 1, fall: 1 },
        |health| Pace {
            interval: health.interval,
            timeout: health.timeout,
            rise: health.rise,
            fall: health.fall,
        },
    )
}

async fn check(
    name: String,
    subject: Subject,
    mut paces: watch::Receiver<Pace>,
    report: mpsc::Sender<HealthReport>,
    permits: Arc<Semaphore>,
) {
    let mut state = State::default();
    let mut due = Instant::now();
    let mut first = true;
    loop {
        let pace = paces.borrow_and_update().clone();
        let result = {
            // Never closed; without a permit the probe would still be right.
            let _permit = permits.acquire().await;
            // On the heap while it lasts: of thousands of tasks most only wait.
            Box::pin(probe::run(&subject.probe, subject.target, pace.timeout)).await
        };
        if state.record(result, pace.rise, pace.fall)
            && report.send(about(&name, Some(&subject), state.verdict())).await.is_err()
        {
            return;
        }
        // After the first probe, which all backends get at once, each keeps to its own moment
        // within the interval.
        due += if first { share(&name, pace.interval) } else { pace.interval };
        first = false;
        due = due.max(Instant::now());
        tokio::select! {
            () = sleep_until(due) => {}
            // A new pace counts from now: a long interval that was made short is not waited for.
            changed = paces.changed() => {
                if changed.is_err() {
                    return;
                }
                let interval = paces.borrow().interval;
                due = due.min(Instant::now() + share(&name, interval));
                sleep_until(due).await;
            }
        }
    }
}

/// This backend's share of the interval: over all names they are spread evenly.
fn share(name: &str, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1000).unwrap_or(0) + 1;
    interval * part / 1000
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::{net::TcpListener, time::timeout};

    use super::*;
    use crate::config::{Backend, Forward, OnDown, Probe, Scheduler};

    fn pool(backends: &[(&str, u16)], health: Option<(Duration, u8, u8)>) -> Pool {
        Pool {
            name: "web".into(),
            forward: Forward::Nat,
            on_down: OnDown::Reset,
            scheduler: Scheduler::Maglev,
            slow_start: Duration::ZERO,
            nat_sources: Vec::new(),
            health: health.map(|(interval, rise, fall)| config::Health {
                probe: Probe::Tcp,
                port: None,
                interval,
                timeout: interval.min(Duration::from_millis(200)),
                rise,
                fall,
            }),
            http: config::http::PoolHttp::default(),
            backends: backends
                .iter()
                .map(|(name, port)| Backend {
                    name: (*name).to_owned(),
                    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                    port: Some(*port),
                    weight: 1,
                })
                .collect(),
        }
    }

    async fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        (listener, port)
    }

    type Reports = mpsc::Receiver<HealthReport>;

    async fn next_report(reports: &mut Reports) -> HealthReport {
        let next = timeout(Duration::from_secs(5), reports.recv()).await;
        next.expect("a report within five seconds").expect("checks run")
    }

    async fn next(reports: &mut Reports) -> (String, Health) {
        let report = next_report(reports).await;
        (report.backend, report.health)
    }

    async fn none(reports: &mut Reports, while_for: Duration) {
        if let Ok(report) = timeout(while_for, reports.recv()).await {
            panic!("unexpected {report:?}");
        }
    }

    fn down() -> Health {
        Health::Down("connection refused".into())
    }

    const FAST: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn verdicts_follow_the_backend() {
        let (listener, port) = listen().await;
        let (sender, mut reports) = mpsc::channel(16);
        let mut checks = Checks::new(sender);
        checks.configure(&[pool(&[("a", port)], Some((FAST, 2, 3)))]);
        assert_eq!(next(&mut reports).await, ("a".into(), Health::Up));
        drop(listener);
        let stopped = Instant::now();
        assert_eq!(next(&mut reports).await, ("a".into(), down()));
        assert!(stopped.elapsed() > FAST, "three failures: {:?}", stopped.elapsed());
        let again = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("bind");
        assert_eq!(next(&mut reports).await, ("a".into(), Health::Up));
        none(&mut reports, FAST * 5).await;
        drop(again);
        drop(checks);
        assert_eq!(reports.recv().await, None, "dropping the checks ends them");
    }

    #[tokio::test]
    async fn unchecked_backends_are_up() {
        let (sender, mut reports) = mpsc::channel(1);
        let mut checks = Checks::new(sender);
        let names: Vec<String> = (0..50).map(|n| format!("b{n}")).collect();
        let backends: Vec<(&str, u16)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        // More than the channel holds: `configure` must not wait.
        checks.configure(&[pool(&backends, None)]);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let (name, health) = next(&mut reports).await;
            assert_eq!(health, Health::Up);
            assert!(seen.insert(name));
        }
        checks.configure(&[pool(&backends, None)]);
        none(&mut reports, FAST).await;
    }

    #[tokio::test]
    async fn reload_keeps_what_did_not_change() {
        let hour = Duration::from_hours(1);
        let (listener, port) = listen().await;
        let (other, other_port) = listen().await;
        let (sender, mut reports) = mpsc::channel(16);
        let mut checks = Checks::new(sender);
        checks.configure(&[pool(&[("a", port), ("b", other_port)], Some((hour, 2, 2)))]);
        // The first results come at once, not after an hour.
        let mut first = [next(&mut reports).await, next(&mut reports).await];
        first.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(first, [("a".into(), Health::Up), ("b".into(), Health::Up)]);

        // Nothing changed: no report. Another pace: none either, and the verdict stays, so that
        // it takes two failures under the new interval, not one.
        checks.configure(&[pool(&[("a", port), ("b", other_port)], Some((hour, 2, 2)))]);
        drop(listener);
        none(&mut reports, FAST).await;
        let changed = Instant::now();
        checks.configure(&[pool(&[("a", port), ("b", other_port)], Some((FAST, 2, 2)))]);
        assert_eq!(next(&mut reports).await, ("a".into(), down()));
        assert!(changed.elapsed() > FAST / 2, "two failures: {:?}", changed.elapsed());

        // Another target is another subject: judged by its first result.
        checks.configure(&[pool(&[("a", other_port), ("b", other_port)], Some((hour, 100, 2)))]);
        assert_eq!(next(&mut reports).await, ("a".into(), Health::Up));

        // Gone from the configuration: silent.
        checks.configure(&[pool(&[("a", other_port)], Some((FAST, 2, 1)))]);
        drop(other);
        assert_eq!(next(&mut reports).await, ("a".into(), down()));
        none(&mut reports, FAST * 4).await;

        // No check any more: up.
        checks.configure(&[pool(&[("a", other_port)], None)]);
        assert_eq!(next(&mut reports).await, ("a".into(), Health::Up));
    }

    #[tokio::test]
    async fn reports_say_what_they_are_about() {
        let (_listener, port) = listen().await;
        let (_other, other_port) = listen().await;
        let (sender, mut reports) = mpsc::channel(16);
        let mut checks = Checks::new(sender);
        for pool in [
            pool(&[("a", port)], Some((FAST, 1, 1))),
            pool(&[("a", other_port)], Some((FAST, 1, 1))),
            pool(&[("a", other_port)], None),
        ] {
            checks.configure(std::slice::from_ref(&pool));
            let subject = Subject::of(&pool, &pool.backends[0]);
            assert_eq!(subject.is_some(), pool.health.is_some());
            let want = HealthReport { backend: "a".into(), subject, health: Health::Up };
            assert_eq!(next_report(&mut reports).await, want);
        }
    }

    #[test]
    fn shares_are_spread() {
        let interval = Duration::from_secs(2);
        let mut quarters = [0_u32; 4];
        for n in 0..400 {
            let share = share(&format!("web-{n}"), interval);
            assert!(share > Duration::ZERO && share <= interval);
            let quarter = (share.as_millis().saturating_sub(1) * 4 / 2000) as usize;
            quarters[quarter] += 1;
        }
        assert!(quarters.iter().all(|&count| count > 60), "{quarters:?}");
    }
}
