//! Framing of HTTP/1.1 requests: nothing that could be read in two ways gets past.
//!
//! `head` and `chunk` check, `walk` goes from message to message, `stream` stands between the client
//! and hyper, `state` is what the two and the service share. `answer` is the same for backends'
//! answers. hyper sees no byte of a head that was not checked, and of the next request none before
//! the one at hand is answered.

mod answer;
mod chunk;
mod head;
mod refusal;
mod state;
mod stream;
mod target;
mod walk;

#[cfg(test)]
mod tests;

pub use answer::{AnswerFault, answer_fault};
pub use chunk::{Chunks, Walked};
pub use head::{Body, Framing, check};
pub(super) use head::{is_twin, length, tokens};
pub use refusal::{REFUSALS, Refusal};
pub use state::{GateState, Phase};
pub use stream::Gate;
pub(super) use target::is_path_and_query;

/// What a client's request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its empty line included; of trailers, too.
    pub head_bytes: usize,
    /// Fields in a head, or in trailers.
    pub head_fields: usize,
    /// Bytes of a body; 0: no bound.
    pub body_bytes: u64,
}

impl Limits {
    /// May a body be that long?
    #[must_use]
    pub const fn allows_body(&self, bytes: u64) -> bool {
        self.body_bytes == 0 || bytes <= self.body_bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 32 << 10, head_fields: 100, body_bytes: 0 }
    }
}
