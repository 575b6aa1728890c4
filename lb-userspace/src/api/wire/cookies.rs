//! Keys of cookies, what a cookie says, and another sidecar.

use serde::{Deserialize, Serialize};

use super::BackendState;

/// Answer of `GET /v1/keys`. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The file that holds them: to copy to other nodes.
    pub file: String,
    /// Oldest first.
    pub keys: Vec<Key>,
}

/// A key of cookies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What cookies name it by.
    pub id: u32,
    /// From when on it seals, unless a newer one does, RFC 3339 in UTC.
    pub seals_from: String,
    /// How long that is from now; null: it has come.
    #[serde(default)]
    pub seals_in_s: Option<u64>,
    /// Does it seal now?
    pub seals: bool,
}

/// Body of `POST /v1/keys/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// When the new key begins to seal, from now: the time to copy the keys to other nodes. Default
    /// 60; up to 30 days.
    #[serde(default = "RotateRequest::default_after_s")]
    pub after_s: u64,
}

impl RotateRequest {
    /// Longest time until a new key seals: 30 days.
    pub const AFTER_S_MAX: u64 = 30 * 24 * 3600;

    const fn default_after_s() -> u64 {
        60
    }
}

/// Answer of `POST /v1/keys/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The new key.
    pub key: Key,
    /// Keys that were dropped: nothing that they sealed can be valid any more.
    pub dropped: u64,
    /// All, with the new one.
    pub keys: Keys,
}

/// Body of `POST /v1/cookie/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// A cookie's value, `NAME=VALUE`, or `Cookie:` and `Set-Cookie:` lines.
    pub value: String,
}

/// Answer of `POST /v1/cookie/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Cookies that are, or should be, of the sidecar's own making.
    pub cookies: Vec<ExplainedCookie>,
    /// Cookies that are others'.
    pub others: u64,
}

/// What a cookie says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedCookie {
    /// Its name, if it was given.
    #[serde(default)]
    pub name: Option<String>,
    /// The seal stands before a backend's own value, as `cookie-rewrite` has it.
    pub rewritten: bool,
    /// Id of the key that it says it was sealed by; null: it is no seal.
    #[serde(default)]
    pub key: Option<u32>,
    /// Why it does not open; null: it does.
    #[serde(default)]
    pub error: Option<String>,
    /// What it says, if it opens.
    #[serde(default)]
    pub session: Option<ExplainedSession>,
}

/// A session's cookie, opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedSession {
    /// The listener that it is for.
    pub listener: String,
    /// The pool that it is for.
    pub pool: String,
    /// Does the key that sealed it seal now?
    pub key_seals: bool,
    /// Its backend; null: one that is not configured (any more), or elsewhere.
    #[serde(default)]
    pub backend: Option<ExplainedBackend>,
    /// The session's id, 16 hexadecimal digits; it stays when the session moves.
    pub id: String,
    /// When the session began, RFC 3339 in UTC.
    pub issued: String,
    /// How long ago that was.
    pub issued_ago_s: u64,
    /// When this cookie was made.
    pub renewed: String,
    /// How long ago that was.
    pub renewed_ago_s: u64,
    /// The rules of the listener that a request with it could be for.
    pub rules: Vec<ExplainedRule>,
}

/// The backend of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedBackend {
    /// Its name.
    pub name: String,
    /// What it is now.
    pub state: BackendState,
    /// Which of its lives the cookie is of.
    pub generation: u32,
    /// Which it is in.
    pub generation_now: u32,
    /// Is that the same? Null: the cookie is another node's, which counts lives by itself.
    #[serde(default)]
    pub same_life: Option<bool>,
}

/// What a rule makes of a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// Its host; null: any.
    #[serde(default)]
    pub host: Option<String>,
    /// Its path.
    pub path: String,
    /// Name of its cookie.
    pub cookie: String,
    /// What a request would be found to be now: `hit`, `expired`, `drained`, `down` or `forged`.
    pub verdict: String,
    /// Would the answer bring the cookie anew?
    pub renews: bool,
    /// How long the session may be idle; null: no bound.
    #[serde(default)]
    pub idle: Option<ExplainedLimit>,
    /// How long it may last in all; null: no bound.
    #[serde(default)]
    pub absolute: Option<ExplainedLimit>,
}

/// A limit of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedLimit {
    /// The shorter of what the cookie says and what is configured now.
    pub limit_s: u64,
    /// When it is reached, RFC 3339 in UTC.
    pub ends: String,
    /// How long that is from now, rounded up; 0: it is over.
    pub left_s: u64,
}

/// Answer of `POST /v1/sidecar/replace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The process that is being replaced; null: none runs at the moment.
    #[serde(default)]
    pub pid: Option<u32>,
    /// What it has under way then is cut off.
    pub drain_s: u64,
}
