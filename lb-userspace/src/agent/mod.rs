//! The running agent: what is started in which order, and the task that changes the maps.

pub mod answers;
pub mod changes;
mod explain;
pub mod instance;
mod keeper;
mod layer7;
mod network;
mod news;
pub mod sidecar;
mod writer;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{info, warn};

use self::{
    instance::{Lock, State},
    keeper::Keeper,
    sidecar::Sidecar,
    writer::{Inputs, Sweeps, Writer},
};
use crate::{
    api,
    config::Config,
    control::controller::Controller,
    health::Checks,
    loader::{self, Loaded, Made, Options},
    maps::LbMaps,
    memory,
    model::Model,
    net::{
        self,
        reach::targets,
        watch::{Wanted, Watch},
    },
    object::OBJECT,
    preflight,
    upgrade::{self, Upgrade},
};

/// Facts that may wait for the writer: of as many backends as there can be, so that it can act on
/// all of them together.
const FACTS: usize = 65_535;
/// The data path's debug events are read this often; what does not fit into their buffer
/// meanwhile is lost.
const PACKET_EVENTS_EVERY: Duration = Duration::from_millis(50);
/// Commands that may wait for it.
const COMMANDS: usize = 64;

/// Runs the agent until SIGINT or SIGTERM. Traffic goes on afterwards.
pub async fn run(config: Config, config_path: &Path) -> anyhow::Result<()> {
    let started = SystemTime::now();
    raise_file_limit();
    let agent = config.agent.clone();
    let fresh = !agent.bpffs.exists() && !upgrade::next(&agent.bpffs).exists();
    let mut lock = Lock::take(&agent.state, &agent.bpffs)?;
    if upgrade::settle(&agent.bpffs)? {
        lock.add(&agent.bpffs)?;
    }
    // A start that is refused from here on leaves nothing in the kernel.
    let made = Made::from_now(&agent.bpffs, fresh)
        .with_context(|| format!("cannot look into {}", agent.bpffs.display()))?;
    let server = api::Server::bind(&agent.admin)
        .with_context(|| format!("cannot serve the admin API on {}", agent.admin.display()))?;
    let mut state = State::load(&agent.state)?;
    loader::check_instance(&agent.bpffs, &config.limits)?;
    let mut upgrade = Upgrade::of(&agent.bpffs)?;
    let mut loaded = loader::load(&Options {
        object: OBJECT,
        directory: upgrade.as_ref().map_or(&agent.bpffs, Upgrade::place),
        limits: &config.limits,
        seed: state.seed(),
        packet_events: agent.packet_events,
        features: Model::new(&config).features(),
        test_clock: false,
    })?;
    if agent.packet_events {
        log_packets(&mut loaded)?;
    }

    if let Some(upgrade) = &mut upgrade {
        lock.add(upgrade.place())?;
        upgrade.fill(&mut loaded.maps()?)?;
        loaded.take_links_from(&agent.bpffs);
    }
    let mut controller = Controller::new(loaded.maps()?, config.clone(), state.seed())?;
    begin(&mut controller, &state, config_path)?;
    let netlink = net::connect()?;
    let interfaces = match network::attach(&mut loaded, &agent, &netlink).await {
        Ok(interfaces) => interfaces,
        Err(error) => bail!(changes::refused_attach(&error, &agent, config_path)),
    };
    if let Some(upgrade) = upgrade {
        upgrade.finish(controller.maps_mut())?;
        loaded.moved_to(&agent.bpffs);
    }
    state.begin_epoch(&agent.state, fresh)?;
    let sidecar = Sidecar::start(&config, state.epoch, state.seed).await?;
    network::detach_others(&agent);
    made.keep();
    memory::give_back();

    let (health_sender, health) = mpsc::channel(FACTS);
    let (reach_sender, reach) = mpsc::channel(FACTS);
    let (reload_sender, reload) = mpsc::channel(1);
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let mut checks = Checks::new(health_sender);
    checks.configure(&config.pools);
    let wanted = Wanted { targets: targets(&config.pools), attached: agent.interfaces.clone() };
    let watch = Watch::start(wanted, reach_sender);
    let writer = Writer {
        keeper: Keeper::new(controller),
        loaded,
        interfaces,
        config_path: config_path.to_owned(),
        state,
        checks,
        watch,
        netlink,
        started,
        last_reload: None,
        sweeps: Sweeps::new(),
        placing: None,
        sidecar,
        told: None,
    };
    let writer = tokio::spawn(writer.run(Inputs { commands, health, reach, reload }));
    info!("holdfast {} runs, {}", env!("CARGO_PKG_VERSION"), config_path.display());

    let hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    let forward = tokio::spawn(forward(hang_up, reload_sender));
    let (stop_sender, stop) = oneshot::channel::<()>();
    let api_task = tokio::spawn(server.serve(command_sender, async {
        // Sent or dropped: it is time to stop either way.
        drop(stop.await);
    }));
    let ended = tokio::select! {
        signal = stop_signal() => {
            info!("{}: stopping; traffic goes on", signal?);
            Ok(())
        }
        ended = writer => match ended {
            Ok(()) => bail!("the writer task ended"),
            Err(error) => Err(error).context("the writer task failed"),
        },
    };
    forward.abort();
    drop(stop_sender);
    // A request under way gets its answer, or an error: the writer may be gone.
    let _ended = tokio::time::timeout(Duration::from_secs(3), api_task).await;
    ended
}

/// Brings the maps to what configuration and operator want.
fn begin<M: LbMaps>(
    controller: &mut Controller<M>,
    state: &State,
    config_path: &Path,
) -> anyhow::Result<()> {
    for (backend, intent) in &state.intents {
        if controller.set_intent(backend, *intent).is_err() {
            warn!("{backend}: {intent} was wanted of it, but it is not in the configuration");
        }
    }
    if let Err(error) = controller.apply() {
        match preflight::no_room(&error) {
            Some(problem) => bail!(problem.describe(config_path)),
            None => return Err(error.into()),
        }
    }
    Ok(())
}

async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

async fn forward(mut hang_up: Signal, reload: mpsc::Sender<()>) {
    while hang_up.recv().await.is_some() {
        // A reload that waits already will read the newest file.
        let _full = reload.try_send(());
    }
}

/// A descriptor a probe: the usual limit of 1,024 is too low for thousands of backends.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("the limit of open files stays as it is: {error}");
    }
}

/// Hands the data path's debug events to the agent's log.
pub(super) fn log_packets(loaded: &mut Loaded) -> anyhow::Result<()> {
    let mut logger = aya_log::EbpfLogger::init(&mut loaded.ebpf).context("packet events")?;
    let mut every = tokio::time::interval(PACKET_EVENTS_EVERY);
    tokio::spawn(async move {
        loop {
            let _now = every.tick().await;
            logger.flush();
        }
    });
    Ok(())
}

/// Takes the program off every interface, the listener addresses too, and removes all state in
/// the kernel; seed and operator intent stay.
pub async fn detach(config: &Config) -> anyhow::Result<()> {
    let agent = &config.agent;
    let _lock = Lock::take(&agent.state, &agent.bpffs)?;
    sidecar::end(&agent.admin).await;
    let mut state = State::load(&agent.state)?;
    upgrade::detach(&agent.bpffs)?;
    let changes = network::remove_addresses(&state).await?;
    state.addresses = changes.own;
    state.save(&agent.state)?;
    match changes.failed.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
