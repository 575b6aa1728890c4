//! Streams as hyper takes them, for connections to backends: counts what comes, and sees interim
//! answers, which hyper's client keeps to itself.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A read takes at most so much, in bytes.
pub const READ: usize = 16 << 10;

thread_local! {
    /// What a read goes through on its way: one room for all connections of the thread.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Reads what there is, at most `room` bytes, and shows it to `take`.
pub fn read_through<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    context: &mut Context<'_>,
    room: usize,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    ROOM.with_borrow_mut(|bytes| {
        let room = room.min(bytes.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

/// Parts that have no more than this together are written as one: putting them together costs less
/// than telling the kernel of each.
const GATHERED: usize = 4 << 10;

/// Writes parts of a message.
pub fn write_gathered<S: AsyncWrite + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    parts: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut some = parts.iter().filter(|part| !part.is_empty());
    let (first, second) = (some.next(), some.next());
    if second.is_none() {
        return Pin::new(stream).poll_write(context, first.map_or(&[], |first| first));
    }
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > GATHERED {
        return Pin::new(stream).poll_write_vectored(context, parts);
    }
    ROOM.with_borrow_mut(|room| {
        let mut at = 0;
        for part in parts {
            room[at..][..part.len()].copy_from_slice(part);
            at += part.len();
        }
        Pin::new(stream).poll_write(context, &room[..length])
    })
}

/// What is known of a connection to a backend.
#[derive(Debug, Default)]
pub struct Seen {
    /// Did a byte come since the last request?
    received: Cell<bool>,
    /// Could what comes next be an interim answer?
    waiting: Cell<bool>,
    /// Bytes of interim answers, and what followed them.
    interim: RefCell<Vec<u8>>,
}

/// A stream to a backend.
#[derive(Debug)]
pub struct BackendIo<S> {
    stream: S,
    seen: Rc<Seen>,
}

impl<S> BackendIo<S> {
    /// Around a stream.
    pub fn new(stream: S) -> (Self, Rc<Seen>) {
        let seen = Rc::new(Seen::default());
        (Self { stream, seen: Rc::clone(&seen) }, seen)
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// Longest interim answers that are passed on, in bytes.
const LONGEST_INTERIM: usize = 16 << 10;
/// Fields of one.
const INTERIM_FIELDS: usize = 64;

impl Seen {
    /// A request is about to be sent.
    pub fn begin(&self) {
        self.received.set(false);
        self.waiting.set(true);
        self.interim.borrow_mut().clear();
    }

    /// Did a byte come since?
    pub fn received(&self) -> bool {
        self.received.get()
    }

    /// The next interim answer that came; 101 is none.
    pub fn interim(&self) -> Option<(StatusCode, HeaderMap)> {
        let mut bytes = self.interim.borrow_mut();
        if bytes.is_empty() {
            return None;
        }
        let found = interim(&bytes);
        if let Some((length, status, fields)) = found {
            drop(bytes.drain(..length));
            return Some((status, fields));
        }
        // Hyper knows what to make of it.
        if !begins_interim(&bytes) {
            bytes.clear();
            self.waiting.set(false);
        }
        None
    }

    fn came(&self, bytes: &[u8]) {
        self.received.set(true);
        if !self.waiting.get() {
            return;
        }
        let mut interim = self.interim.borrow_mut();
        let more = !interim.is_empty() || begins_interim(bytes);
        if more && interim.len() + bytes.len() <= LONGEST_INTERIM {
            interim.extend_from_slice(bytes);
        } else {
            self.waiting.set(false);
        }
    }
}

/// Do they begin an interim answer, as far as they go?
fn begins_interim(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"HTTP/1.1 1";
    let begin = &BEGIN[..bytes.len().min(BEGIN.len())];
    bytes.starts_with(begin) && !bytes.starts_with(b"HTTP/1.1 101")
}

fn interim(bytes: &[u8]) -> Option<(usize, StatusCode, HeaderMap)> {
    if !begins_interim(bytes) {
        return None;
    }
    let mut fields = [httparse::EMPTY_HEADER; INTERIM_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) | Err(_) => return None,
    };
    let status = StatusCode::from_u16(answer.code?).ok()?;
    let field = |field: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(field.value).ok()?))
    };
    Some((length, status, answer.headers.iter().filter_map(field).collect()))
}

impl<S: AsyncRead + Unpin> Read for BackendIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, seen } = &mut *self;
        read_through(stream, context, into.remaining(), |bytes| {
            seen.came(bytes);
            into.put_slice(bytes);
        })
    }
}

impl<S: AsyncWrite + Unpin> Write for BackendIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_gathered(&mut self.stream, context, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_seen_however_they_come() {
        let all =
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for cut in 1..all.len() {
            let seen = Seen::default();
            seen.begin();
            let mut got = Vec::new();
            for part in [&all[..cut], &all[cut..]] {
                seen.came(part);
                while let Some((status, fields)) = seen.interim() {
                    got.push((status.as_u16(), fields.len()));
                }
            }
            assert_eq!(got, [(103, 1), (100, 0)], "{cut}");
            assert!(seen.received());
            assert_eq!(seen.interim(), None);
        }
        let seen = Seen::default();
        seen.begin();
        seen.came(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 103 no\r\n\r\n");
        assert_eq!(seen.interim(), None);
    }
}
