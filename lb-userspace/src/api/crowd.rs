//! The connections of the admin socket: how many there may be, and which one has to go when one
//! more comes.
//!
//! Who waits for the agent stays. Who makes the agent wait, with its request or with taking its
//! answer, goes when it has done so for longest and others wait for its place. So clients that
//! connect and say nothing keep nobody from being served.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};

/// Connections at a time, and one that is let in.
pub(super) const CONNECTIONS_MAX: usize = 32;

/// As long may a client make the agent wait, however many others want its place: enough for one
/// that the machine has let wait itself.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// Whose turn it is on a connection.
#[derive(Debug)]
enum Turn {
    /// The client's, since then.
    Client(Instant),
    /// The agent's: a command is under way.
    Agent,
    /// Nobody's: it was ended for another's sake.
    Over,
}

/// A connection's [`Turn`], as both its task and the crowd see it.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Mutex<Turn>>);

/// The agent works for a connection as long as this lives.
#[derive(Debug)]
pub(super) struct Work(Place);

impl Place {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Turn::Client(Instant::now()))))
    }

    /// The request is whole and to be carried out. `None`: too late, the place is another's.
    pub(super) fn work(&self) -> Option<Work> {
        let mut turn = self.turn();
        if matches!(*turn, Turn::Over) {
            return None;
        }
        *turn = Turn::Agent;
        Some(Work(self.clone()))
    }

    /// Since when the client makes the agent wait.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match *self.turn() {
            Turn::Client(since) => Some(since),
            Turn::Agent | Turn::Over => None,
        }
    }

    /// Ends it, unless the agent works for it: never in the middle of a command.
    pub(super) fn end(&self) -> bool {
        let mut turn = self.turn();
        let ends = matches!(*turn, Turn::Client(_));
        if ends {
            *turn = Turn::Over;
        }
        ends
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        *self.0.turn() = Turn::Client(Instant::now());
    }
}

/// All connections. Dropping it ends them.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    tasks: JoinSet<()>,
    members: Vec<(Place, AbortHandle)>,
}

impl Crowd {
    /// Serves one more connection, once there is room for it: at once, or when one has ended by
    /// itself or for its sake. Waits for nobody longer than [`PATIENCE`], except for connections
    /// that themselves wait for the agent.
    pub(super) async fn admit<F>(&mut self, serve: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= CONNECTIONS_MAX {
            self.members.retain(|(_, task)| !task.is_finished());
            let waiting = |(place, task): &(Place, AbortHandle)| {
                place.waiting_since().map(|since| (since, place.clone(), task.clone()))
            };
            let longest = self.members.iter().filter_map(waiting).min_by_key(|(since, ..)| *since);
            let left = longest
                .as_ref()
                .map_or(PATIENCE, |(since, ..)| PATIENCE.saturating_sub(since.elapsed()));
            if let Some((_, place, task)) = longest
                && left.is_zero()
                && place.end()
            {
                tracing::debug!("admin API: a connection is ended, others wait");
                task.abort();
            }
            // Whose task was just ended is there to be joined, or some other.
            drop(timeout(left.max(PATIENCE / 10), self.tasks.join_next()).await);
        }
        let place = Place::new();
        let task = self.tasks.spawn(serve(place.clone()));
        self.members.retain(|(_, task)| !task.is_finished());
        self.members.push((place, task));
    }

    /// Lets every connection come to its end within that time, then ends the rest.
    pub(super) async fn leave(mut self, within: Duration) {
        let ended = timeout(within, async { while self.tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
