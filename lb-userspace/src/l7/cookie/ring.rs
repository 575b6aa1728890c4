//! The key ring: what seals cookies, and what still opens them.
//!
//! Owns which key seals at a time and when one is dropped, and the ring's JSON, which is both the
//! file `keys.json` and what the agent sends to the sidecar. Reads and writes no file.
//!
//! A ring turns without losing a session: a new key opens at once and seals only later, so that the
//! file can be copied to the other nodes first; an old one opens until nothing that it sealed can
//! still be valid.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes of a key's secret (AES-256).
pub const SECRET_BYTES: usize = 32;

/// A key. `Debug` does not show its secret, and its memory is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What a cookie names it by: random, not 0, unique in its ring. No secret.
    pub id: u32,
    /// Random.
    pub secret: Zeroizing<[u8; SECRET_BYTES]>,
    /// From when on it seals, unless a newer one does; Unix time.
    pub seals_from_s: u64,
}

/// At least one key, oldest first. Of two that seal from the same second the one with the larger id
/// is the newer, on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    keys: Vec<Key>,
}

/// Why a ring could not be read. Says nothing of what stands in the file: there are secrets in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Not JSON, or other JSON.
    #[error("the key ring is damaged at line {line}, column {column}")]
    Damaged {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// No keys.
    #[error("the key ring has no key")]
    Empty,
    /// A key with the id 0.
    #[error("the key ring has a key with the id 0")]
    Zero,
    /// Two keys with one id.
    #[error("the key ring has two keys with the id {0}")]
    Twice(u32),
    /// A secret of another length, or no base64url.
    #[error("the secret of key {0} in the key ring is not {SECRET_BYTES} bytes in base64url")]
    Secret(u32),
}

impl Ring {
    /// A ring of one key, which seals at once.
    #[must_use]
    pub fn new(now_s: u64, random: &mut impl FnMut(&mut [u8])) -> Self {
        let mut ring = Self { keys: Vec::with_capacity(1) };
        ring.rotate(now_s, 0, random);
        ring
    }

    /// Adds a key that seals after `after_s` seconds. It opens at once.
    pub fn rotate(&mut self, now_s: u64, after_s: u64, random: &mut impl FnMut(&mut [u8])) {
        let id = loop {
            let mut bytes = [0; 4];
            random(&mut bytes);
            let id = u32::from_le_bytes(bytes);
            if id != 0 && self.keys.iter().all(|key| key.id != id) {
                break id;
            }
        };
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random(&mut *secret);
        self.keys.push(Key { id, secret, seals_from_s: now_s.saturating_add(after_s) });
        self.sort();
    }

    /// Drops the keys that sealed nothing that can still be valid, and returns how many: a newer
    /// one has been sealing for more than `longest_s`, the longest that any seal may be valid.
    /// Never the one that seals. Seals of cookie-rewrite have no limit of their own: they last as
    /// long as `longest_s` says.
    ///
    /// A node whose clock is behind seals with the old key for longer, but the times in what it
    /// seals are its own clock's: they are over as early.
    pub fn drop_old(&mut self, now_s: u64, longest_s: u64) -> usize {
        let over = |newer: &&Key| newer.seals_from_s.saturating_add(longest_s) < now_s;
        let old = self.keys.iter().skip(1).take_while(over).count();
        self.keys.drain(..old);
        old
    }

    /// The key that seals: the newest whose time has come. The oldest if the clock was set back
    /// before all of them.
    #[must_use]
    pub fn sealing(&self, now_s: u64) -> &Key {
        &self.keys[sealing(self.keys.iter().map(|key| key.seals_from_s), now_s)]
    }

    /// All keys, oldest first; at least one.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The ring as JSON. Secret.
    pub fn to_json(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let keys = self.keys.iter().map(|key| Written {
            id: key.id,
            secret: Zeroizing::new(URL_SAFE_NO_PAD.encode(*key.secret)),
            seals_from: key.seals_from_s,
        });
        // Large enough for every key, so that no copy stays behind when the buffer grows.
        let mut json = Zeroizing::new(Vec::with_capacity(64 + 256 * self.keys.len()));
        serde_json::to_writer(&mut *json, &WrittenRing { keys: keys.collect() })?;
        Ok(json)
    }

    /// Reads what [`Self::to_json`] wrote.
    pub fn from_json(json: &[u8]) -> Result<Self, RingError> {
        let written: WrittenRing = serde_json::from_slice(json)
            .map_err(|error| RingError::Damaged { line: error.line(), column: error.column() })?;
        let keys = written.keys.into_iter().map(Key::try_from).collect::<Result<Vec<_>, _>>()?;
        let mut ring = Self { keys };
        ring.check()?;
        ring.sort();
        Ok(ring)
    }

    fn check(&self) -> Result<(), RingError> {
        if self.keys.is_empty() {
            return Err(RingError::Empty);
        }
        let mut ids: Vec<u32> = self.keys.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        if ids.contains(&0) {
            return Err(RingError::Zero);
        }
        match ids.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(RingError::Twice(two[0])),
            None => Ok(()),
        }
    }

    fn sort(&mut self) {
        self.keys.sort_by_key(|key| (key.seals_from_s, key.id));
    }
}

/// Which of the keys with these times, oldest first, seals.
pub(super) fn sealing(
    seals_from_s: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    now_s: u64,
) -> usize {
    seals_from_s.into_iter().rposition(|from| from <= now_s).unwrap_or(0)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("seals_from_s", &self.seals_from_s)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRing {
    keys: Vec<Written>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: u32,
    #[serde(with = "text")]
    secret: Zeroizing<String>,
    seals_from: u64,
}

impl TryFrom<Written> for Key {
    type Error = RingError;

    fn try_from(written: Written) -> Result<Self, RingError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        match URL_SAFE_NO_PAD.decode_slice(written.secret.as_bytes(), &mut *secret) {
            Ok(SECRET_BYTES) => {
                Ok(Self { id: written.id, secret, seals_from_s: written.seals_from })
            }
            Ok(_) | Err(_) => Err(RingError::Secret(written.id)),
        }
    }
}

/// Text whose memory is wiped.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests;
