//! The client's side of a connection, as hyper sees it.
//!
//! Reads go through one buffer a thread. A connection has a buffer of its own only while bytes wait
//! in it: a head that came in parts, and what came before its time.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::l7::io::write_gathered;

use super::{
    GateState, Limits, Phase, Refusal,
    walk::{Step, Walk},
};

/// Bytes of a read at most.
const SCRATCH_BYTES: usize = 16 << 10;

thread_local! {
    /// Taken for a read, and put back.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Checks what a client sends before hyper sees it.
///
/// A refused read fails with [`io::ErrorKind::InvalidData`] around the [`Refusal`]. hyper may make
/// an error or a clean end of that: ask [`GateState::unanswered`] when its future is done. It must be
/// driven by `poll_without_shutdown`, or the client can be told nothing any more; and without
/// `pipeline_flush`, which would hold back what the next request waits for.
#[derive(Debug)]
pub struct Gate<IO> {
    io: IO,
    state: Rc<GateState>,
    walk: Walk,
    /// What was read and is nobody's yet, from `held_at` on.
    held: Vec<u8>,
    held_at: usize,
    /// The client sends nothing more.
    ended: bool,
    /// A read waits for an answer, not for the client.
    waits: bool,
}

/// Why no more of the bytes there are went to hyper.
enum Stop {
    /// There are no more, or too few to say.
    More,
    /// hyper has no room.
    Full,
    /// The request at hand comes first.
    Hold,
    Refuse(Refusal),
}

impl<IO> Gate<IO> {
    /// In front of `io`, of which `early` was read already.
    pub fn new(io: IO, state: Rc<GateState>, limits: Limits, early: Vec<u8>) -> Self {
        state.read(early.len());
        let walk = Walk::new(limits);
        Self { io, state, walk, held: early, held_at: 0, ended: false, waits: false }
    }

    /// For a connection that is not HTTP/1: all bytes pass, and are counted.
    pub fn open(io: IO, state: Rc<GateState>, early: Vec<u8>) -> Self {
        state.enter(Phase::Tunnel);
        Self::new(io, state, Limits::default(), early)
    }

    /// The stream below, and what was read from it and given to nobody.
    pub fn into_parts(mut self) -> (IO, Vec<u8>) {
        drop(self.held.drain(..self.held_at));
        (self.io, self.held)
    }

    /// What is shared with the service.
    pub fn state(&self) -> &Rc<GateState> {
        &self.state
    }

    fn held(&self) -> &[u8] {
        self.held.get(self.held_at..).unwrap_or_default()
    }

    /// Gives hyper what it may have of `bytes`; how much was used up, and why no more.
    fn feed(
        walk: &mut Walk,
        state: &GateState,
        bytes: &[u8],
        cursor: &mut ReadBufCursor<'_>,
    ) -> (usize, Stop) {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let room = cursor.remaining();
            if state.tunnels() {
                let given = rest.len().min(room);
                cursor.put_slice(rest.get(..given).unwrap_or_default());
                return (at + given, Stop::More);
            }
            if room == 0 {
                return (at, Stop::Full);
            }
            if !rest.is_empty() && walk.in_head() {
                state.head_begins();
            }
            match walk.step(rest, room) {
                Step::Begin(framing) => state.given(framing),
                Step::Pass(given) => {
                    cursor.put_slice(rest.get(..given).unwrap_or_default());
                    at += given;
                    if walk.is_over() {
                        state.complete();
                    }
                }
                Step::Skip(bytes) => at += bytes,
                Step::More => return (at, Stop::More),
                Step::Hold => return (at, Stop::Hold),
                Step::Refuse(refusal) => return (at, Stop::Refuse(refusal)),
            }
        }
    }

    fn feed_held(&mut self, cursor: &mut ReadBufCursor<'_>) -> Stop {
        let bytes = self.held.get(self.held_at..).unwrap_or_default();
        let (used, stop) = Self::feed(&mut self.walk, &self.state, bytes, cursor);
        self.held_at += used;
        if self.held_at >= self.held.len() {
            self.held = Vec::new();
            self.held_at = 0;
        }
        stop
    }

    /// On to the next message, once the one at hand is answered.
    fn settle(&mut self) {
        if self.walk.is_over() && self.state.is_flushed() && !self.state.closes() {
            self.walk.next();
            self.state.settled();
        }
    }

    fn refuse(&self, refusal: Refusal) -> Poll<io::Result<()>> {
        self.state.refuse(refusal);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)))
    }
}

impl<IO: AsyncRead + Unpin> Gate<IO> {
    /// Reads once; what hyper may not have yet is held.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<Stop>> {
        let mut scratch =
            SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice());
        let most = cursor.remaining().min(scratch.len());
        let mut read = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
        let result = Pin::new(&mut self.io).poll_read(cx, &mut read).map_ok(|()| {
            let bytes = read.filled();
            self.state.read(bytes.len());
            if bytes.is_empty() {
                self.ended = true;
                Stop::More
            } else if self.held().is_empty() {
                let (used, stop) = Self::feed(&mut self.walk, &self.state, bytes, cursor);
                self.held.extend_from_slice(bytes.get(used..).unwrap_or_default());
                stop
            } else {
                drop(self.held.drain(..self.held_at));
                self.held_at = 0;
                self.held.extend_from_slice(bytes);
                Stop::More
            }
        });
        SCRATCH.set(Some(scratch));
        result
    }
}

impl<IO: AsyncRead + Unpin> Read for Gate<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        gate.state.watch(cx.waker());
        gate.waits = false;
        let room = cursor.remaining();
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        gate.settle();
        // A connection that closes ends here, whatever the client still sends.
        if gate.walk.is_over() && gate.state.closes() && gate.state.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        if let Some(refusal) = gate.state.ended_by()
            && (gate.walk.in_head() || gate.walk.in_body())
            && !gate.state.tunnels()
        {
            if gate.state.phase() == Phase::Idle {
                return Poll::Ready(Ok(()));
            }
            return gate.refuse(refusal);
        }
        loop {
            let mut stop = gate.feed_held(&mut cursor);
            if cursor.remaining() < room {
                return Poll::Ready(Ok(()));
            }
            // Without held bytes a read shows whether the client is still there.
            if matches!(stop, Stop::Hold) && !gate.held().is_empty() {
                gate.waits = true;
                return Poll::Pending;
            }
            if matches!(stop, Stop::More | Stop::Hold | Stop::Full) {
                if gate.ended {
                    return Poll::Ready(Ok(()));
                }
                stop = match ready!(gate.poll_client(cx, &mut cursor)) {
                    Ok(stop) => stop,
                    // A head that was begun and never ends is nobody's business.
                    Err(_) if gate.walk.in_head() && !gate.held().is_empty() => {
                        gate.ended = true;
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                };
                if cursor.remaining() < room {
                    return Poll::Ready(Ok(()));
                }
            }
            if let Stop::Refuse(refusal) = stop {
                return gate.refuse(refusal);
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> Gate<IO> {
    /// Interim answers go first, where hyper is between messages.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.state.has_interim() {
            let mut pending = false;
            let io = &mut self.io;
            let written =
                self.state.write_interim(|bytes| match Pin::new(io).poll_write(cx, bytes) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        pending = true;
                        Ok(0)
                    }
                })?;
            if pending {
                return Poll::Pending;
            }
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = result {
            self.state.wrote(bytes);
            self.state.set_dirty();
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> Write for Gate<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        ready!(gate.poll_interim(cx))?;
        let result = Pin::new(&mut gate.io).poll_write(cx, bytes);
        gate.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        ready!(gate.poll_interim(cx))?;
        let result = write_gathered(&mut gate.io, cx, bytes);
        gate.wrote(result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        gate.state.watch(cx.waker());
        gate.state.about_to_flush();
        ready!(gate.poll_interim(cx))?;
        ready!(Pin::new(&mut gate.io).poll_flush(cx))?;
        if gate.state.flushed() {
            gate.settle();
            if gate.waits {
                gate.state.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
