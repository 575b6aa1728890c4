//! A client's connection, as its requests see it.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use http::HeaderMap;

use super::{Worker, connection::Opened, state::State};
use crate::l7::{
    fields::forwarded,
    gate::{GateState, Limits},
    upstream::{Permit, connect::Socket},
};

/// A connection.
pub(super) struct Client {
    pub(super) opened: Opened,
    /// What it says of whom it speaks for is believed.
    pub(super) trusted: bool,
    /// HTTP/1.1: what reads before hyper does.
    pub(super) gate: Option<Rc<GateState>>,
    /// What it is to become after its last answer.
    pub(super) switched: RefCell<Option<Switched>>,
    /// What its last request said of whom it comes from.
    said: RefCell<Option<forwarded::Said>>,
    /// The state that was in force last, and the listener's index in it.
    place: RefCell<Option<(Rc<State>, usize)>>,
}

/// The other end of what was HTTP.
pub(super) struct Switched {
    /// The backend.
    pub(super) socket: Socket,
    /// What came from it already.
    pub(super) first: Bytes,
    /// Counts until it ends.
    pub(super) permit: Permit,
}

impl Client {
    /// A connection that was let in.
    pub(super) fn new(opened: Opened, gate: Option<Rc<GateState>>) -> Rc<Self> {
        let trusted =
            opened.worker.state().is_some_and(|state| state.view.trusts(opened.peer.ip()));
        Rc::new(Self {
            opened,
            trusted,
            gate,
            switched: RefCell::new(None),
            said: RefCell::new(None),
            place: RefCell::new(None),
        })
    }

    /// The worker that serves it.
    pub(super) fn worker(&self) -> &Worker {
        &self.opened.worker
    }

    /// Says in a request's fields whom it comes from.
    pub(super) fn forwarded(&self, fields: &mut HeaderMap, host: Option<&str>) {
        let mut said = self.said.borrow_mut();
        if let Some(said) = said.as_ref().filter(|said| said.is_of(host)) {
            return said.set(fields);
        }
        let peer = forwarded::Peer {
            address: self.opened.client.ip(),
            https: self.opened.secure,
            host,
            trusted: self.trusted,
        };
        *said = forwarded::Said::of(&peer);
        match &*said {
            Some(said) => said.set(fields),
            None => forwarded::set(fields, &peer),
        }
    }

    /// What its requests may take.
    pub(super) fn limits(&self) -> Limits {
        let state = self.opened.worker.state.borrow();
        state.as_ref().map_or_else(Limits::default, |state| {
            let limits = &state.view.settings.limits;
            Limits {
                head_bytes: limits.head_bytes as usize,
                head_fields: limits.head_fields.into(),
                body_bytes: limits.body_bytes,
            }
        })
    }

    /// Counts what was refused.
    pub(super) fn refuse(&self, why: &'static str) {
        if let Some((state, listener)) = self.place() {
            state.listeners[listener].refuse(why);
        }
    }

    /// What is in force, and the index of the listener in it; `None`: the listener was removed.
    pub(super) fn place(&self) -> Option<(Rc<State>, usize)> {
        let now = self.opened.worker.state.borrow();
        let now = now.as_ref()?;
        let mut place = self.place.borrow_mut();
        match &*place {
            Some((state, index)) if Rc::ptr_eq(state, now) => Some((Rc::clone(state), *index)),
            _ => {
                let index = now.view.listener_at(self.opened.listener);
                *place = index.map(|index| (Rc::clone(now), index));
                place.clone()
            }
        }
    }
}
