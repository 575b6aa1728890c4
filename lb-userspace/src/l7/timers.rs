//! Deadlines of connections and requests, thousands of which are set and set again for each that
//! passes: setting one is a store.
//!
//! Owns the coarse clock of a worker. Who sweeps decides how exact deadlines are: they are met
//! within two sweeps.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use slab::Slab;

/// The deadlines of a worker.
#[derive(Debug)]
pub struct Timers {
    began: Instant,
    now_ms: Rc<Cell<u64>>,
    entries: RefCell<Slab<Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// [`NEVER`]: none.
    due_ms: u64,
    waker: Option<Waker>,
}

const NEVER: u64 = u64::MAX;

impl Timers {
    /// None yet.
    #[must_use]
    pub fn new() -> Rc<Self> {
        // A present of 0 would leave no past.
        let now_ms = Rc::new(Cell::new(1));
        Rc::new(Self { began: Instant::now(), now_ms, entries: RefCell::default() })
    }

    /// The coarse present, in milliseconds since some beginning.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The same, to be read by others.
    pub fn clock(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.now_ms)
    }

    /// Moves the present on and wakes whose deadline has come.
    pub fn sweep(&self) {
        let now = 1 + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - 2);
        self.sweep_at(now);
    }

    fn sweep_at(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if entry.due_ms <= now_ms
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Wakes everybody who waits.
    pub fn wake_all(&self) {
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }

    /// A deadline that is not set.
    pub fn timer(self: &Rc<Self>) -> Timer {
        let index = self.entries.borrow_mut().insert(Entry { due_ms: NEVER, waker: None });
        Timer { timers: Rc::clone(self), index }
    }
}

/// A deadline.
#[derive(Debug)]
pub struct Timer {
    timers: Rc<Timers>,
    index: usize,
}

impl Timer {
    /// So long from now; zero: never.
    pub fn set(&self, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(NEVER);
        let due = if after == 0 { NEVER } else { self.timers.now_ms().saturating_add(after) };
        self.set_at(due);
    }

    /// At that time of [`Timers::now_ms`].
    pub fn set_at(&self, due_ms: u64) {
        if let Some(entry) = self.timers.entries.borrow_mut().get_mut(self.index) {
            entry.due_ms = due_ms;
        }
    }

    /// Has it come? Else the task is woken when it does.
    #[must_use]
    pub fn poll_due(&self, context: &Context<'_>) -> bool {
        let mut entries = self.timers.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.index) else { return false };
        if entry.due_ms <= self.timers.now_ms() {
            return true;
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            entry.waker = Some(context.waker().clone());
        }
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _entry = self.timers.entries.borrow_mut().try_remove(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_once_it_is_due() {
        let timers = Timers::new();
        let context = &Context::from_waker(Waker::noop());
        let timer = timers.timer();
        assert!(!timer.poll_due(context));
        timer.set(Duration::from_millis(100));
        timers.sweep_at(100);
        assert!(!timer.poll_due(context));
        timers.sweep_at(101);
        assert!(timer.poll_due(context));
        timer.set(Duration::from_millis(50));
        assert!(!timer.poll_due(context));
        timer.set(Duration::ZERO);
        timers.sweep_at(NEVER - 1);
        assert!(!timer.poll_due(context));
        drop(timer);
        assert!(timers.entries.borrow().is_empty());
    }
}
