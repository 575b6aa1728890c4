//! What the gate, the service and whoever owns the connection know of one another.
//!
//! One thread; all of it cells. Owns no time: the clock is the owner's, in milliseconds.
//!
//! For each request the service calls, in this order: [`GateState::interim`], if at all;
//! [`GateState::answering`] as it returns the answer; [`GateState::answered`] when the answer's body
//! is dropped. After a 101, [`GateState::switched`] instead of the last.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
};

use bytes::{Buf, BytesMut};

use super::{Body, Framing, Refusal};

/// Bytes of interim answers that wait for a client.
const INTERIM_BYTES_MAX: usize = 64 << 10;

/// What a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: none has begun.
    Idle,
    /// A head has begun.
    Head,
    /// The request's body is coming in.
    Body,
    /// The request is complete, its answer is not.
    Answer,
    /// The bytes are no longer HTTP/1.
    Tunnel,
}

/// How far the request at hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is none.
    None,
    /// Its head is hyper's.
    Given,
    /// The service has returned the head of its answer.
    Answering,
    /// hyper has taken all of the answer.
    Answered,
    /// And written it.
    Flushed,
}

/// A connection's state, shared by its gate, its service and its owner.
#[derive(Debug)]
pub struct GateState {
    clock_ms: Rc<Cell<u64>>,
    phase: Cell<Phase>,
    began_ms: Cell<u64>,
    progress_ms: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    requests: Cell<u64>,
    turn: Cell<Turn>,
    framing: Cell<Option<Framing>>,
    refusal: Cell<Option<(Refusal, bool)>>,
    ended_by: Cell<Option<Refusal>>,
    /// hyper's last write may be the beginning of more.
    dirty: Cell<bool>,
    has_interim: Cell<bool>,
    interim: RefCell<BytesMut>,
    waker: RefCell<Option<Waker>>,
}

impl GateState {
    /// For a new connection; the clock is set by somebody else.
    #[must_use]
    pub fn new(clock_ms: Rc<Cell<u64>>) -> Rc<Self> {
        let now_ms = clock_ms.get();
        Rc::new(Self {
            clock_ms,
            phase: Cell::new(Phase::Idle),
            began_ms: Cell::new(now_ms),
            progress_ms: Cell::new(now_ms),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            requests: Cell::default(),
            turn: Cell::new(Turn::None),
            framing: Cell::default(),
            refusal: Cell::default(),
            ended_by: Cell::default(),
            dirty: Cell::new(false),
            has_interim: Cell::new(false),
            interim: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    /// What the connection is waited for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// When the phase began; that of a head, with its first byte.
    #[must_use]
    pub fn began_ms(&self) -> u64 {
        self.began_ms.get()
    }

    /// When a byte went in either direction, or the phase began.
    #[must_use]
    pub fn progress_ms(&self) -> u64 {
        self.progress_ms.get()
    }

    /// Bytes from the client, and to it.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.get(), self.bytes_out.get())
    }

    /// Requests that hyper was given.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// How the request at hand, or the last one, is framed.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        self.framing.get()
    }

    /// Why reading ended, if it was refused.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().map(|(refusal, _)| refusal)
    }

    /// The same, if it is the owner who has to answer: no request is in service, and all earlier
    /// ones are answered. A refusal in the middle of a body is the service's to answer.
    #[must_use]
    pub fn unanswered(&self) -> Option<Refusal> {
        self.refusal.get().and_then(|(refusal, between)| between.then_some(refusal))
    }

    /// Ends reading, for the reason of a deadline: a head or body is refused, an idle connection is
    /// at its end. While an answer is under way, and in a tunnel, it does nothing.
    pub fn end(&self, why: Refusal) {
        self.ended_by.set(Some(why));
        self.wake();
    }

    /// Sends a complete interim answer (RFC 9110, 15.2): head and empty line. False: too late, too
    /// much, or the client has HTTP/1.0.
    #[must_use]
    pub fn interim(&self, head: &[u8]) -> bool {
        let http_10 = self.framing.get().is_some_and(|framing| framing.http_10);
        let mut queue = self.interim.borrow_mut();
        if self.turn.get() != Turn::Given || http_10 || queue.len() + head.len() > INTERIM_BYTES_MAX
        {
            return false;
        }
        queue.extend_from_slice(head);
        drop(queue);
        self.has_interim.set(true);
        self.wake();
        true
    }

    /// The service returns the head of its answer now: no more interim answers. One that hyper's own
    /// `100 Continue` was in the way of is left out.
    pub fn answering(&self) {
        if self.turn.get() == Turn::Given {
            self.turn.set(Turn::Answering);
            if self.dirty.get() && self.has_interim.get() {
                self.interim.borrow_mut().clear();
                self.has_interim.set(false);
            }
        }
    }

    /// hyper has the whole answer, or will never have it.
    pub fn answered(&self) {
        self.answering();
        if self.turn.get() == Turn::Answering {
            self.turn.set(Turn::Answered);
        }
    }

    /// The answer is a 101, to a request whose framing says `upgrade`: what follows is no HTTP/1.
    /// False: that is not so, and nothing changes.
    #[must_use]
    pub fn switched(&self) -> bool {
        self.answering();
        let asked = self.framing.get().is_some_and(|framing| framing.upgrade);
        let may = asked && self.turn.get() == Turn::Answering;
        if may {
            self.enter(Phase::Tunnel);
            self.wake();
        }
        may
    }

    pub(super) fn tunnels(&self) -> bool {
        self.phase.get() == Phase::Tunnel
    }

    pub(super) fn enter(&self, phase: Phase) {
        let now_ms = self.clock_ms.get();
        self.phase.set(phase);
        self.began_ms.set(now_ms);
        self.progress_ms.set(now_ms);
    }

    /// A byte of a head came.
    pub(super) fn head_begins(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// A head is hyper's.
    pub(super) fn given(&self, framing: Framing) {
        self.requests.set(self.requests.get() + 1);
        self.framing.set(Some(framing));
        self.turn.set(Turn::Given);
        self.enter(if framing.body == Body::None { Phase::Answer } else { Phase::Body });
    }

    /// All of the request is hyper's.
    pub(super) fn complete(&self) {
        if self.phase.get() == Phase::Body {
            self.enter(Phase::Answer);
        }
    }

    /// Was the request at hand answered, to its last byte? Not by going on in another protocol.
    pub(super) fn is_flushed(&self) -> bool {
        self.turn.get() == Turn::Flushed && !self.tunnels()
    }

    /// No request follows the one at hand.
    pub(super) fn closes(&self) -> bool {
        self.framing.get().is_some_and(|framing| framing.close)
    }

    /// No request is at hand any more.
    pub(super) fn settled(&self) {
        self.turn.set(Turn::None);
        self.enter(Phase::Idle);
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        if self.refusal.get().is_none() {
            self.refusal.set(Some((refusal, self.turn.get() == Turn::None)));
        }
    }

    pub(super) fn ended_by(&self) -> Option<Refusal> {
        self.ended_by.get()
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
        self.progress_ms.set(self.clock_ms.get());
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.progress_ms.set(self.clock_ms.get());
    }

    /// hyper wrote: maybe not all that it has.
    pub(super) fn set_dirty(&self) {
        self.dirty.set(true);
    }

    /// hyper has nothing more to write at present: with no answer begun, this is between messages.
    pub(super) fn about_to_flush(&self) {
        if self.turn.get() == Turn::Given {
            self.dirty.set(false);
        }
    }

    /// All that hyper had is written. True: the answer was complete.
    pub(super) fn flushed(&self) -> bool {
        self.dirty.set(false);
        let over = self.turn.get() == Turn::Answered;
        if over {
            self.turn.set(Turn::Flushed);
        }
        over
    }

    /// Are there interim answers whose time it is?
    pub(super) fn has_interim(&self) -> bool {
        self.has_interim.get() && !self.dirty.get()
    }

    /// Lets `write` take interim answers from the front.
    pub(super) fn write_interim<E>(
        &self,
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut queue = self.interim.borrow_mut();
        let written = write(&queue)?.min(queue.len());
        queue.advance(written);
        self.has_interim.set(!queue.is_empty());
        self.wrote(written);
        Ok(written)
    }

    /// Remembers whom to wake.
    pub(super) fn watch(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
