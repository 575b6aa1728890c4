//! Keeps a sidecar running that serves what is wanted: starts it, tells it, replaces it, and starts
//! another one when it ends by itself.
//!
//! Owns the processes. Layer 4 never waits for it.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval, sleep_until, timeout},
};
use tracing::{error, info, warn};

use super::{child, handover, sockets::Sockets};
use crate::l7::{
    channel::Sender,
    messages::{Order, Report, Totals},
    snapshot::Snapshot,
    wall,
};

/// A sidecar that takes no order for so long is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one that was told to end by some time may be late.
const GRACE: Duration = Duration::from_secs(2);
/// Counts are fetched so often.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// One that ended sooner after its start makes the next wait.
const STEADY: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the sidecar is to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// What to serve by.
    pub(super) snapshot: Arc<Snapshot>,
    /// Threads.
    pub(super) workers: u16,
    /// Counts up when the access log is to be opened anew, and when a sidecar is to be replaced.
    pub(super) log_turn: u64,
    pub(super) replacement: u64,
}

/// How it stands.
#[derive(Debug, Clone, Default)]
pub(in crate::agent) struct Standing {
    pub(in crate::agent) pid: Option<u32>,
    pub(in crate::agent) since: Option<SystemTime>,
    /// How often one had to be started because another ended by itself.
    pub(in crate::agent) crashes: u64,
    /// Those that finish what they have.
    pub(in crate::agent) finishing: usize,
    /// Of all that ever ran.
    pub(in crate::agent) totals: Totals,
    /// What went wrong last: a socket, a snapshot.
    pub(in crate::agent) trouble: Option<String>,
}

struct Live {
    number: u64,
    orders: Sender<Order>,
    started: Instant,
    pid: Option<u32>,
    workers: u16,
    user: String,
    log: Option<(PathBuf, u64)>,
    replacement: u64,
    sent: BTreeSet<SocketAddr>,
    snapshot: Option<Arc<Snapshot>>,
    serving: bool,
    totals: Totals,
    kill: Option<oneshot::Sender<()>>,
}

enum Event {
    Report(u64, Report),
    Ended(u64, io::Result<ExitStatus>),
}

/// Runs until the agent stops.
pub(super) struct Supervisor {
    wanted: watch::Receiver<Option<Wanted>>,
    standing: Arc<Mutex<Standing>>,
    sockets: Sockets,
    live: Option<Live>,
    /// The one before, until the new one serves; then those that finish.
    before: Vec<Live>,
    adopted: Option<handover::Adopted>,
    door: handover::Door,
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    /// Of sidecars that have ended.
    ended: Totals,
    crashes: u64,
    next_number: u64,
    version: u64,
    wait: Duration,
    start_at: Option<Instant>,
    /// Addresses that could not be listened on, and what was said of them.
    failed: Vec<(SocketAddr, String)>,
    /// Why there is no sidecar, or why it serves by an older snapshot.
    trouble: Option<String>,
}

impl Supervisor {
    /// `door`: where the next agent finds this one's sidecar.
    pub(super) fn new(
        wanted: watch::Receiver<Option<Wanted>>,
        standing: Arc<Mutex<Standing>>,
        door: handover::Door,
        adopted: Option<(handover::Adopted, Vec<(SocketAddr, OwnedFd)>)>,
    ) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        let mut sockets = Sockets::default();
        let adopted = adopted.map(|(adopted, theirs)| {
            for (address, socket) in theirs {
                sockets.take_over(address, socket);
            }
            adopted
        });
        Self {
            wanted,
            standing,
            sockets,
            live: None,
            before: Vec::new(),
            adopted,
            door,
            events,
            inbox,
            ended: Totals::default(),
            crashes: 0,
            next_number: 0,
            version: 0,
            wait: FIRST_WAIT,
            start_at: None,
            failed: Vec::new(),
            trouble: None,
        }
    }

    /// Works until who wants it is gone.
    pub(super) async fn run(mut self) {
        let mut count = interval(COUNT_EVERY);
        // Until something is wanted, if only nothing, the sidecar of an agent before goes on.
        let mut changed = false;
        loop {
            if changed {
                self.bring_about().await;
            }
            changed = false;
            let start_at = self.start_at;
            tokio::select! {
                more = self.wanted.changed() => match more {
                    Ok(()) => changed = true,
                    Err(_) => return,
                },
                Some(event) = self.inbox.recv() => self.hear(event).await,
                () = sleep_until(start_at.unwrap_or_else(Instant::now)), if start_at.is_some() => {
                    self.start_at = None;
                    changed = true;
                }
                _now = count.tick() => {
                    let retry = !self.failed.is_empty();
                    if let Some(live) = &mut self.live {
                        order(live, &Order::Count, None).await;
                    }
                    changed = retry;
                }
            }
        }
    }

    /// Brings sockets and sidecar to what is wanted.
    async fn bring_about(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let Some(wanted) = wanted else {
            self.sockets = Sockets::default();
            if let Some(live) = self.live.take() {
                self.finish(live, Duration::ZERO).await;
            }
            if let Some(adopted) = self.adopted.take() {
                adopted.finish(Duration::ZERO).await;
            }
            self.tell();
            return;
        };
        self.listen(&wanted);
        let other = self.live.as_ref().is_some_and(|live| {
            live.workers != wanted.workers
                || live.user != wanted.snapshot.settings.user
                || live.replacement != wanted.replacement
        });
        if other {
            self.before.extend(self.live.take());
        }
        if self.live.is_none() && self.start_at.is_none() {
            self.start(&wanted).await;
        }
        if let Some(live) = &mut self.live {
            Self::feed(live, &self.sockets, &wanted, &mut self.version).await;
        }
        self.tell();
    }

    fn listen(&mut self, wanted: &Wanted) {
        let addresses = wanted.snapshot.listeners.iter().map(|listener| listener.address).collect();
        let failed = self.sockets.want(&addresses, wanted.workers);
        let failed: Vec<(SocketAddr, String)> =
            failed.into_iter().map(|(address, error)| (address, error.to_string())).collect();
        for (address, why) in failed.iter().filter(|one| !self.failed.contains(one)) {
            error!("{address}: cannot listen: {why}; trying again");
        }
        for (address, _) in &self.failed {
            if !failed.iter().any(|(other, _)| other == address) {
                info!("{address}: listening");
            }
        }
        self.failed = failed;
    }

    async fn start(&mut self, wanted: &Wanted) {
        let user = wanted.snapshot.settings.user.clone();
        let running = match child::start(&user) {
            Ok(running) => running,
            Err(error) => {
                error!("the sidecar cannot be started: {error}");
                self.trouble = Some(format!("the sidecar cannot be started: {error}"));
                self.later();
                return;
            }
        };
        self.next_number += 1;
        let number = self.next_number;
        let (kill, killed) = oneshot::channel();
        let pid = running.child.id();
        let events = self.events.clone();
        drop(tokio::spawn(follow(number, running.child, running.reports, killed, events)));
        let mut live = Live {
            number,
            orders: running.orders,
            started: Instant::now(),
            pid,
            workers: wanted.workers,
            user,
            log: None,
            replacement: wanted.replacement,
            sent: BTreeSet::new(),
            snapshot: None,
            serving: false,
            totals: Totals::default(),
            kill: Some(kill),
        };
        order(&mut live, &Order::Begin { workers: wanted.workers }, Some(&self.door.socket)).await;
        info!("sidecar: process {}", pid.unwrap_or_default());
        self.live = Some(live);
    }

    /// Tells it what it does not know yet.
    async fn feed(live: &mut Live, sockets: &Sockets, wanted: &Wanted, version: &mut u64) {
        let mut sent = BTreeSet::new();
        for (address, worker, socket) in sockets.iter() {
            sent.insert(address);
            if !live.sent.contains(&address) {
                let worker = worker % live.workers.max(1);
                order(live, &Order::Listen { address, worker }, Some(socket)).await;
            }
        }
        live.sent = sent;
        let log = wanted.snapshot.settings.access_log.as_ref();
        let log = log.map(|log| (log.path.clone(), wanted.log_turn));
        if live.log != log {
            let file = log.as_ref().and_then(|(path, _)| open_log(path));
            order(live, &Order::Log, file.as_ref()).await;
            live.log = log;
        }
        if live.snapshot.as_ref().is_none_or(|then| !Arc::ptr_eq(then, &wanted.snapshot)) {
            *version += 1;
            let snapshot = Box::new(Snapshot::clone(&wanted.snapshot));
            order(live, &Order::Serve { version: *version, snapshot }, None).await;
            live.snapshot = Some(Arc::clone(&wanted.snapshot));
        }
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Report(number, Report::Serving { version }) => {
                let Some(live) = self.live.as_mut().filter(|live| live.number == number) else {
                    return;
                };
                self.trouble = None;
                if !live.serving {
                    live.serving = true;
                    info!("sidecar: serving, snapshot {version}");
                    let drain = self.drain();
                    for before in std::mem::take(&mut self.before) {
                        self.finish(before, drain).await;
                    }
                    if let Some(adopted) = self.adopted.take() {
                        adopted.finish(drain).await;
                    }
                }
            }
            Event::Report(_, Report::Refused { version, why }) => {
                error!("sidecar: snapshot {version} refused: {why}; the one before is in force");
                self.trouble = Some(format!("the newest settings are not in force: {why}"));
            }
            Event::Report(number, Report::Counted(totals)) => {
                let all = self.live.iter_mut().chain(&mut self.before);
                for live in all.filter(|live| live.number == number) {
                    live.totals = *totals.clone();
                }
            }
            Event::Report(_, Report::Socket { .. } | Report::HandedOver) => {}
            Event::Ended(number, status) => self.ended(number, status),
        }
        self.tell();
    }

    fn ended(&mut self, number: u64, status: io::Result<ExitStatus>) {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if let Some(at) = self.before.iter().position(|live| live.number == number) {
            let live = self.before.swap_remove(at);
            self.ended.add(&without_open(live.totals));
            info!("sidecar: process {} has ended, {status}", live.pid.unwrap_or_default());
            return;
        }
        let Some(live) = self.live.take_if(|live| live.number == number) else { return };
        self.ended.add(&without_open(live.totals));
        self.crashes += 1;
        error!("sidecar: process {} ended by itself, {status}", live.pid.unwrap_or_default());
        if live.started.elapsed() > STEADY {
            self.wait = FIRST_WAIT;
            self.start_at = Some(Instant::now());
        } else {
            self.later();
        }
    }

    fn later(&mut self) {
        self.start_at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn drain(&self) -> Duration {
        self.wanted.borrow().as_ref().map_or(Duration::ZERO, |it| it.snapshot.settings.drain)
    }

    /// Lets one finish what it has; what is not done by then is cut off.
    async fn finish(&mut self, mut live: Live, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        order(&mut live, &Order::Finish { within_ms }, None).await;
        if let Some(kill) = live.kill.take() {
            drop(tokio::spawn(async move {
                tokio::time::sleep(within + GRACE).await;
                // It may have ended.
                let _gone = kill.send(());
            }));
        }
        self.before.push(live);
    }

    fn tell(&mut self) {
        self.ended.forget_sessions(wall::now_ms());
        let mut totals = self.ended.clone();
        for live in self.live.iter().chain(&self.before) {
            totals.add(&live.totals);
        }
        let mut standing = self.lock();
        standing.pid = self.live.as_ref().and_then(|live| live.pid);
        standing.crashes = self.crashes;
        standing.finishing = self.before.len();
        standing.totals = totals;
        let failed = self.failed.first().map(|(at, why)| format!("{at}: {why}"));
        standing.trouble = failed.or_else(|| self.trouble.clone());
        let started = self.live.as_ref().map(|live| live.started.elapsed());
        standing.since = started.and_then(|ago| SystemTime::now().checked_sub(ago));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is open now says nothing once it has ended.
fn without_open(mut totals: Totals) -> Totals {
    totals.connections = 0;
    for counts in totals.backends.values_mut() {
        counts.active = 0;
    }
    totals
}

/// Gives an order; one that takes none is killed, and its end is heard of.
async fn order(live: &mut Live, order: &Order, with: Option<&OwnedFd>) {
    let with = with.map(|fd| fd.as_fd());
    let sent = timeout(PATIENCE, live.orders.send(order, with)).await;
    if !matches!(sent, Ok(Ok(())))
        && let Some(kill) = live.kill.take()
    {
        warn!("sidecar: process {} takes no orders", live.pid.unwrap_or_default());
        let _gone = kill.send(());
    }
}

fn open_log(path: &std::path::Path) -> Option<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    match opened {
        Ok(file) => Some(file.into()),
        Err(error) => {
            error!("{}: access log: {error}", path.display());
            None
        }
    }
}

/// Hears a sidecar out, and waits for its end.
async fn follow(
    number: u64,
    mut child: tokio::process::Child,
    mut reports: crate::l7::channel::Receiver<Report>,
    mut killed: oneshot::Receiver<()>,
    events: mpsc::UnboundedSender<Event>,
) {
    let hear = async {
        loop {
            match reports.receive().await {
                Ok(Some((report, _))) => {
                    if events.send(Event::Report(number, report)).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    warn!("sidecar: {error}");
                    return;
                }
            }
        }
    };
    let mut told = false;
    tokio::select! {
        () = hear => {}
        sent = &mut killed => told = sent.is_ok(),
    }
    if told {
        // It may have ended by now.
        let _gone = child.start_kill();
    }
    let status = tokio::select! {
        status = child.wait() => status,
        sent = &mut killed, if !told => {
            if sent.is_ok() {
                let _gone = child.start_kill();
            }
            child.wait().await
        }
    };
    // The agent may be stopping.
    let _gone = events.send(Event::Ended(number, status));
}
