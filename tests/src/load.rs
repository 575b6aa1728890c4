//! Load that runs while something else happens: each client asks over and over on one open
//! connection, and on a new one every time.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{clients::Connection, topology::Lab};

/// Between two questions of a client.
const PACE: Duration = Duration::from_millis(10);

/// One answer, or none.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who asked.
    pub client: IpAddr,
    /// On a connection that was made for it?
    pub new: bool,
    /// When it was asked.
    pub at: Instant,
    /// How long the answer or the error took.
    pub took: Duration,
    /// The backend's name.
    pub answer: Result<String, io::ErrorKind>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts it: two threads for each client, which reconnect when a connection fails.
    #[must_use]
    pub fn start(lab: &Lab, clients: &[IpAddr], to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let start = |(&client, new): (&IpAddr, bool)| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            let namespace = lab.clients.clone();
            thread::spawn(move || {
                namespace.enter();
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let open = connection.take().map_or_else(|| Connection::here(client, to), Ok);
                    let answer = open.and_then(|mut open| {
                        let answer = open.ask();
                        if answer.is_ok() && !new {
                            connection = Some(open);
                        }
                        answer
                    });
                    let answer = answer.map_err(|error| error.kind());
                    let one = Asked { client, new, at, took: at.elapsed(), answer };
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                    thread::sleep(PACE);
                }
            })
        };
        let threads = clients.iter().flat_map(|c| [(c, false), (c, true)]).map(start).collect();
        Self { stop, asked, threads }
    }

    /// What was asked since some time.
    #[must_use]
    pub fn since(&self, start: Instant) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|one| one.at >= start).cloned().collect()
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// When a client has panicked.
    #[must_use]
    pub fn stop(mut self) -> Vec<Asked> {
        self.end();
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a client panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
