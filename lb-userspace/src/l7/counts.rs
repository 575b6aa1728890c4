//! What is counted of requests. A worker's own numbers; the agent adds them up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::messages::{BackendCounts, Totals};

/// What a listener's requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections of clients.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
    /// Answers by their status' first digit: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Requests by what became of their session (C14).
    pub verdicts: BTreeMap<String, u64>,
    /// Requests that were refused or had no answer of a backend, by why.
    pub refused: BTreeMap<String, u64>,
    /// Requests that were sent to a backend once more.
    pub retries: u64,
    /// Connections that became another protocol's.
    pub tunnels: u64,
}

impl Counts {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.requests += other.requests;
        for (sum, more) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += more;
        }
        add(&mut self.verdicts, &other.verdicts);
        add(&mut self.refused, &other.refused);
        self.retries += other.retries;
        self.tunnels += other.tunnels;
    }
}

impl BackendCounts {
    /// Adds another worker's. Sessions that both have seen are counted once.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.active += other.active;
        add(&mut self.failed, &other.failed);
        self.placed += other.placed;
        self.seen.add(&other.seen);
        self.last_ends = self.last_ends.max(other.last_ends);
    }
}

impl Totals {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        for (name, counts) in &other.listeners {
            self.listeners.entry(name.clone()).or_default().add(counts);
        }
        for (name, counts) in &other.backends {
            self.backends.entry(name.clone()).or_default().add(counts);
        }
        self.connections += other.connections;
        self.log_lost += other.log_lost;
    }

    /// Makes one sketch of each backend's sessions: for a message. What is over by then goes.
    pub fn collapse_sessions(&mut self, now_ms: u64) {
        for counts in self.backends.values_mut() {
            counts.seen.collapse(now_ms);
        }
    }

    /// Lets go of sessions that are over.
    pub fn forget_sessions(&mut self, now_ms: u64) {
        for counts in self.backends.values_mut() {
            counts.seen.forget(now_ms);
        }
    }
}

fn add(sums: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *sums.entry(name.clone()).or_default() += count;
    }
}
