//! `holdfast`: start-up only; what the verbs do is the library's business.

use std::{
    io::{IsTerminal as _, stderr, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use lb_userspace::{
    agent,
    cli::{
        self, CheckArgs, Cli, FAILED, OK, Verb,
        check::{NOT_HERE, NOT_IN_ORDER},
    },
    config::{self, Config},
    l7::process,
    memory,
    preflight::{self, Problem},
};
use tracing_subscriber::EnvFilter;

/// Requests take and give back memory all the time; by measurement (`cargo xtask bench l7`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::ServeHttp(arguments) = &cli.verb {
        return sidecar(&arguments.user);
    }
    memory::frugal();
    let outcome = match &cli.verb {
        Verb::Client(verb) => return cli::client::run(&cli.socket, verb),
        Verb::Check(arguments) => return check(arguments),
        Verb::Decap(arguments) => return cli::decap::run(arguments, &mut stdout(), &mut stderr()),
        Verb::ServeHttp(_) => unreachable!("above"),
        Verb::Run(file) => match accepted(&file.config, false, For::Run) {
            Err(code) => return code,
            Ok((config, notes)) => run(config, &notes, &file.config),
        },
        Verb::Detach(file) => match accepted(&file.config, false, For::Detach) {
            Err(code) => return code,
            Ok((config, _)) => {
                runtime().and_then(|runtime| runtime.block_on(agent::detach(&config)))
            }
        },
    };
    match outcome {
        Ok(()) => OK.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED.into()
        }
    }
}

fn sidecar(user: &str) -> ExitCode {
    log_to_stderr("info");
    // SAFETY: the agent starts this verb with that descriptor, and nothing else has run yet.
    match unsafe { process::run(user) } {
        Ok(()) => OK.into(),
        Err(error) => {
            tracing::error!("sidecar: {error:#}");
            FAILED.into()
        }
    }
}

/// `level`: unless the environment has another.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
}

fn run(config: Config, notes: &[String], path: &Path) -> anyhow::Result<()> {
    log_to_stderr(if config.agent.packet_events { "info,lb_ebpf=debug" } else { "info" });
    for note in notes {
        tracing::warn!("{note}");
    }
    // The file is read again on reload, wherever the working directory is then.
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    runtime()?.block_on(agent::run(config, &path))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The writer blocks a thread now and then; the other answers meanwhile.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// What a configuration is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// To run: all must be right.
    Run,
    /// To check: as far as this process may look.
    Check,
    /// To detach: that takes privileges only.
    Detach,
}

/// The configuration with what is worth a word about it on this machine; or the exit status, after
/// saying what is wrong with either.
fn accepted(path: &Path, json: bool, wanted: For) -> Result<(Config, Vec<String>), ExitCode> {
    let refused = |what: &str, errors: &[String]| {
        cli::check::refused(path, what, errors, json, &mut stdout(), &mut stderr())
    };
    let config = config::load(path).map_err(|errors| {
        let errors: Vec<String> = errors.as_slice().iter().map(ToString::to_string).collect();
        refused(NOT_IN_ORDER, &errors)
    })?;
    let mut found = preflight::look(&config);
    match wanted {
        For::Run => {}
        For::Check => {
            found.excuse_permission();
            if found.problems.is_empty() {
                found.problems.extend(preflight::room(&config));
            }
        }
        For::Detach => found.problems.retain(Problem::is_permission),
    }
    let problems: Vec<String> =
        found.problems.iter().map(|problem| problem.describe(path)).collect();
    if problems.is_empty() { Ok((config, found.notes)) } else { Err(refused(NOT_HERE, &problems)) }
}

fn check(arguments: &CheckArgs) -> ExitCode {
    let (config, notes) = match accepted(&arguments.config, arguments.json, For::Check) {
        Ok(accepted) => accepted,
        Err(code) => return code,
    };
    let cpus = aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    cli::check::accepted(
        &arguments.config,
        &config,
        &notes,
        cpus,
        arguments.json,
        &mut stdout(),
        &mut stderr(),
    )
}
