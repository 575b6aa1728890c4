//! Leaves nothing behind: takes labs down when they are dropped, when a signal ends the process,
//! and those that a killed process left.
//!
//! A lab is known by its stem: its namespaces' names begin with it, its folder under `/run` is
//! named after it, and the processes to end are those in its namespaces. So nothing needs to be
//! remembered, and nobody else's is ever touched.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::netns;

/// What a lab of a test is named with, before the process's id.
pub const PREFIX: &str = "hf-";

/// The stems to take down when a signal comes.
static LABS: Mutex<Vec<String>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal ends this process: what fails from now on fails because of that.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Held while something is made in a lab, so that a signal takes down all of it or comes before.
pub fn gate() -> MutexGuard<'static, Vec<String>> {
    LABS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of a lab.
#[must_use]
pub fn folder(stem: &str) -> PathBuf {
    Path::new("/run").join(stem)
}

/// Where its BPF file system is mounted.
#[must_use]
pub fn bpffs(stem: &str) -> PathBuf {
    folder(stem).join("bpf")
}

/// A lab's stem, from before the lab is made; the lab is taken down when it is dropped, and also
/// if a signal ends this process.
#[derive(Debug)]
pub struct Stem(String);

impl Stem {
    /// For a lab that is about to be made.
    #[must_use]
    pub fn new(stem: &str) -> Self {
        static SIGNALS: Once = Once::new();
        SIGNALS.call_once(|| {
            thread::spawn(wait_for_signals);
        });
        gate().push(stem.to_owned());
        Self(stem.to_owned())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Leaves the lab there when this process ends.
    pub fn keep(self) {
        gate().retain(|known| *known != self.0);
        std::mem::forget(self);
    }
}

impl Drop for Stem {
    fn drop(&mut self) {
        let mut labs = gate();
        take_down(&self.0);
        labs.retain(|known| *known != self.0);
    }
}

fn wait_for_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let number = runtime.expect("a runtime for signals").block_on(async {
        let listen = |kind| signal(kind).expect("a signal handler");
        let mut interrupt = listen(SignalKind::interrupt());
        let mut terminate = listen(SignalKind::terminate());
        let mut hangup = listen(SignalKind::hangup());
        let mut quit = listen(SignalKind::quit());
        tokio::select! {
            _ = interrupt.recv() => libc::SIGINT,
            _ = terminate.recv() => libc::SIGTERM,
            _ = hangup.recv() => libc::SIGHUP,
            _ = quit.recv() => libc::SIGQUIT,
        }
    });
    INTERRUPTED.store(true, Ordering::Relaxed);
    // Never given back: from here on nothing more is made.
    let labs = gate();
    eprintln!("\ninterrupted: taking everything down");
    for stem in labs.iter() {
        take_down(stem);
    }
    process::exit(128 + number);
}

/// Ends the processes of a lab and removes its namespaces, mount and folder. Safe to repeat.
pub fn take_down(stem: &str) {
    let namespaces = netns::named(&format!("{stem}-"));
    for _ in 0..200 {
        let pids: HashSet<i32> = namespaces.iter().flat_map(|name| processes_in(name)).collect();
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            // Gone by itself meanwhile: as well.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        thread::sleep(Duration::from_millis(10));
    }
    match umount2(&bpffs(stem), MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => eprintln!("cannot unmount {}: {error}", bpffs(stem).display()),
    }
    for name in namespaces {
        netns::delete(&name);
    }
    if let Err(error) = fs::remove_dir_all(folder(stem))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("cannot remove {}: {error}", folder(stem).display());
    }
}

fn processes_in(namespace: &str) -> Vec<i32> {
    let own = i32::try_from(process::id()).unwrap_or(0);
    let output = Command::new("ip").args(["netns", "pids", namespace]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let list = list.unwrap_or_default();
    list.lines().filter_map(|pid| pid.trim().parse().ok()).filter(|pid| *pid != own).collect()
}

/// Takes down the labs of test processes that were killed before they could do it.
pub fn sweep() {
    let Ok(entries) = fs::read_dir("/run") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(stem) = name.to_str() else { continue };
        let pid = stem.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            take_down(stem);
        }
    }
}
