//! What a session's cookie says, before it is sealed.
//!
//! Owns the coding; never judges what it reads.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// A session's backend and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// [`backend_identity`] of the backend.
    pub backend: u64,
    /// Which instance counted `generation`.
    pub epoch: u32,
    /// The backend's life when it was sealed.
    pub generation: u32,
    /// The session's own id: random; kept when it is renewed or moved.
    pub session: u64,
    /// When the session began, Unix time. Milliseconds: a timeout may be one second.
    pub issued_ms: u64,
    /// When the cookie was last made, Unix time.
    pub renewed_ms: u64,
    /// How long it is good for from `renewed_ms`; 0: no bound.
    pub idle_s: u32,
    /// How long the session is good for from `issued_ms`; 0: no bound.
    pub absolute_s: u32,
}

/// Bytes of a coded pin.
pub const PIN_BYTES: usize = 49;

/// First byte of the coding that this version writes, and the only one it reads.
const VERSION: u8 = 1;

impl Pin {
    /// The pin as bytes: a version, then its fields in their order, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PIN_BYTES] {
        let fields: [&[u8]; 9] = [
            &[VERSION],
            &self.backend.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.generation.to_le_bytes(),
            &self.session.to_le_bytes(),
            &self.issued_ms.to_le_bytes(),
            &self.renewed_ms.to_le_bytes(),
            &self.idle_s.to_le_bytes(),
            &self.absolute_s.to_le_bytes(),
        ];
        let mut bytes = [0; PIN_BYTES];
        for (byte, field) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *field;
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for another version or length.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        if take(rest)? != [VERSION] {
            return None;
        }
        let pin = Self {
            backend: u64::from_le_bytes(take(rest)?),
            epoch: u32::from_le_bytes(take(rest)?),
            generation: u32::from_le_bytes(take(rest)?),
            session: u64::from_le_bytes(take(rest)?),
            issued_ms: u64::from_le_bytes(take(rest)?),
            renewed_ms: u64::from_le_bytes(take(rest)?),
            idle_s: u32::from_le_bytes(take(rest)?),
            absolute_s: u32::from_le_bytes(take(rest)?),
        };
        bytes.is_empty().then_some(pin)
    }
}

/// What stands for a backend in a pin: a hash of its name, address and port, as
/// `web-1 10.0.0.11:8080`.
///
/// The same on every node and in every version. The key is known to all, and need not be secret:
/// only who can open a seal ever sees the hash, and backends are the operator's, so nobody makes
/// two of them collide on purpose.
#[must_use]
pub fn backend_identity(text: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x686f_6c64_6661_7374, 0x6261_636b_656e_6473);
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Pin = Pin {
        backend: 0x0102_0304_0506_0708,
        epoch: 0x1112_1314,
        generation: 0x2122_2324,
        session: 0x3132_3334_3536_3738,
        issued_ms: 0x4142_4344_4546_4748,
        renewed_ms: 0x5152_5354_5556_5758,
        idle_s: 0x6162_6364,
        absolute_s: 0x7172_7374,
    };

    #[test]
    fn the_coding_does_not_change() {
        let want: [u8; PIN_BYTES] = [
            1, //
            0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // backend
            0x14, 0x13, 0x12, 0x11, // epoch
            0x24, 0x23, 0x22, 0x21, // generation
            0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, // session
            0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, // issued
            0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, // renewed
            0x64, 0x63, 0x62, 0x61, // idle
            0x74, 0x73, 0x72, 0x71, // absolute
        ];
        assert_eq!(PIN.to_bytes(), want);
        assert_eq!(Pin::from_bytes(&want), Some(PIN));
    }

    #[test]
    fn other_versions_and_lengths_are_refused() {
        let bytes = PIN.to_bytes();
        for version in (0..=u8::MAX).filter(|&version| version != VERSION) {
            let mut other = bytes;
            other[0] = version;
            assert_eq!(Pin::from_bytes(&other), None, "version {version}");
        }
        for length in 0..PIN_BYTES {
            assert_eq!(Pin::from_bytes(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Pin::from_bytes(&[&bytes[..], &[0]].concat()), None, "a byte more");
    }

    #[test]
    fn an_identity_does_not_change() {
        // Cookies of older versions hold these.
        assert_eq!(backend_identity("web-1 10.0.0.11:8080"), GOLDEN);
        assert_ne!(backend_identity("web-1 10.0.0.11:8081"), GOLDEN);
    }

    const GOLDEN: u64 = 0x7ada_102f_258d_e7de;
}
