//! A server that answers as a test wants it, and remembers every byte that it was sent.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::answer::{chunked, find};
use crate::netns::Namespace;

/// How often it looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// A running server; dropping it ends it and its connections.
#[derive(Debug)]
pub struct Backend {
    stop: Arc<AtomicBool>,
    seen: Seen,
    thread: Option<JoinHandle<()>>,
}

/// By connection, in the order in which they came.
type Seen = Arc<Mutex<BTreeMap<usize, Vec<u8>>>>;

/// A request's body and its trailers.
pub type Body = (Vec<u8>, Vec<(String, String)>);

/// A connection of it, in the middle of a request.
#[derive(Debug)]
pub struct Conversation {
    /// Its socket.
    pub stream: TcpStream,
    /// The request's head, as it came.
    pub head: String,
    unread: Vec<u8>,
    number: usize,
    stop: Arc<AtomicBool>,
    seen: Seen,
}

impl Backend {
    /// Starts one in a namespace; `serve` answers each request, and says whether the connection
    /// goes on.
    ///
    /// # Panics
    ///
    /// When the address cannot be had.
    #[must_use]
    pub fn start(
        namespace: &Namespace,
        address: SocketAddr,
        serve: impl Fn(&mut Conversation) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let listener = namespace.run(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|e| panic!("bind {address}: {e}"));
        listener.set_nonblocking(true).expect("a listener");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Seen::default();
        let (ending, noting) = (Arc::clone(&stop), Arc::clone(&seen));
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            let mut threads = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).expect("a socket");
                stream.set_read_timeout(Some(TICK)).expect("a timeout");
                stream.set_nodelay(true).expect("a socket");
                let mut conversation = Conversation {
                    stream,
                    head: String::new(),
                    unread: Vec::new(),
                    number: threads.len(),
                    stop: Arc::clone(&ending),
                    seen: Arc::clone(&noting),
                };
                let serve = Arc::clone(&serve);
                threads.push(thread::spawn(move || {
                    // Clients that are gone are tests' business.
                    while conversation.next().is_ok_and(|more| more)
                        && serve(&mut conversation).is_ok_and(|more| more)
                    {}
                }));
            }
            for thread in threads {
                // A panic there has been printed; the test finds its answers missing.
                thread.join().ok();
            }
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// What came over each connection that brought anything.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// All of that.
    #[must_use]
    pub fn seen_text(&self) -> String {
        self.seen().concat()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // As above.
            thread.join().ok();
        }
    }
}

impl Conversation {
    /// The request's target.
    #[must_use]
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field of the request.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Answers with a body.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn reply(&mut self, status: &str, fields: &str, body: &str) -> io::Result<bool> {
        let length = body.len();
        self.say(&format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{fields}\r\n{body}"))
    }

    /// Sends a text as it is.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn say(&mut self, text: &str) -> io::Result<bool> {
        self.stream.write_all(text.as_bytes()).map(|()| true)
    }

    /// The request's body, by its length or chunks; of chunks, also the trailers.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn body(&mut self) -> io::Result<Body> {
        let is_chunked = self.field("transfer-encoding").is_some();
        let length = self.field("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.unwrap_or(0);
        loop {
            if !is_chunked && self.unread.len() >= length {
                return Ok((self.unread.drain(..length).collect(), Vec::new()));
            }
            if is_chunked && let Some((body, trailers, length)) = chunked(&self.unread) {
                drop(self.unread.drain(..length));
                return Ok((body, trailers));
            }
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Up to so many bytes of what comes, at least one but at the end.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            let _length = self.more()?;
        }
        let length = most.min(self.unread.len());
        Ok(self.unread.drain(..length).collect())
    }

    /// Reads the next head; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                self.head = String::from_utf8_lossy(&head).into_owned();
                return Ok(true);
            }
            if self.more()? == 0 {
                return Ok(false);
            }
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16_384];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(length) => {
                    let bytes = &bytes[..length];
                    self.unread.extend_from_slice(bytes);
                    if length > 0 {
                        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.entry(self.number).or_default().extend_from_slice(bytes);
                    }
                    return Ok(length);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && !self.stop.load(Ordering::Relaxed) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
