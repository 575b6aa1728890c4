//! Which backend a request's session is on, and what becomes of its cookie. Pure.
//!
//! [`judge`] reads the seals that a request brings; `answer` decides what cookie its answer sets.
//! With cookie-insert the seals are the values of the cookie of the rule's name ([`cookie::jar`]);
//! with cookie-rewrite what [`cookie::rewrite::find`] finds in them.
//!
//! ```text
//!   no seal ......................... new       a backend is picked, a session begins
//!   opens with no key, or elsewhere . forged    the same
//!   over its limits ................. expired   the same
//!   backend gone, down, or reborn ... down      a backend is picked, the session moves
//!   backend evacuating .............. drained   the same
//!   else ............................ hit       the session stays
//! ```
//!
//! [`cookie::jar`]: super::cookie::jar
//! [`cookie::rewrite::find`]: super::cookie::rewrite::find

mod answer;
mod verdict;

pub use answer::{Answer, Chosen};
pub use verdict::Verdict;

use std::time::Duration;

use super::cookie::{
    pin::Pin,
    seal::{OpenError, Opened, Sealer, open},
};
use crate::config::http::HttpMode;

/// Times that are ahead of ours by more come from a clock that was wrong, or is. By less is usual
/// among nodes and threads.
const AHEAD_MS: u64 = 1000;

/// How many seals of a request are opened: each takes about a microsecond, and a request may have
/// hundreds. Browsers have one, and a few where paths or domains overlap.
pub const TRIED: usize = 16;

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request; 0: no bound.
    pub idle_s: u32,
    /// In all; 0: no bound.
    pub absolute_s: u32,
}

impl Limits {
    /// cookie-rewrite: the lifetime is the backend's (C2).
    pub const NONE: Self = Self { idle_s: 0, absolute_s: 0 };

    /// As configured.
    #[must_use]
    pub fn of(mode: &HttpMode) -> Self {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        match mode {
            HttpMode::Insert(insert) => Self {
                idle_s: seconds(insert.timeout),
                absolute_s: insert.max_lifetime.map_or(0, seconds),
            },
            HttpMode::Rewrite { .. } | HttpMode::SourceIp(_) => Self::NONE,
        }
    }
}

/// What the sessions of a rule are judged by.
#[derive(Clone, Copy)]
pub struct Rule<'r> {
    /// The text that says which listener and rule it is; seals of others do not open.
    pub scope: &'r [u8],
    /// The keys.
    pub sealer: &'r Sealer,
    /// As configured now.
    pub limits: Limits,
}

/// May a backend have requests? (P9, C10)
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Standing {
    /// Yes.
    InService,
    /// Those of its sessions.
    Draining,
    /// None; its sessions move.
    Evacuating,
    /// None: its health, or it is not there.
    Down,
}

/// A backend as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its place among the pool's backends.
    pub index: usize,
    /// Which instance counts `generation`: this one.
    pub epoch: u32,
    /// Counts its lives.
    pub generation: u32,
    /// May it have requests?
    pub standing: Standing,
}

/// What is known of a request's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What happened (C14).
    pub verdict: Verdict,
    /// [`Life::index`] of the session's backend. `hit` only.
    pub backend: Option<usize>,
    /// What the session's cookie says. `hit`, and `drained` and `down`, whose sessions go on
    /// elsewhere: who picks their backend by the hash of the session's id has the same one until
    /// the client has its new cookie.
    pub session: Option<Pin>,
    /// Is the cookie to be made anew? (C7) `hit` only.
    pub renew: bool,
}

impl Outcome {
    /// A request without a seal.
    pub const NEW: Self =
        Self { verdict: Verdict::New, backend: None, session: None, renew: false };

    fn without_session(verdict: Verdict) -> Self {
        Self { verdict, ..Self::NEW }
    }
}

/// Judges the seals that a request brings. The first that is valid counts (C8); if none is, the
/// one that explains most: drained, then down, expired, forged. Those behind the first
/// [`TRIED`] do not count.
///
/// `backends` says what this node knows of an identity; nothing: it was removed.
pub fn judge<'v>(
    rule: &Rule<'_>,
    presented: impl IntoIterator<Item = &'v [u8]>,
    backends: impl Fn(u64) -> Option<Life>,
    now_ms: u64,
) -> Outcome {
    let mut best = Outcome::NEW;
    for value in presented.into_iter().take(TRIED) {
        let outcome = judge_one(rule, value, &backends, now_ms);
        if outcome.verdict == Verdict::Hit {
            return outcome;
        }
        if outcome.verdict > best.verdict {
            best = outcome;
        }
    }
    best
}

fn judge_one(
    rule: &Rule<'_>,
    value: &[u8],
    backends: impl Fn(u64) -> Option<Life>,
    now_ms: u64,
) -> Outcome {
    let Opened { pin, key } = match open(rule.sealer, rule.scope, value) {
        Ok(opened) => opened,
        // An unknown key is another's, or has not been copied here: keys are dropped only when what
        // they sealed is over.
        Err(OpenError::NotASeal | OpenError::UnknownKey | OpenError::Forged) => {
            return Outcome::without_session(Verdict::Forged);
        }
    };
    let idle_s = shorter(pin.idle_s, rule.limits.idle_s);
    let absolute_s = shorter(pin.absolute_s, rule.limits.absolute_s);
    if !in_time(pin.renewed_ms, idle_s, now_ms) || !in_time(pin.issued_ms, absolute_s, now_ms) {
        return Outcome::without_session(Verdict::Expired);
    }
    let Some(life) = backends(pin.backend) else { return moved(Verdict::Down, pin) };
    // One instance counts lives. Of what another one sealed, or this one before it lost its count,
    // nobody knows more than whether the backend is there.
    let reborn = pin.epoch == life.epoch && pin.generation != life.generation;
    match life.standing {
        Standing::Down => moved(Verdict::Down, pin),
        Standing::InService | Standing::Draining | Standing::Evacuating if reborn => {
            moved(Verdict::Down, pin)
        }
        Standing::Evacuating => moved(Verdict::Drained, pin),
        Standing::InService | Standing::Draining => Outcome {
            verdict: Verdict::Hit,
            backend: Some(life.index),
            session: Some(pin),
            renew: is_old(&pin, idle_s, now_ms)
                || (pin.idle_s, pin.absolute_s) != (rule.limits.idle_s, rule.limits.absolute_s)
                || pin.epoch != life.epoch
                || key != rule.sealer.sealing(now_ms),
        },
    }
}

fn moved(verdict: Verdict, pin: Pin) -> Outcome {
    Outcome { session: Some(pin), ..Outcome::without_session(verdict) }
}

/// P3: at exactly the limit it is gone. A time ahead of ours is an age of 0: the clock was set
/// back, or another node's is ahead.
fn in_time(since_ms: u64, limit_s: u32, now_ms: u64) -> bool {
    limit_s == 0 || now_ms.saturating_sub(since_ms) < u64::from(limit_s) * 1000
}

/// C7: from an eighth of the idle time on. Also when its times are ahead of ours: until it is
/// made anew it would last longer than it should.
fn is_old(pin: &Pin, idle_s: u32, now_ms: u64) -> bool {
    (idle_s > 0 && now_ms.saturating_sub(pin.renewed_ms) >= u64::from(idle_s) * 1000 / 8)
        || pin.renewed_ms.max(pin.issued_ms) > now_ms.saturating_add(AHEAD_MS)
}

/// The shorter of two limits, of which 0 is none.
#[must_use]
pub fn shorter(a: u32, b: u32) -> u32 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

#[cfg(test)]
mod tests;
