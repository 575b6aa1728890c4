//! What only the machine can refuse: interfaces and what is on them, addresses, paths, privileges,
//! kernel features, port ranges, and the instance that is there already.
//!
//! Looks only; changes nothing. A configuration that passes here can be run by this process.

mod kernel;
mod network;
mod paths;
mod ports;

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use lb_common::nat::{FIRST_PORT, LAST_PORT};

use crate::{
    agent::{instance::State, sidecar::certificates},
    config::{
        Config, Forward,
        Step::{self, Item, Key},
        placed,
    },
    control::controller::{ControlError, fits},
    loader::{self, BUSY, LoadError},
    maps::kernel::KernelMaps,
};

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `agent.interfaces` names one that is not there.
    #[error("agent.interfaces: there is no interface `{name}`; this machine has {}", .present.join(", "))]
    NoInterface {
        /// Which one of `agent.interfaces`.
        index: usize,
        /// As configured.
        name: String,
        /// Those that are there, without the loopback.
        present: Vec<String>,
    },
    /// An interface of `agent.interfaces` carries a program that is not this instance's.
    #[error("agent.interfaces: {name}: {BUSY}")]
    ForeignProgram {
        /// Which one of `agent.interfaces`.
        index: usize,
        /// As configured.
        name: String,
    },
    /// A path of `[agent]` leads nowhere useful.
    #[error("agent.{key}: {path} cannot be used: {why}", path = .path.display())]
    Path {
        /// Which one.
        key: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is in the way.
        why: String,
    },
    /// `agent.bpffs` is not in a BPF file system.
    #[error(
        "agent.bpffs: {path} is not in a BPF file system; mount one with `{command}`",
        path = .path.display()
    )]
    NoBpffs {
        /// As configured.
        path: PathBuf,
        /// What mounts one in the right place.
        command: String,
    },
    /// A backend's address is this machine's own.
    #[error(
        "pool {pool:?}: backend {backend:?}: address {address} is this machine's own; allowed: an \
         address of another machine"
    )]
    OwnBackend {
        /// Which pool, and which backend of it.
        at: (usize, usize),
        /// The pool's name.
        pool: String,
        /// The backend's name.
        backend: String,
        /// Its address.
        address: IpAddr,
    },
    /// A source address that this machine does not have: answers would not come back.
    #[error(
        "pool {pool:?}: nat_sources = \"{address}\": this machine does not have that address; \
         allowed: an address of its interfaces"
    )]
    NoSource {
        /// Which pool, and which of its sources.
        at: (usize, usize),
        /// The pool's name.
        pool: String,
        /// The source.
        address: IpAddr,
    },
    /// The instance that is there cannot be taken over.
    #[error("{error}")]
    Instance {
        /// The key of `[limits]` that it is about.
        limit: Option<&'static str>,
        /// What starting would say.
        error: String,
    },
    /// The instance that is there has no room for it.
    #[error("{error}")]
    NoRoom {
        /// The key of `[limits]` that it is about.
        limit: &'static str,
        /// What a reload would say.
        error: String,
    },
    /// The machine's own connections could take the ports of translated flows.
    #[error(
        "pool.forward: `nat` gives flows the ports {FIRST_PORT} to {LAST_PORT}, but this machine's \
         own connections take theirs from {low} to {high}; keep them apart with \
         `sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"`, or with \
         `sysctl -w net.ipv4.ip_local_reserved_ports={FIRST_PORT}-{LAST_PORT}`"
    )]
    LocalPorts {
        /// Which pool is the first with `nat`.
        pool: usize,
        /// First of `net.ipv4.ip_local_port_range`.
        low: u16,
        /// Last of it.
        high: u16,
    },
    /// The process lacks capabilities.
    #[error(
        "no permission: this process lacks {}; run it as root or give it these capabilities",
        .missing.join(", ")
    )]
    Permission {
        /// Names as in capabilities(7).
        missing: Vec<&'static str>,
    },
    /// A certificate or key of layer 7 cannot be used.
    #[error("{error}")]
    Certificate {
        /// Its file, and what is wrong.
        error: String,
    },
    /// Nobody has the name that the sidecar is to run by.
    #[error("sidecar.user: this machine has no user {user:?} but root")]
    NoUser {
        /// As configured.
        user: String,
    },
    /// The kernel cannot do something that is needed.
    #[error("the kernel ({release}) has no {feature}; Linux {since} and later do")]
    Kernel {
        /// What `uname -r` says.
        release: String,
        /// In words.
        feature: &'static str,
        /// First version that has it.
        since: &'static str,
    },
    /// A look at the machine failed.
    #[error("cannot find out {what}: {error}")]
    Unknown {
        /// What was to be found out.
        what: String,
        /// The error.
        error: String,
    },
}

impl Problem {
    /// Is it only that this process may not, so that another might?
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        matches!(self, Self::Permission { .. })
    }

    /// The problem, with its place in the configuration file where it has one there.
    #[must_use]
    pub fn describe(&self, file: &Path) -> String {
        match self.steps() {
            Some(steps) => placed(file, &steps, self),
            None => self.to_string(),
        }
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let pool = |index| vec![Key("pool"), Item(index)];
        match self {
            Self::NoInterface { index, .. } | Self::ForeignProgram { index, .. } => {
                Some(vec![Key("agent"), Key("interfaces"), Item(*index)])
            }
            Self::Path { key, .. } => Some(vec![Key("agent"), Key(key)]),
            Self::NoBpffs { .. } => Some(vec![Key("agent"), Key("bpffs")]),
            Self::OwnBackend { at: (place, index), .. } => {
                let backend = [Key("backend"), Item(*index), Key("address")];
                Some([pool(*place), backend.into()].concat())
            }
            Self::NoSource { at: (place, index), .. } => {
                Some([pool(*place), vec![Key("nat_sources"), Item(*index)]].concat())
            }
            Self::Instance { limit, .. } => {
                Some(limit.map_or(vec![Key("agent"), Key("bpffs")], |limit| {
                    vec![Key("limits"), Key(limit)]
                }))
            }
            Self::NoRoom { limit, .. } => Some(vec![Key("limits"), Key(limit)]),
            Self::LocalPorts { pool: place, .. } => {
                Some([pool(*place), vec![Key("forward")]].concat())
            }
            Self::NoUser { .. } => Some(vec![Key("sidecar"), Key("user")]),
            Self::Permission { .. }
            | Self::Certificate { .. }
            | Self::Kernel { .. }
            | Self::Unknown { .. } => None,
        }
    }
}

/// What a look at the machine finds.
#[derive(Debug, Default)]
pub struct Findings {
    /// What keeps this process from running the configuration.
    pub problems: Vec<Problem>,
    /// What is worth a word and keeps it from nothing.
    pub notes: Vec<String>,
}

impl Findings {
    /// What this process may not look at is a note, for who only wants to know of the rest.
    pub fn excuse_permission(&mut self) {
        let Self { problems, notes } = self;
        problems.retain(|problem| {
            let Problem::Permission { missing } = problem else { return true };
            notes.insert(
                0,
                format!(
                    "not looked at, since this process lacks {}: whether the kernel has all that is \
                     needed, which XDP programs are on the interfaces, the instance and the state \
                     that are there; run it as root for that",
                    missing.join(", ")
                ),
            );
            false
        });
    }
}

/// Everything that keeps this process from running `config` on this machine, as in [`look`].
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    look(config).problems
}

/// Looks at this machine, for `config`. Takes a few milliseconds. What takes privileges to find out
/// is left out where [`Problem::Permission`] is in the answer.
#[must_use]
pub fn look(config: &Config) -> Findings {
    let agent = &config.agent;
    let mut found = Findings::default();
    let problems = &mut found.problems;
    match network::interfaces() {
        Ok(present) => problems.extend(network::missing_interfaces(&agent.interfaces, &present)),
        Err(error) => problems.push(unknown("which interfaces there are", &error)),
    }
    let mut privileged = false;
    match fs::read_to_string("/proc/self/status") {
        Ok(status) => {
            let missing = kernel::missing_capabilities(&status);
            privileged = missing.is_empty();
            if privileged {
                problems.extend(kernel::kernel());
            } else {
                problems.push(Problem::Permission { missing });
            }
        }
        Err(error) => problems.push(unknown("this process's capabilities", &error)),
    }
    let (wrong, state) = paths::check(agent, privileged);
    problems.extend(wrong);
    if privileged {
        problems.extend(instance(config));
    }
    match network::ask(config, state.as_ref().map_or(&[], |state| &state.addresses)) {
        Ok(network) => {
            if privileged {
                problems.extend(network.foreign_programs(config));
            }
            problems.extend(network.addresses(config));
            found.notes = network.neighbours(config);
        }
        Err(problem) => problems.push(problem),
    }
    if privileged && let Some(version) = loader::older_version(&agent.bpffs) {
        found.notes.push(format!(
            "{}: an instance of an earlier version is there (layout {version}); `run` takes it over \
             with its pins, while connections that neither pin nor hash place again break",
            agent.bpffs.display()
        ));
    }
    let translates = |&pool: &usize| {
        config.pools[pool].forward == Forward::Nat && !config.serves_requests_only(pool)
    };
    let nat = (0..config.pools.len()).find(translates);
    found.problems.extend(nat.and_then(ports::check));
    if privileged {
        found.problems.extend(layer_7(config));
    }
    found
}

/// What keeps the sidecar from serving.
fn layer_7(config: &Config) -> Vec<Problem> {
    let wrong = certificates::check(config).into_iter();
    let mut problems: Vec<Problem> =
        wrong.map(|error| Problem::Certificate { error: error.to_string() }).collect();
    let user = &config.sidecar.user;
    let found = nix::unistd::User::from_name(user);
    let fits = matches!(found, Ok(Some(found)) if !found.uid.is_root());
    if !config.http_listeners.is_empty() && !fits {
        problems.push(Problem::NoUser { user: user.clone() });
    }
    problems
}

/// Can the instance that is there be taken over?
fn instance(config: &Config) -> Option<Problem> {
    let error = loader::check_instance(&config.agent.bpffs, &config.limits).err()?;
    let limit = if let LoadError::OtherLimit { limit, .. } = &error { Some(*limit) } else { None };
    Some(Problem::Instance { limit, error: error.to_string() })
}

/// Has the instance that is there room for `config`? A reload finds that out by itself; this is for
/// who only asks. `None` also where this process may not look.
#[must_use]
pub fn room(config: &Config) -> Option<Problem> {
    let agent = &config.agent;
    let state = State::read(&agent.state).ok()??;
    let maps = KernelMaps::look(&agent.bpffs, state.seed()).ok()?;
    no_room(&fits(&maps, config).err()?)
}

/// What of an error of the controller is about room.
#[must_use]
pub fn no_room(error: &ControlError) -> Option<Problem> {
    let ControlError::Full(full) = error else { return None };
    Some(Problem::NoRoom { limit: full.limit, error: full.to_string() })
}

fn unknown(what: &str, error: &dyn std::error::Error) -> Problem {
    Problem::Unknown { what: what.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_looked_at_is_a_note_to_who_only_checks() {
        let no_bpffs = || Problem::NoBpffs { path: "/b".into(), command: "mount".into() };
        let missing = vec!["CAP_BPF", "CAP_NET_ADMIN"];
        let mut found = Findings {
            problems: vec![Problem::Permission { missing }, no_bpffs()],
            notes: vec!["many".to_owned()],
        };
        found.excuse_permission();
        assert_eq!(found.problems, [no_bpffs()]);
        assert_eq!(found.notes.len(), 2);
        assert!(found.notes[0].contains("lacks CAP_BPF, CAP_NET_ADMIN"), "{:?}", found.notes);
        found.excuse_permission();
        assert_eq!(found.notes.len(), 2);
    }

    #[test]
    fn places() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("h.toml");
        let text = "[agent]\ninterfaces = [\"a\", \"b\"]\nstate = \"/s\"\n[limits]\npins = 2000\n\
                    [[pool]]\nname = \"p\"\n[[pool]]\nname = \"q\"\nforward = \"nat\"\n\
                    nat_sources = [\"10.0.0.1\",\n \"10.0.0.2\"]\n[[pool.backend]]\nname = \"x\"\n\
                    address = \"10.0.0.9\"\n";
        fs::write(&file, text).expect("written");
        let check = |problem: Problem, place: &str| {
            let want = format!("{}:{place}: {problem}", file.display());
            assert_eq!(problem.describe(&file), want);
        };
        let name = || "b".to_owned();
        check(Problem::NoInterface { index: 1, name: name(), present: vec![] }, "2:20");
        check(Problem::ForeignProgram { index: 0, name: name() }, "2:15");
        let path = |key| Problem::Path { key, path: "/s".into(), why: "it is so".into() };
        check(path("state"), "3:9");
        check(path("admin"), "1:1");
        check(Problem::NoBpffs { path: "/b".into(), command: "mount".into() }, "1:1");
        let address = IpAddr::from([10, 0, 0, 9]);
        let (pool, backend) = ("q".to_owned(), "x".to_owned());
        check(Problem::NoSource { at: (1, 1), pool: pool.clone(), address }, "12:2");
        check(Problem::OwnBackend { at: (1, 0), pool, backend, address }, "15:11");
        let instance = |limit| Problem::Instance { limit, error: "other".into() };
        check(instance(Some("pins")), "5:8");
        check(instance(Some("flows")), "4:1");
        check(instance(None), "1:1");
        check(Problem::NoRoom { limit: "pins", error: "none".into() }, "5:8");
        check(Problem::LocalPorts { pool: 1, low: 1, high: 2 }, "10:11");
        let permission = Problem::Permission { missing: vec!["CAP_BPF"] };
        assert_eq!(permission.describe(&file), permission.to_string());
    }
}
