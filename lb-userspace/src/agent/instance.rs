//! What makes an instance one: its lock, and the state that outlives the kernel's memory of it.
//!
//! Owns the state directory. The seed must not change while pins may be lost and found again by
//! the hash (P8); operator intent must not be forgotten by a restart or a reboot.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use lb_common::hash::Seed;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::control::facts::Intent;

/// The instance cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another agent has it.
    #[error("{path}: another holdfast agent runs on this instance; stop it first")]
    Taken {
        /// What is locked.
        path: PathBuf,
    },
    /// A file or directory.
    #[error("{path}: cannot {operation}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The state is not what was written.
    #[error(
        "{path} is damaged ({source}); it holds the secret seed: restore it, or remove it and lose \
         where lost pins lead"
    )]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

/// The instance is this process's while this lives.
#[derive(Debug)]
pub struct Lock {
    held: Vec<Flock<File>>,
}

impl Lock {
    /// Takes the instance of these directories: one lock in each, so that two configurations that
    /// share only one of them are told apart too. Makes both, with mode 0700.
    pub fn take(state: &Path, bpffs: &Path) -> Result<Self, InstanceError> {
        make(state)?;
        let path = state.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path, "open"))?;
        let state = lock(&path, file)?;
        make(bpffs)?;
        let mut taken = Self { held: vec![state] };
        taken.add(bpffs)?;
        Ok(taken)
    }

    /// Takes another directory too: one that takes the place of the instance's.
    pub fn add(&mut self, directory: &Path) -> Result<(), InstanceError> {
        let file = File::open(directory).map_err(failed(directory, "open"))?;
        self.held.push(lock(directory, file)?);
        Ok(())
    }
}

fn make(directory: &Path) -> Result<(), InstanceError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(failed(directory, "make the directory"))
}

/// An agent that was just killed holds its lock for a moment more.
const PATIENCE: Duration = Duration::from_millis(500);

fn lock(path: &Path, mut file: File) -> Result<Flock<File>, InstanceError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < until => {
                file = back;
                thread::sleep(PATIENCE / 50);
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                return Err(InstanceError::Taken { path: path.to_owned() });
            }
            Err((_, error)) => return Err(failed(path, "lock")(error.into())),
        }
    }
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> InstanceError {
    let path = path.to_owned();
    move |source| InstanceError::File { path, operation, source }
}

/// What the state file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Secret seed of every choice. The same on another node makes the same choices.
    pub seed: [u64; 2],
    /// Which count of backends' lives it is that runs: another one with each instance that begins
    /// anew in the kernel. 0: none has begun since this is noted.
    #[serde(default)]
    pub epoch: u32,
    /// What the operator wants of backends, by name; those that are to be in service are left out.
    #[serde(default)]
    pub intents: BTreeMap<String, Intent>,
    /// Listener addresses that the agent has put on interfaces.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

impl State {
    /// Reads the state; makes a new one, with a seed from the kernel's random source, where there
    /// is none.
    pub fn load(directory: &Path) -> Result<Self, InstanceError> {
        if let Some(state) = Self::read(directory)? {
            return Ok(state);
        }
        let random = || {
            getrandom::u64().map_err(|error| {
                failed(&path(directory), "get a random seed for")(io::Error::other(error))
            })
        };
        let seed = [random()?, random()?];
        let state = Self { seed, epoch: 0, intents: BTreeMap::new(), addresses: Vec::new() };
        state.save(directory)?;
        Ok(state)
    }

    /// Reads the state; `None` where there is none yet.
    pub fn read(directory: &Path) -> Result<Option<Self>, InstanceError> {
        let path = path(directory);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| InstanceError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, "read")(error)),
        }
    }

    /// Writes the state, mode 0600: the old one is there until the new one is whole and on disk.
    pub fn save(&self, directory: &Path) -> Result<(), InstanceError> {
        let write = || write_whole(directory, STATE, &serde_json::to_vec_pretty(self)?);
        write().map_err(failed(&path(directory), "write"))
    }

    /// Notes that backends' lives are counted from the beginning, if they are.
    pub fn begin_epoch(&mut self, directory: &Path, fresh: bool) -> Result<(), InstanceError> {
        if fresh || self.epoch == 0 {
            let random = getrandom::u32().map_err(|error| {
                failed(&path(directory), "get a random epoch for")(io::Error::other(error))
            })?;
            self.epoch = random.max(1);
            self.save(directory)?;
        }
        Ok(())
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed(self.seed)
    }
}

/// Its name in the state directory.
const STATE: &str = "state.json";

fn path(directory: &Path) -> PathBuf {
    directory.join(STATE)
}

/// Writes a file of the state directory, mode 0600: the old one is there until the new one is whole and
/// on disk.
pub(in crate::agent) fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn state_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().expect("directory");
        let mut state = State::load(directory.path()).expect("new");
        assert_ne!(state.seed, [0, 0]);
        state.intents.insert("web-1".to_owned(), Intent::Drain);
        state.addresses.push(IpAddr::from([192, 0, 2, 1]));
        state.save(directory.path()).expect("saved");
        assert_eq!(State::load(directory.path()).expect("there"), state);
        let mode = fs::metadata(path(directory.path())).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_state_is_refused_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        fs::write(path(directory.path()), "{\"seed\": [1").expect("written");
        let error = State::load(directory.path()).expect_err("damaged");
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!(fs::read(path(directory.path())).expect("file"), b"{\"seed\": [1");
    }

    #[test]
    fn one_agent_an_instance() {
        let directory = tempfile::tempdir().expect("directory");
        let (state, bpffs) = (directory.path().join("state"), directory.path().join("bpf"));
        let other = directory.path().join("other");
        let first = Lock::take(&state, &bpffs).expect("free");
        for taken in [Lock::take(&state, &bpffs), Lock::take(&other, &bpffs)] {
            assert!(matches!(taken, Err(InstanceError::Taken { .. })), "{taken:?}");
        }
        drop(first);
        Lock::take(&state, &bpffs).expect("free again");
    }

    #[test]
    fn an_instance_whose_agent_is_dying_is_waited_for() {
        let directory = tempfile::tempdir().expect("directory");
        let (state, bpffs) = (directory.path().join("state"), directory.path().join("bpf"));
        // Both locks, or only the second.
        for first in [state.clone(), directory.path().join("other")] {
            let dying = Lock::take(&first, &bpffs).expect("free");
            let dies = thread::spawn(move || {
                thread::sleep(PATIENCE / 5);
                drop(dying);
            });
            let lock = Lock::take(&state, &bpffs).expect("free in time");
            dies.join().expect("it died");
            drop(lock);
        }
    }

    #[test]
    fn an_instance_that_stays_taken_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let (state, bpffs) = (directory.path().join("state"), directory.path().join("bpf"));
        let _there = Lock::take(&state, &bpffs).expect("free");
        let start = Instant::now();
        let error = Lock::take(&state, &bpffs).expect_err("taken");
        assert!(start.elapsed() >= PATIENCE, "{:?}", start.elapsed());
        let path = state.join("lock").display().to_string();
        let text = error.to_string();
        assert!(text.starts_with(&path), "{text}");
        assert!(text.contains("another holdfast agent runs on this instance"), "{text}");
        // Its lock is as it was: nobody else gets in, and nothing was left half taken.
        let other = directory.path().join("other");
        Lock::take(&other, &bpffs).expect_err("taken");
    }
}
