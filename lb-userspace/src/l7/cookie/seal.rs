//! Seals: a pin as text that a client can neither read, change, nor use elsewhere (C6).
//!
//! Owns the form of the text and the ciphers; what a pin means is not known here.
//!
//! A seal is `hold`, then in base64url without padding (RFC 4648, 5): the key's id (4 bytes,
//! little-endian), the nonce (12), the ciphertext ([`PIN_BYTES`]) and the tag (16). It is always
//! [`SEAL_BYTES`] long. The mark in front tells it from what others put into cookies, also when its
//! key is long gone: the head of a JSON web token may be as long, and be followed by a dot.
//!
//! AES-256-GCM-SIV (RFC 8452), not GCM: nodes that share a ring draw nonces without knowing of one
//! another, for as long as a key seals. When a nonce comes twice, GCM gives its authentication key
//! away; of GCM-SIV one learns at most that two seals hold the same pin in the same scope.

use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce, Tag, aead::AeadInOut as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    pin::{PIN_BYTES, Pin},
    ring::{self, Ring},
};

/// Bytes of a seal's text.
pub const SEAL_BYTES: usize = MARK.len() + RAW_BYTES / 3 * 4;

const MARK: &str = "hold";
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const RAW_BYTES: usize = ID_BYTES + NONCE_BYTES + PIN_BYTES + TAG_BYTES;
// No bits are left over in the last character: one text for each value.
const _: () = assert!(RAW_BYTES.is_multiple_of(3));

/// A ring made ready: a cipher for each key.
pub struct Sealer {
    /// As in the ring: oldest first, at least one.
    keys: Vec<Prepared>,
}

struct Prepared {
    id: u32,
    seals_from_s: u64,
    cipher: Aes256GcmSiv,
}

/// An opened seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What was sealed.
    pub pin: Pin,
    /// The id of the key that sealed it.
    pub key: u32,
}

/// Why a value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Other text: no mark, another length, another alphabet.
    #[error("not a seal")]
    NotASeal,
    /// No key of the ring has that id: it was dropped, has not come yet, or never was.
    #[error("sealed by a key that is not in the ring")]
    UnknownKey,
    /// Changed, made without the key, from another scope, or of another version.
    #[error("not sealed by its key in this scope")]
    Forged,
}

impl Sealer {
    /// Makes the ciphers.
    #[must_use]
    pub fn new(ring: &Ring) -> Self {
        let prepare = |key: &ring::Key| Prepared {
            id: key.id,
            seals_from_s: key.seals_from_s,
            cipher: Aes256GcmSiv::new((&*key.secret).into()),
        };
        Self { keys: ring.keys().iter().map(prepare).collect() }
    }

    /// The id of the key that seals now.
    #[must_use]
    pub fn sealing(&self, now_ms: u64) -> u32 {
        self.sealing_key(now_ms).id
    }

    fn sealing_key(&self, now_ms: u64) -> &Prepared {
        let times = self.keys.iter().map(|key| key.seals_from_s);
        &self.keys[ring::sealing(times, now_ms / 1000)]
    }
}

/// Seals `pin` for `scope`: the text that says which listener and rule the cookie is for. It opens
/// in the same scope only.
#[must_use]
pub fn seal(
    sealer: &Sealer,
    scope: &[u8],
    pin: &Pin,
    now_ms: u64,
    random: &mut impl FnMut(&mut [u8]),
) -> String {
    let key = sealer.sealing_key(now_ms);
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce);
    let mut cipher_text = pin.to_bytes();
    let tag = key
        .cipher
        .encrypt_inout_detached(&Nonce::from(nonce), scope, cipher_text.as_mut_slice().into())
        // Only more than 64 GiB are refused. If ever, nothing is shown, and it opens nowhere.
        .unwrap_or_else(|_| {
            cipher_text.fill(0);
            Tag::default()
        });
    let mut raw = Vec::with_capacity(RAW_BYTES);
    raw.extend_from_slice(&key.id.to_le_bytes());
    raw.extend_from_slice(&nonce);
    raw.extend_from_slice(&cipher_text);
    raw.extend_from_slice(&tag);
    let mut text = String::with_capacity(SEAL_BYTES);
    text.push_str(MARK);
    URL_SAFE_NO_PAD.encode_string(raw, &mut text);
    text
}

/// Opens what [`seal`] made for `scope`.
pub fn open(sealer: &Sealer, scope: &[u8], value: &[u8]) -> Result<Opened, OpenError> {
    let raw = decoded(value).ok_or(OpenError::NotASeal)?;
    let (id, rest) = split(&raw)?;
    let (nonce, rest) = split::<NONCE_BYTES>(rest)?;
    let (cipher_text, rest) = split::<PIN_BYTES>(rest)?;
    let (tag, _) = split::<TAG_BYTES>(rest)?;
    let id = u32::from_le_bytes(*id);
    let key = sealer.keys.iter().find(|key| key.id == id).ok_or(OpenError::UnknownKey)?;
    let mut pin = *cipher_text;
    let opened = key.cipher.decrypt_inout_detached(
        &Nonce::from(*nonce),
        scope,
        pin.as_mut_slice().into(),
        &Tag::from(*tag),
    );
    match opened.ok().and_then(|()| Pin::from_bytes(&pin)) {
        Some(pin) => Ok(Opened { pin, key: id }),
        None => Err(OpenError::Forged),
    }
}

/// The id of the key that a seal says it was sealed by; `None`: it has not the form of one.
#[must_use]
pub fn key_id(value: &[u8]) -> Option<u32> {
    decoded(value)?.first_chunk().map(|id| u32::from_le_bytes(*id))
}

/// Has `text` the form of a seal? Whether one opens is another matter.
#[must_use]
pub fn has_form(text: &[u8]) -> bool {
    text.len() == SEAL_BYTES
        && text.starts_with(MARK.as_bytes())
        && text.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn decoded(value: &[u8]) -> Option<[u8; RAW_BYTES]> {
    let text = value.strip_prefix(MARK.as_bytes())?;
    let mut raw = [0; RAW_BYTES];
    matches!(URL_SAFE_NO_PAD.decode_slice(text, &mut raw), Ok(RAW_BYTES)).then_some(raw)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), OpenError> {
    bytes.split_first_chunk().ok_or(OpenError::NotASeal)
}

#[cfg(test)]
mod tests;
