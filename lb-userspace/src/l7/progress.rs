//! How far a request has come: its deadlines, and what both of its bodies tell each other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use super::timers::{Timer, Timers};
use crate::config::http::HttpLimits;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection to a backend.
    Connect,
    /// Its client, for more of its body.
    Upload,
    /// Its backend, for an answer's head.
    Answer,
    /// Either, for more of the answer's body.
    Download,
}

/// How far a request has come.
#[derive(Debug)]
pub struct Progress {
    timers: Rc<Timers>,
    timer: Timer,
    limits: Limits,
    /// When all of it must be over, by [`Timers::now_ms`].
    total_due_ms: u64,
    phase: Cell<Phase>,
    /// Bytes of its body that came.
    pub uploaded: Cell<u64>,
    /// Was its body asked for? Then it cannot be sent again.
    pub begun: Cell<bool>,
    /// Its body is larger than allowed.
    pub too_large: Cell<bool>,
    hold: RefCell<Option<Waker>>,
    held: Cell<bool>,
}

/// What of [`HttpLimits`] bounds one request.
#[derive(Debug, Clone, Copy)]
struct Limits {
    body_bytes: u64,
    body_timeout: Duration,
    answer_timeout: Duration,
}

impl Progress {
    /// A request has come; `held`: its body waits for a backend to ask for it (100-continue).
    #[must_use]
    pub fn new(timers: &Rc<Timers>, limits: &HttpLimits, held: bool) -> Rc<Self> {
        let total = u64::try_from(limits.total_timeout.as_millis()).unwrap_or(u64::MAX);
        let now = timers.now_ms();
        Rc::new(Self {
            timers: Rc::clone(timers),
            timer: timers.timer(),
            limits: Limits {
                body_bytes: limits.body_bytes,
                body_timeout: limits.body_timeout,
                answer_timeout: limits.answer_timeout,
            },
            total_due_ms: if total == 0 { u64::MAX } else { now.saturating_add(total) },
            phase: Cell::new(Phase::Connect),
            uploaded: Cell::new(0),
            begun: Cell::new(false),
            too_large: Cell::new(false),
            hold: RefCell::new(None),
            held: Cell::new(held),
        })
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// It waits for that now, for so long.
    pub fn wait_for(&self, phase: Phase, at_most: Duration) {
        self.phase.set(phase);
        let most = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        let due = if most == 0 { u64::MAX } else { self.timers.now_ms().saturating_add(most) };
        self.timer.set_at(due.min(self.total_due_ms));
    }

    /// All of its body was sent.
    pub fn uploaded_all(&self) {
        if self.phase() != Phase::Download {
            self.wait_for(Phase::Answer, self.limits.answer_timeout);
        }
    }

    /// Its body goes on.
    pub fn uploads(&self, more: u64) {
        self.uploaded.set(self.uploaded.get() + more);
        if self.limits.body_bytes != 0 && self.uploaded.get() > self.limits.body_bytes {
            self.too_large.set(true);
        }
        match self.phase() {
            Phase::Download => self.wait_for(Phase::Download, self.limits.body_timeout),
            Phase::Connect | Phase::Upload | Phase::Answer => {
                self.wait_for(Phase::Upload, self.limits.body_timeout);
            }
        }
    }

    /// The answer's body goes on.
    pub fn downloads(&self) {
        self.wait_for(Phase::Download, self.limits.body_timeout);
    }

    /// Is the time over for what it waits for? Else the task is woken then.
    pub fn poll_due(&self, context: &Context<'_>) -> bool {
        self.timer.poll_due(context)
    }

    /// Does its body wait for being asked for?
    pub fn poll_held(&self, context: &Context<'_>) -> bool {
        if self.held.get() {
            *self.hold.borrow_mut() = Some(context.waker().clone());
        }
        self.held.get()
    }

    /// Asks for its body; false: it was asked for before.
    pub fn release(&self) -> bool {
        let held = self.held.replace(false);
        if let Some(waker) = self.hold.borrow_mut().take() {
            waker.wake();
        }
        held
    }
}
