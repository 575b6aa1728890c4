//! The sidecar's process, as `/proc` shows it. Looks only at the agents' own children.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{agent::Holdfast, netns::Namespace, wait};

/// The sidecars in a balancer's namespace, in the order of their ids.
///
/// # Panics
///
/// When `ip` cannot tell.
#[must_use]
pub fn sidecars(balancer: &Namespace) -> Vec<u32> {
    let output = std::process::Command::new("ip")
        .args(["netns", "pids", balancer.name()])
        .output()
        .expect("ip runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pids = text.lines().filter_map(|pid| pid.trim().parse().ok());
    let mut pids: Vec<u32> = pids.filter(|pid| is_sidecar(*pid)).collect();
    pids.sort_unstable();
    pids
}

fn is_sidecar(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"serve-http")
}

/// The only one.
///
/// # Panics
///
/// When there is none, or another one.
#[must_use]
#[track_caller]
pub fn sidecar(balancer: &Namespace) -> u32 {
    let all = sidecars(balancer);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

/// What `/proc/PID/status` says under a name.
///
/// # Panics
///
/// When it says nothing.
#[must_use]
#[track_caller]
pub fn status(pid: u32, name: &str) -> String {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.filter(|(other, _)| *other == name).map(|(_, value)| value.trim()).next();
    found.unwrap_or_else(|| panic!("{path} has no {name}")).to_owned()
}

/// Kills the sidecar, and waits until another one serves in its place.
///
/// # Panics
///
/// When none does.
#[track_caller]
#[expect(clippy::must_use_candidate, reason = "killing is what it is for")]
pub fn kill_sidecar(balancer: &Namespace, holdfast: &Holdfast) -> u32 {
    let before = sidecar(balancer);
    let served = times_served(holdfast);
    let pid = Pid::from_raw(i32::try_from(before).expect("a process id"));
    kill(pid, Signal::SIGKILL).expect("it runs");
    wait::until("another sidecar serves", crate::agent::PATIENCE, || {
        let now = sidecars(balancer);
        let other = now.first().filter(|pid| now.len() == 1 && **pid != before);
        other.copied().filter(|_| times_served(holdfast) > served)
    })
}

/// How often a sidecar has begun to serve, by the agent's log.
#[must_use]
pub fn times_served(holdfast: &Holdfast) -> usize {
    let log = fs::read_to_string(&holdfast.log).unwrap_or_default();
    log.matches("sidecar: serving").count()
}
