//! What one worker has counted of a listener or a backend. Counting is a store.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use http::StatusCode;

use crate::l7::{counts::Counts, messages::BackendCounts, seen::Seen, session::Verdict};

/// A listener's.
#[derive(Debug, Default)]
pub(super) struct ListenerTally {
    pub(super) connections: Cell<u64>,
    pub(super) requests: Cell<u64>,
    statuses: [Cell<u64>; 5],
    verdicts: [Cell<u64>; Verdict::ALL.len()],
    /// Seldom: by name.
    refused: RefCell<BTreeMap<&'static str, u64>>,
    pub(super) retries: Cell<u64>,
    pub(super) tunnels: Cell<u64>,
}

/// Adds one.
pub(super) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl ListenerTally {
    /// An answer has that status.
    pub(super) fn status(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(cell) = class.checked_sub(1).and_then(|class| self.statuses.get(class)) {
            count(cell);
        }
    }

    /// That became of a session.
    pub(super) fn verdict(&self, verdict: Verdict) {
        count(&self.verdicts[verdict as usize]);
    }

    /// A request or connection was refused, or got no answer of a backend.
    pub(super) fn refuse(&self, why: &'static str) {
        *self.refused.borrow_mut().entry(why).or_default() += 1;
    }

    pub(super) fn counts(&self) -> Counts {
        let verdicts = Verdict::ALL.iter().zip(&self.verdicts);
        Counts {
            connections: self.connections.get(),
            requests: self.requests.get(),
            statuses: self.statuses.each_ref().map(Cell::get),
            verdicts: verdicts
                .filter(|(_, count)| count.get() > 0)
                .map(|(verdict, count)| (verdict.name().to_owned(), count.get()))
                .collect(),
            refused: by_name(&self.refused.borrow()),
            retries: self.retries.get(),
            tunnels: self.tunnels.get(),
        }
    }
}

/// A backend's.
#[derive(Debug, Default)]
pub(super) struct BackendTally {
    pub(super) requests: Cell<u64>,
    pub(super) placed: Cell<u64>,
    failed: RefCell<BTreeMap<&'static str, u64>>,
    seen: RefCell<Seen>,
    /// Unix time, milliseconds.
    last_ends_ms: Cell<u64>,
}

impl BackendTally {
    /// A request got no answer there.
    pub(super) fn fail(&self, why: &'static str) {
        *self.failed.borrow_mut().entry(why).or_default() += 1;
    }

    /// A session there lasts until then, Unix time, if its client stays away.
    pub(super) fn session_until(&self, session: u64, idle_s: u64, ends_ms: u64, now_ms: u64) {
        self.seen.borrow_mut().note(session, idle_s, ends_ms, now_ms);
        self.last_ends_ms.set(self.last_ends_ms.get().max(ends_ms));
    }

    /// A session there is going on; nobody but the backend knows how long it lasts.
    pub(super) fn session_seen(&self, session: u64, idle_s: u64, now_ms: u64) {
        let ends_ms = now_ms.saturating_add(idle_s.saturating_mul(1000));
        self.seen.borrow_mut().note(session, idle_s, ends_ms, now_ms);
    }

    pub(super) fn counts(&self) -> BackendCounts {
        BackendCounts {
            requests: self.requests.get(),
            active: 0,
            failed: by_name(&self.failed.borrow()),
            placed: self.placed.get(),
            seen: self.seen.borrow().clone(),
            last_ends: self.last_ends_ms.get() / 1000,
        }
    }
}

fn by_name(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}
