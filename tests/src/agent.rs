//! The agent under test, as people use it: the binary `holdfast` and its command line.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use lb_userspace::api::wire::{Backend, BackendState, Health, Session, SessionsPage, Status};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{cleanup, netns::Namespace, topology::Lab, wait};

/// How long the agent may take for what it does at once: most of it is for machines that are
/// emulated.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A configuration in a lab, and the binary that is to run it.
#[derive(Debug, Clone)]
pub struct Holdfast {
    binary: PathBuf,
    balancer: Namespace,
    /// The configuration file.
    pub config: PathBuf,
    /// Where the agent's output goes.
    pub log: PathBuf,
    socket: PathBuf,
}

impl Holdfast {
    /// For the binary that `cargo xtask test` has built.
    ///
    /// # Panics
    ///
    /// When it does not say which one that is.
    #[must_use]
    pub fn new(lab: &Lab, configuration: &str) -> Self {
        let binary = env::var_os("HOLDFAST_BIN").map(PathBuf::from);
        let binary = binary.expect("HOLDFAST_BIN is set: run this by `cargo xtask test netns`");
        // The same places in every run: a dozen clients of a random seed leave a backend without
        // any now and then.
        let state = lab.folder().join("state");
        fs::create_dir_all(&state).unwrap_or_else(|e| panic!("{}: {e}", state.display()));
        let _path = lab.write("state/state.json", "{\"seed\": [20071, 4711]}");
        Self::with(binary, lab, configuration)
    }

    /// For this binary.
    ///
    /// # Panics
    ///
    /// When the configuration cannot be written.
    #[must_use]
    pub fn with(binary: PathBuf, lab: &Lab, configuration: &str) -> Self {
        Self {
            binary,
            balancer: lab.balancer.clone(),
            config: lab.write("holdfast.toml", configuration),
            log: lab.folder().join("agent.log"),
            socket: lab.folder().join("admin.sock"),
        }
    }

    /// The same with another binary.
    #[must_use]
    pub fn by(&self, binary: &Path) -> Self {
        Self { binary: binary.to_owned(), ..self.clone() }
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a verb in the balancer's namespace to its end; arguments are separated by spaces.
    ///
    /// # Panics
    ///
    /// When it cannot be run.
    #[must_use]
    pub fn try_verb(&self, arguments: &str) -> Output {
        let mut command = self.balancer.command(&self.binary);
        command.arg("--socket").arg(&self.socket).args(arguments.split_whitespace());
        command.stdin(Stdio::null()).env("NO_COLOR", "1");
        command.output().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()))
    }

    /// Runs a verb that must succeed, and returns what it prints.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "many verbs are for what they do")]
    pub fn verb(&self, arguments: &str) -> String {
        let output = self.try_verb(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "holdfast {arguments}: {error}{}", self.last_words());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A verb with `--config` and the configuration file.
    ///
    /// # Panics
    ///
    /// When it cannot be run.
    #[must_use]
    pub fn try_with_config(&self, verb: &str) -> Output {
        self.try_verb(&format!("{verb} --config {}", self.config.display()))
    }

    /// What `status` says.
    ///
    /// # Panics
    ///
    /// When no agent answers.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        serde_json::from_str(&self.verb("status --json")).expect("a status")
    }

    /// What `status` says, if an agent answers.
    ///
    /// # Panics
    ///
    /// When the answer is no status.
    #[must_use]
    pub fn try_status(&self) -> Option<Status> {
        let output = self.try_verb("status --json");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("a status"))
    }

    /// Every session.
    ///
    /// # Panics
    ///
    /// When no agent answers.
    #[must_use]
    #[track_caller]
    pub fn sessions(&self) -> Vec<Session> {
        let page: SessionsPage =
            serde_json::from_str(&self.verb("sessions --all --json")).expect("sessions");
        page.sessions
    }

    /// Waits until `status` is as wanted.
    ///
    /// # Panics
    ///
    /// When it does not become so.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let start = Instant::now();
        loop {
            let status = self.try_status();
            if let Some(status) = &status
                && wanted(status)
            {
                return status.clone();
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain until {what}; status: {status:#?}{}",
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a backend is in this state.
    ///
    /// # Panics
    ///
    /// When it does not come to be.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "waiting is what it is for")]
    pub fn until_backend(&self, name: &str, state: BackendState) -> Status {
        self.until(&format!("{name} is {state:?}"), |status| {
            status.backends.iter().any(|backend| backend.name == name && backend.state == state)
        })
    }

    /// Starts the agent, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Agent {
        let agent = self.start_only();
        self.until("the agent answers", |_| true);
        agent
    }

    /// Starts the agent, and waits until every backend is in service.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    #[must_use]
    #[track_caller]
    pub fn start_ready(&self) -> Agent {
        let agent = self.start_only();
        self.until("every backend is in service", all_ready);
        agent
    }

    /// Starts the agent, and waits until these backends are in these states and all others are in
    /// service.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    #[must_use]
    #[track_caller]
    pub fn start_ready_but(&self, others: &[(&str, BackendState)]) -> Agent {
        let agent = self.start_only();
        self.until("backends are as they should be", |status| {
            status.backends.iter().all(|backend| {
                let other = others.iter().find(|(name, _)| *name == backend.name);
                let state = other.map_or(BackendState::Ready, |(_, state)| *state);
                backend.state == state && backend.health == Health::Up && backend.reach.known
            })
        });
        agent
    }

    /// Starts the agent.
    ///
    /// # Panics
    ///
    /// When there is no such program.
    #[must_use]
    pub fn start_only(&self) -> Agent {
        let log = File::options().create(true).append(true).open(&self.log).expect("agent.log");
        let mut command = self.balancer.command(&self.binary);
        command.args(["run", "--config"]).arg(&self.config).env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a handle")).stderr(log);
        // Ctrl-C is for the test, which then takes down all.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let _gate = cleanup::gate();
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()));
        Agent { child: Some(child) }
    }

    /// The end of the agent's output, for a message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
        format!("\n--- the agent said last:\n{}\n---", end.join("\n"))
    }
}

/// What a verb ended with: its exit status, and everything that it printed.
#[must_use]
pub fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Checks that a verb ended with this status, and printed all of these.
///
/// # Panics
///
/// When it did not.
#[track_caller]
pub fn check_refused(output: &Output, status: i32, parts: &[&str]) {
    let (code, text) = said(output);
    assert_eq!(code, Some(status), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

/// Is the way to every backend known, and every one in service?
#[must_use]
pub fn all_ready(status: &Status) -> bool {
    let ready = |backend: &Backend| {
        backend.state == BackendState::Ready && backend.health == Health::Up && backend.reach.known
    };
    !status.backends.is_empty() && status.backends.iter().all(ready)
}

/// A running agent; dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    child: Option<Child>,
}

impl Agent {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.end(Signal::SIGKILL);
    }

    /// SIGTERM; returns its exit status.
    ///
    /// # Panics
    ///
    /// When it does not end.
    #[must_use]
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.exit_status()
    }

    /// Waits until it ends by itself; its exit status.
    ///
    /// # Panics
    ///
    /// When it does not end.
    #[must_use]
    pub fn exit_status(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        wait::until("the agent ends", PATIENCE, || child.try_wait().expect("a child")).code()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it does not run any more.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(pid(child), signal).expect("it runs");
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// When it was ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Leaves it running when this is dropped.
    pub fn keep(mut self) {
        self.child = None;
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            kill(pid(&child), signal).ok();
            child.wait().ok();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}
