//! A client that sends bytes as they are, and reads what comes back.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::answer::Answer;
use crate::{clients::connect_from, netns::Namespace};

/// How long it waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub struct Raw {
    /// Its socket.
    pub stream: TcpStream,
    /// What was read and belongs to no answer yet.
    pub unread: Vec<u8>,
    ended: bool,
}

impl Raw {
    /// Connects from a client's address, in its namespace.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    #[track_caller]
    pub fn open(clients: &Namespace, from: IpAddr, to: SocketAddr) -> Self {
        let opened = clients.run(|| Self::here(from, to));
        opened.unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
    }

    /// Connects in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn here(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let stream = connect_from(from, to, PATIENCE)?;
        Ok(Self { stream, unread: Vec::new(), ended: false })
    }

    /// Sends these bytes.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap_or_else(|error| panic!("sending: {error}"));
    }

    /// Sends a request without a body, and reads its answer.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn ask(&mut self, target: &str, fields: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"));
        self.answer()
    }

    /// The next answer.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        match self.try_answer(false) {
            Ok(Some(answer)) => answer,
            other => panic!("no answer: {other:?}; {}", String::from_utf8_lossy(&self.unread)),
        }
    }

    /// The next answer; `None`: the connection ends before it.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn try_answer(&mut self, bodiless: bool) -> io::Result<Option<Answer>> {
        loop {
            if let Some(answer) = Answer::take(&mut self.unread, self.ended, bodiless) {
                return Ok(Some(answer));
            }
            if self.ended {
                return Ok(None);
            }
            let _more = self.more()?;
        }
    }

    /// Reads more into `unread`; false at the end.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn more(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16_384];
        let length = self.stream.read(&mut bytes)?;
        self.unread.extend_from_slice(&bytes[..length]);
        self.ended = length == 0;
        Ok(!self.ended)
    }

    /// Waits for its end; how long that took. A reset is an end.
    ///
    /// # Panics
    ///
    /// When there is none, or more comes before it.
    #[track_caller]
    pub fn until_closed(&mut self) -> Duration {
        let start = Instant::now();
        while !self.ended {
            match self.more() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("not closed: {error}"),
            }
        }
        let rest = String::from_utf8_lossy(&self.unread);
        assert!(rest.is_empty(), "before its end came: {rest}");
        start.elapsed()
    }
}
