//! What cookie an answer sets.
//!
//! Three rules. Never on 4xx and 5xx, unless configured (C4): the same for a session that is made,
//! moved or renewed; so who gets nothing but errors is no active session. On 2xx, 3xx and 101 if
//! there is something to say: a new session, a move, or a renewal that is due. And it says what is
//! so: the backend that answered. A redirect is an answer like another: the session stays where it
//! is (C5).
//!
//! A session that moves (C10) keeps its id and its beginning: it is the same one elsewhere, logs
//! can follow it, and no move makes it last longer. One that follows an expired or forged value is
//! new.

use http::StatusCode;

use super::{Limits, Outcome, Pin, Verdict};

/// An answer, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// `insert_on_error`.
    pub insert_on_error: bool,
}

/// The backend that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// [`backend_identity`](crate::l7::cookie::pin::backend_identity).
    pub identity: u64,
    /// [`Life::epoch`](super::Life::epoch).
    pub epoch: u32,
    /// [`Life::generation`](super::Life::generation) when the request was sent.
    pub generation: u32,
}

impl Outcome {
    /// cookie-insert: the pin that an answer sets, if it sets one.
    #[must_use]
    pub fn on_answer(
        &self,
        answer: Answer,
        chosen: Chosen,
        limits: Limits,
        now_ms: u64,
        random: &mut impl FnMut(&mut [u8]),
    ) -> Option<Pin> {
        let stays = self.verdict == Verdict::Hit
            && !self.renew
            && self.session.is_some_and(|pin| pin.backend == chosen.identity);
        (!stays && answer.may_set()).then(|| self.pin(chosen, limits, now_ms, random))
    }

    /// The pin of the request's session on the backend that answered. cookie-rewrite seals it into
    /// whatever cookie of the name the backend sets, with any status: the cookie is the backend's.
    #[must_use]
    pub fn pin(
        &self,
        chosen: Chosen,
        limits: Limits,
        now_ms: u64,
        random: &mut impl FnMut(&mut [u8]),
    ) -> Pin {
        let (session, issued_ms) = match self.session {
            // A beginning that is still to come would lengthen its life.
            Some(pin) => (pin.session, pin.issued_ms.min(now_ms)),
            None => (id(random), now_ms),
        };
        Pin {
            backend: chosen.identity,
            epoch: chosen.epoch,
            generation: chosen.generation,
            session,
            issued_ms,
            renewed_ms: now_ms,
            idle_s: limits.idle_s,
            absolute_s: limits.absolute_s,
        }
    }
}

impl Answer {
    fn may_set(self) -> bool {
        let status = self.status;
        status.is_success()
            || status.is_redirection()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || (self.insert_on_error && (status.is_client_error() || status.is_server_error()))
    }
}

fn id(random: &mut impl FnMut(&mut [u8])) -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}
