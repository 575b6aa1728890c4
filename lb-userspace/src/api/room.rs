//! Room for large answers (status, pages of sessions): few are in memory at once, however many
//! ask.
//!
//! Who waits for room waits for the agent. Who has room and does not read its answer loses it
//! when others want it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    time::interval,
};

use super::crowd::Place;

/// Large answers at a time: some MiB each with thousands of backends.
pub(super) const ANSWERS_MAX: usize = 2;

/// As long may a client take to read its answer, however many others wait for the room.
pub(super) const READING: Duration = Duration::from_secs(1);

/// How often it is looked who is too slow.
const LOOK: Duration = Duration::from_millis(100);

/// All the room there is.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A connection's share of the room: none, or an answer's, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    held: OnceCell<Option<OwnedSemaphorePermit>>,
}

/// Counts who waits, also when the waiting is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl Room {
    pub(super) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(ANSWERS_MAX)), waiting: Arc::default() }
    }

    /// For a connection; takes no room yet.
    pub(super) fn share(&self) -> Share {
        Share { room: self.clone(), held: OnceCell::new() }
    }
}

impl Share {
    /// Waits for room for an answer.
    pub(super) async fn take(&self) {
        let take = || async {
            let _waiting = Waiting::new(&self.room.waiting);
            // Never closed; without room the answer would still be right.
            Arc::clone(&self.room.free).acquire_owned().await.ok()
        };
        let _held = self.held.get_or_init(take).await;
    }

    /// Ends once others wait for the room of an answer that `place`'s client is slow to read.
    pub(super) async fn wanted(&self, place: &Place) {
        let mut looks = interval(LOOK);
        loop {
            let _now = looks.tick().await;
            if self.held.initialized()
                && self.room.waiting.load(Ordering::Relaxed) > 0
                && place.waiting_since().is_some_and(|since| since.elapsed() > READING)
                && place.end()
            {
                return;
            }
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
