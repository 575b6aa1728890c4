//! The one task that changes the maps: it takes what health checks, the network, the operator and
//! the clock have to say, one thing after another.

use std::{
    mem::take,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, info, warn};

use super::{
    FACTS, answers, changes, instance::State, keeper::Keeper, log_packets, network,
    sidecar::Sidecar,
};
use crate::{
    api::{Command, CommandError, SessionsQuery, encode_cursor, wire},
    config::{self, Config},
    control::{
        controller::{ControlError, Controller, Progress},
        facts::{HealthReport, Intent, ReachReport},
    },
    health::Checks,
    loader::{self, Loaded},
    maps::kernel::KernelMaps,
    memory,
    model::Model,
    net::{
        self,
        addresses::Changes,
        reach::targets,
        watch::{Wanted, Watch},
    },
    object::OBJECT,
    preflight,
    sessions::list::PageCursor,
};

/// Least time between two sweeps; a sweep that takes long is followed by a pause of
/// [`SWEEP_SHARE`] times its length.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const SWEEP_SHARE: u32 = 20;
/// Who asks how things stand gets numbers no older than this, if counting takes no longer than
/// [`COUNT_WITHIN`].
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
const COUNT_WITHIN: Duration = Duration::from_millis(200);
/// Interfaces and listener addresses are looked after this often: an interface may have gone and
/// come back, somebody may have taken an address off.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// The flow table is looked at this often: as many as may come meanwhile still find room.
const CROWDED_WITHIN: Duration = Duration::from_millis(500);

/// What the writer works with.
pub(super) struct Writer {
    /// The maps and what should be in them.
    pub(super) keeper: Keeper<KernelMaps>,
    /// The program, for interfaces that come.
    pub(super) loaded: Loaded,
    /// Names and modes of the interfaces.
    pub(super) interfaces: Vec<wire::Interface>,
    /// The configuration file.
    pub(super) config_path: PathBuf,
    /// Seed, intents, addresses.
    pub(super) state: State,
    /// Health checks.
    pub(super) checks: Checks,
    /// Routes and neighbours.
    pub(super) watch: Watch,
    /// Route netlink.
    pub(super) netlink: rtnetlink::Handle,
    /// When the agent started.
    pub(super) started: SystemTime,
    /// The last reload: when, and why it was refused.
    pub(super) last_reload: Option<(SystemTime, Result<(), String>)>,
    /// When entries are counted and reclaimed.
    pub(super) sweeps: Sweeps,
    /// Listener addresses that are being put on interfaces.
    pub(super) placing: Option<JoinHandle<Result<Changes, net::Error>>>,
    /// Layer 7.
    pub(super) sidecar: Sidecar,
    /// The revision of the controller that the sidecar was told.
    pub(super) told: Option<u64>,
}

/// What the writer hears.
pub(super) struct Inputs {
    /// From the admin API.
    pub(super) commands: mpsc::Receiver<Command>,
    /// Verdicts of health checks.
    pub(super) health: mpsc::Receiver<HealthReport>,
    /// Next hops.
    pub(super) reach: mpsc::Receiver<ReachReport>,
    /// SIGHUP.
    pub(super) reload: mpsc::Receiver<()>,
}

impl Writer {
    /// Works until it is dropped.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let (mut look_at, mut grow_at) = (Instant::now(), Instant::now());
        let (mut health, mut reach) = (Vec::new(), Vec::new());
        loop {
            self.tell_sidecar();
            let due = self.keeper.due();
            let apply = due.unwrap_or_else(|| Instant::now() + SWEEP_EVERY);
            tokio::select! {
                Some(command) = inputs.commands.recv() => self.command(command).await,
                Some(()) = inputs.reload.recv() => {
                    if let Err(error) = self.reload().await {
                        error!("reload: {error}");
                    }
                }
                // All that wait, so that thousands are acted on together.
                1.. = inputs.health.recv_many(&mut health, FACTS) => {
                    for report in take(&mut health) {
                        self.keeper.hear_health(report);
                    }
                }
                1.. = inputs.reach.recv_many(&mut reach, FACTS) => {
                    for report in take(&mut reach) {
                        self.keeper.hear_reach(report);
                    }
                }
                // A failure is noted there, and makes the next time.
                () = sleep_until(apply), if due.is_some() => drop(self.keeper.apply()),
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_AFTER;
                    let agent = &self.keeper.controller.config().agent;
                    network::look_after(&mut self.loaded, agent, &self.netlink, &mut self.interfaces)
                        .await;
                    if self.sidecar.look_after(self.keeper.controller.config()) {
                        self.told = None;
                    }
                    // Not while it is waited for: facts and commands come meanwhile.
                    if self.placing.is_none() {
                        self.placing = Some(tokio::spawn(self.place()));
                    }
                }
                Some(outcome) = ended(&mut self.placing) => self.placed(outcome),
                () = sleep_until(grow_at) => {
                    grow_at = Instant::now() + CROWDED_WITHIN;
                    match self.keeper.controller.grow_flows() {
                        Ok(None) => {}
                        Ok(Some(regions)) => debug!("flow table: {regions} regions in use"),
                        Err(error) => error!("flow table: {error}"),
                    }
                }
                () = sleep_until(self.sweeps.next) => self.sweeps.step(&mut self.keeper.controller),
            }
        }
    }

    /// Lets the sidecar know of backends' states, if they have changed.
    fn tell_sidecar(&mut self) {
        let revision = Some(self.keeper.controller.revision());
        if self.told == revision {
            return;
        }
        match self.keeper.controller.http_backends() {
            Ok(backends) => self.sidecar.serve(self.keeper.controller.config(), backends),
            Err(error) => {
                error!("sidecar: {error}");
                return;
            }
        }
        self.told = revision;
    }

    fn place(&self) -> impl Future<Output = Result<Changes, net::Error>> + Send + 'static {
        network::placing(&self.netlink, self.keeper.controller.config(), &self.state)
    }

    fn placed(&mut self, outcome: Result<Result<Changes, net::Error>, JoinError>) {
        self.placing = None;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                error!("listener addresses: {error}");
                return;
            }
        };
        let before = self.state.addresses.clone();
        network::placed(outcome, &mut self.state);
        if self.state.addresses != before {
            self.save();
        }
    }

    fn save(&self) {
        if let Err(error) = self.state.save(&self.keeper.controller.config().agent.state) {
            error!("{error}");
        }
    }

    /// Carries a command out; who asked may be gone, which is no error.
    async fn command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Sessions { query, reply } => drop(reply.send(self.sessions(&query))),
            Command::Flush { filter, reply } => {
                let flushed = self.known_names(&filter).and_then(|()| {
                    let filter = answers::filter(&filter);
                    let removed = self.keeper.controller.flush(&filter).map_err(internal)?;
                    info!("sessions flushed: {removed}");
                    Ok(wire::Flushed { removed })
                });
                drop(reply.send(flushed));
            }
            Command::SetIntent { backend, intent, reply } => {
                drop(reply.send(self.set_intent(&backend, intent)));
            }
            Command::Reload(reply) => drop(reply.send(self.reload().await)),
            Command::Keys(reply) => drop(reply.send(Ok(self.keys()))),
            Command::RotateKeys { after_s, reply } => drop(reply.send(self.rotate_keys(after_s))),
            Command::ExplainCookie { value, reply } => {
                drop(reply.send(self.explain_cookie(&value)));
            }
            Command::ReplaceSidecar(reply) => drop(reply.send(self.replace_sidecar())),
        }
    }

    fn status(&mut self) -> Result<wire::Status, CommandError> {
        self.sweeps.freshen(&mut self.keeper.controller);
        let status = self.keeper.controller.status().map_err(internal)?;
        let about = answers::About {
            started: self.started,
            config: &self.config_path,
            last_reload: self.last_reload.as_ref(),
            interfaces: self.interfaces.clone(),
            http: answers::http::http(
                self.keeper.controller.config(),
                &self.sidecar.standing(),
                SystemTime::now(),
            ),
        };
        Ok(answers::status(&status, about))
    }

    fn sessions(&mut self, query: &SessionsQuery) -> Result<wire::SessionsPage, CommandError> {
        self.known_names(&query.filter)?;
        let from = PageCursor::from_bytes(&query.position)
            .ok_or_else(|| CommandError::Invalid("the cursor is none of a page".to_owned()))?;
        let filter = answers::filter(&query.filter);
        let page =
            self.keeper.controller.sessions(&from, &filter, query.limit).map_err(internal)?;
        Ok(wire::SessionsPage {
            sessions: page.sessions.iter().map(answers::session).collect(),
            next: page.next.map(|next| encode_cursor(&next.to_bytes())),
            held: self.keeper.controller.pins_held().map_err(internal)?,
            counted_ms_ago: self.counted_ms_ago(),
        })
    }

    fn counted_ms_ago(&self) -> Option<u64> {
        let ago = self.keeper.controller.counted_ago()?;
        u64::try_from(ago.as_millis()).ok()
    }

    fn known_names(&self, filter: &crate::api::Filter) -> Result<(), CommandError> {
        let config = self.keeper.controller.config();
        if let Some(name) = &filter.listener
            && !config.listeners.iter().any(|listener| listener.name == *name)
        {
            self.kept_in_cookies(name)?;
            let known = config.listeners.iter().map(|listener| listener.name.as_str());
            return Err(CommandError::not_found("listener", name, known));
        }
        match &filter.backend {
            Some(name) => self.known_backend(name),
            None => Ok(()),
        }
    }

    fn known_backend(&self, name: &str) -> Result<(), CommandError> {
        let backends =
            || self.keeper.controller.config().pools.iter().flat_map(|pool| &pool.backends);
        if backends().any(|backend| backend.name == name) {
            return Ok(());
        }
        Err(CommandError::not_found("backend", name, backends().map(|b| b.name.as_str())))
    }

    fn set_intent(&mut self, name: &str, intent: Intent) -> Result<wire::IntentSet, CommandError> {
        self.known_backend(name)?;
        self.sweeps.freshen(&mut self.keeper.controller);
        let previous = self.keeper.controller.facts().intent.get(name).copied().unwrap_or_default();
        // On disk first: what the operator was told is done must survive a crash.
        let mut state = self.state.clone();
        if intent == Intent::Ready {
            state.intents.remove(name);
        } else {
            state.intents.insert(name.to_owned(), intent);
        }
        state.save(&self.keeper.controller.config().agent.state).map_err(internal)?;
        self.state = state;
        self.keeper.set_intent(name, intent).map_err(|error| {
            CommandError::Internal(format!("{error}; it is noted, and tried again"))
        })?;
        info!("{name}: {previous} -> {intent}, by the operator");
        let status = self.keeper.controller.status().map_err(internal)?;
        let backend = status
            .backends
            .iter()
            .find(|backend| backend.name == name)
            .map(answers::backend)
            .ok_or_else(|| CommandError::Internal(format!("{name} is not in the status")))?;
        let http = answers::http::backend(
            self.keeper.controller.config(),
            &self.sidecar.standing().totals,
            name,
            SystemTime::now(),
        );
        Ok(wire::IntentSet { previous, backend, http, counted_ms_ago: self.counted_ms_ago() })
    }

    async fn reload(&mut self) -> Result<wire::Reloaded, CommandError> {
        let outcome = self.try_reload().await;
        let noted = match &outcome {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(reasons)) => Err(reasons.join("; ")),
            Err(other) => Err(other.to_string()),
        };
        match &noted {
            Ok(()) => info!("{}: reloaded", self.config_path.display()),
            Err(reason) => warn!("{}: refused: {reason}", self.config_path.display()),
        }
        self.last_reload = Some((SystemTime::now(), noted));
        memory::give_back();
        outcome
    }

    /// All or nothing: everything that can be refused is refused before the first change.
    async fn try_reload(&mut self) -> Result<wire::Reloaded, CommandError> {
        let refused = |reasons: Vec<String>| CommandError::Refused(reasons);
        let config = config::load(&self.config_path).map_err(|errors| {
            refused(errors.as_slice().iter().map(ToString::to_string).collect())
        })?;
        let old = self.keeper.controller.config().clone();
        let mut reasons = changes::need_restart(&old.agent, &config.agent, &self.config_path);
        let problems = preflight::check(&config);
        reasons.extend(problems.iter().map(|problem| problem.describe(&self.config_path)));
        if !reasons.is_empty() {
            return Err(refused(reasons));
        }
        self.sidecar.accept(&config).map_err(|error| refused(vec![error.to_string()]))?;
        self.load_what_is_needed(&config).await?;
        let added: Vec<String> = config
            .agent
            .interfaces
            .iter()
            .filter(|name| !old.agent.interfaces.contains(name))
            .cloned()
            .collect();
        let attached = if added.is_empty() && old.agent.interfaces == config.agent.interfaces {
            None
        } else {
            let attached = network::attach(&mut self.loaded, &config.agent, &self.netlink).await;
            let why = |error| changes::refused_attach(&error, &config.agent, &self.config_path);
            Some(attached.map_err(|error| refused(vec![why(error)]))?)
        };
        if let Err(error) = self.keeper.configure(&config) {
            network::detach_others(&old.agent);
            return Err(match preflight::no_room(&error) {
                Some(problem) => refused(vec![problem.describe(&self.config_path)]),
                None if matches!(error, ControlError::Limit { .. }) => {
                    refused(vec![error.to_string()])
                }
                None => internal(error),
            });
        }
        if let Some(attached) = attached {
            self.interfaces = attached;
            network::detach_others(&config.agent);
        }
        self.told = None;
        self.checks.configure(&config.pools);
        self.watch.configure(Wanted {
            targets: targets(&config.pools),
            attached: config.agent.interfaces.clone(),
        });
        self.state
            .intents
            .retain(|name, _| self.keeper.controller.facts().intent.contains_key(name));
        if let Some(outcome) = ended(&mut self.placing).await {
            self.placed(outcome);
        }
        let placed = self.place().await;
        self.placed(Ok(placed));
        self.save();
        Ok(wire::Reloaded {
            config: self.config_path.display().to_string(),
            changes: changes::describe(&old, &config),
        })
    }
}

impl Writer {
    /// Puts a program that knows more in the place of the one that runs, where the configuration
    /// needs that; no packet notices.
    async fn load_what_is_needed(&mut self, config: &Config) -> Result<(), CommandError> {
        let needed = Model::new(config).features();
        if self.loaded.features().have(needed) {
            return Ok(());
        }
        let old = self.keeper.controller.config();
        let agent = old.agent.clone();
        let mut loaded = loader::load(&loader::Options {
            object: OBJECT,
            directory: &agent.bpffs,
            limits: &old.limits,
            seed: self.state.seed(),
            packet_events: agent.packet_events,
            features: self.loaded.features().with(needed),
            test_clock: false,
        })
        .map_err(internal)?;
        if agent.packet_events {
            log_packets(&mut loaded).map_err(internal)?;
        }
        // By the links that are there: each packet meets the old program or the new one.
        self.interfaces =
            network::attach(&mut loaded, &agent, &self.netlink).await.map_err(internal)?;
        self.loaded = loaded;
        Ok(())
    }
}

/// What a task ended with; `None` where there is none.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Option<Result<T, JoinError>> {
    match task {
        Some(task) => Some(task.await),
        None => None,
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> CommandError {
    error!("{error}");
    CommandError::Internal(error.to_string())
}

/// When to sweep.
pub(super) struct Sweeps {
    next: Instant,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Sweeps {
    /// The first one soon: it counts what is held.
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + Duration::from_secs(1), began: None, ended: None }
    }

    /// Sweeps now if the last sweep was long ago, unless the tables are so large that who asked
    /// would wait for it.
    fn freshen(&mut self, controller: &mut Controller<KernelMaps>) {
        let until = Instant::now() + COUNT_WITHIN;
        let before = self.ended;
        if before.is_some_and(|ended| ended.elapsed() < COUNTED_WITHIN) {
            return;
        }
        while self.ended == before && Instant::now() < until {
            self.step(controller);
        }
    }

    fn step(&mut self, controller: &mut Controller<KernelMaps>) {
        let began = *self.began.get_or_insert_with(Instant::now);
        match controller.sweep_step() {
            Ok(Progress::More) => return,
            Ok(Progress::Done(outcome)) => debug!("swept: {outcome:?}"),
            Err(error) => error!("sweep: {error}"),
        }
        self.began = None;
        self.ended = Some(Instant::now());
        let pause = (began.elapsed() * SWEEP_SHARE).max(SWEEP_EVERY);
        self.next = Instant::now() + pause;
    }
}
