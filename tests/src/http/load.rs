//! Browsers at work: each keeps its connection and its cookies, and every answer is accounted for.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::raw::Raw;
use crate::topology::Lab;

/// Between two requests of a browser.
const PACE: Duration = Duration::from_millis(5);

/// A request and what became of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Which browser.
    pub browser: usize,
    /// When.
    pub at: Instant,
    /// How long it took to its end.
    pub took: Duration,
    /// The status and the server's name.
    pub answer: Result<(u16, String), io::ErrorKind>,
    /// On a connection that had served before.
    pub reused: bool,
}

/// Browsers at work.
#[derive(Debug)]
pub struct Browsers {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Browsers {
    /// Starts so many, on the lab's first client address. A connection that ends between requests,
    /// as HTTP/1.1 lets any server do (RFC 9112, 9.3.1), is made anew and the request repeated:
    /// that is one request.
    #[must_use]
    pub fn start(lab: &Lab, count: usize, from: IpAddr, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let start = |browser| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            let namespace = lab.clients.clone();
            thread::spawn(move || {
                namespace.enter();
                let mut one = Browser { from, to, connection: None, cookies: BTreeMap::new() };
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let reused = one.connection.is_some();
                    let answer = one.ask("/").map_err(|error| error.kind());
                    let done = Asked { browser, at, took: at.elapsed(), answer, reused };
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                    thread::sleep(PACE);
                }
            })
        };
        let threads = (0..count).map(start).collect();
        Self { stop, asked, threads }
    }

    /// What was asked since some time.
    #[must_use]
    pub fn since(&self, start: Instant) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|one| one.at >= start).cloned().collect()
    }

    /// Lets them work for a time, and returns what was asked in it.
    #[must_use]
    pub fn work(&self, time: Duration) -> Vec<Asked> {
        let start = Instant::now();
        thread::sleep(time);
        self.since(start)
    }

    /// Ends it; everything that was asked.
    ///
    /// # Panics
    ///
    /// When one has panicked.
    #[must_use]
    pub fn stop(mut self) -> Vec<Asked> {
        self.end();
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a browser panicked");
        }
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        self.end();
    }
}

/// The last server of each browser.
///
/// # Panics
///
/// When an answer is missing or no 200.
#[must_use]
#[track_caller]
pub fn all_served(asked: &[Asked]) -> BTreeMap<usize, String> {
    let mut servers = BTreeMap::new();
    for one in asked {
        match &one.answer {
            Ok((200, server)) => {
                let _before = servers.insert(one.browser, server.clone());
            }
            other => panic!("of {} requests one failed: {other:?}: {one:?}", asked.len()),
        }
    }
    servers
}

struct Browser {
    from: IpAddr,
    to: SocketAddr,
    connection: Option<Raw>,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn ask(&mut self, target: &str) -> io::Result<(u16, String)> {
        if let Some(connection) = self.connection.take() {
            match self.ask_on(connection, target) {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                other => return other,
            }
        }
        let connection = Raw::here(self.from, self.to)?;
        match self.ask_on(connection, target) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            other => other,
        }
    }

    /// `NotConnected`: it had ended before anything of the answer came.
    fn ask_on(&mut self, mut connection: Raw, target: &str) -> io::Result<(u16, String)> {
        use io::Write as _;
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = match cookies.join("; ") {
            text if text.is_empty() => text,
            text => format!("Cookie: {text}\r\n"),
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{cookies}\r\n");
        let gone = |_| io::Error::from(io::ErrorKind::NotConnected);
        connection.stream.write_all(request.as_bytes()).map_err(gone)?;
        let answer = match connection.try_answer(false) {
            Ok(Some(answer)) => answer,
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
            Ok(None) | Err(_) if connection.unread.is_empty() => {
                return Err(io::ErrorKind::NotConnected.into());
            }
            Ok(None) | Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        for cookie in answer.cookies() {
            let (name, value) = cookie.split_once('=').unwrap_or((cookie, ""));
            let _before = self.cookies.insert(name.to_owned(), value.to_owned());
        }
        if answer.field("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok((answer.status, answer.server()))
    }
}
