//! A chunked body, walked over (RFC 9112, 7.1). Pure; decodes nothing.
//!
//! Strict where parsers differ: CRLF only, no white space around a size, bounded digits,
//! extensions and trailers. It stops at the first byte that is wrong, however the bytes came.

use super::{
    Limits, Refusal,
    head::{is_control, is_token_byte, is_twin},
};

/// Digits of a size: more than any body has, fewer than overflow.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of extensions of one chunk, and of all chunks of a body. hyper has 16 KiB for all.
const EXTENSION_BYTES_MAX: u32 = 256;
const EXTENSIONS_BYTES_MAX: u32 = 8 << 10;
/// Bytes of all trailers, unless a head has fewer. hyper has 16 KiB.
const TRAILERS_BYTES_MAX: usize = 8 << 10;
/// Bytes of a trailer's name that are kept to compare: more than any of [`FORBIDDEN`] has.
const NAME_BYTES: usize = 20;

/// Fields that would frame, route, authorize or describe the message after the fact (RFC 9110,
/// 6.5.1), or that a proxy vouches for.
const FORBIDDEN: [&[u8]; 19] = [
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"keep-alive",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

/// How far the walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Bytes of the body's, from the beginning of what was given.
    pub bytes: usize,
    /// The body ends there.
    pub ended: bool,
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64, bytes: u32 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

/// A reader of one chunked body, fed with its bytes as they come.
#[derive(Debug, Clone)]
pub struct Chunks {
    at: At,
    body_bytes: u64,
    extensions_bytes: u32,
    trailers_bytes: usize,
    trailers: usize,
    name: [u8; NAME_BYTES],
    name_bytes: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            at: At::Size { digits: 0, size: 0 },
            body_bytes: 0,
            extensions_bytes: 0,
            trailers_bytes: 0,
            trailers: 0,
            name: [0; NAME_BYTES],
            name_bytes: 0,
        }
    }
}

impl Chunks {
    /// Goes on over `bytes`, to the end of the body or of what there is. On a refusal: the number
    /// of bytes that were in order.
    pub fn walk(&mut self, bytes: &[u8], limits: &Limits) -> Result<Walked, (usize, Refusal)> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let At::Data { left } = self.at {
                let there = bytes.len() - at;
                let step = usize::try_from(left).map_or(there, |left| left.min(there));
                at += step;
                let left = left - step as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data { left } };
                continue;
            }
            match self.take(*byte, limits) {
                Ok(false) => at += 1,
                Ok(true) => return Ok(Walked { bytes: at + 1, ended: true }),
                Err(refusal) => return Err((at, refusal)),
            }
        }
        Ok(Walked { bytes: at, ended: false })
    }

    /// A byte that is no data. True: the body's last.
    fn take(&mut self, byte: u8, limits: &Limits) -> Result<bool, Refusal> {
        self.at = match (self.at, byte) {
            (At::Size { digits, size }, _) => self.size(digits, size, byte, limits)?,
            (At::Extension { size, .. }, b'\r') => At::SizeLf { size },
            (At::Extension { size, bytes }, _) => {
                self.extensions_bytes += 1;
                if is_control(byte)
                    || bytes >= EXTENSION_BYTES_MAX
                    || self.extensions_bytes > EXTENSIONS_BYTES_MAX
                {
                    return Err(Refusal::ChunkExtension);
                }
                At::Extension { size, bytes: bytes + 1 }
            }
            (At::SizeLf { size: 0 } | At::TrailerLf, b'\n') => At::TrailerLine,
            (At::SizeLf { size }, b'\n') => At::Data { left: size },
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::DataCr | At::DataLf | At::Data { .. }, _) => return Err(Refusal::ChunkEnd),
            (At::TrailerLine, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => return Ok(true),
            (At::SizeLf { .. } | At::TrailerLf | At::LastLf, _) => return Err(Refusal::BareCr),
            (At::TrailerLine | At::TrailerName | At::TrailerValue, _) => {
                self.trailer(byte, limits)?
            }
        };
        Ok(false)
    }

    fn size(&mut self, digits: u8, size: u64, byte: u8, limits: &Limits) -> Result<At, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' | b';' if digits > 0 => {
                self.body_bytes = self.body_bytes.saturating_add(size);
                if !limits.allows_body(self.body_bytes) {
                    return Err(Refusal::BodyTooLarge);
                }
                return Ok(match byte {
                    b'\r' => At::SizeLf { size },
                    _ => At::Extension { size, bytes: 1 },
                });
            }
            _ => return Err(Refusal::ChunkSize),
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(Refusal::ChunkSize);
        }
        Ok(At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
    }

    fn trailer(&mut self, byte: u8, limits: &Limits) -> Result<At, Refusal> {
        self.trailers_bytes += 1;
        if self.trailers_bytes > TRAILERS_BYTES_MAX.min(limits.head_bytes) {
            return Err(Refusal::TrailersTooLarge);
        }
        if self.at == At::TrailerLine {
            self.trailers += 1;
            if self.trailers > limits.head_fields {
                return Err(Refusal::TrailersTooLarge);
            }
            self.name_bytes = 0;
        }
        if self.at == At::TrailerValue {
            return match byte {
                b'\r' => Ok(At::TrailerLf),
                b'\n' => Err(Refusal::BareLf),
                _ if is_control(byte) => Err(Refusal::ControlByte),
                _ => Ok(At::TrailerValue),
            };
        }
        match byte {
            b':' if self.name_bytes > 0 => self.named().map(|()| At::TrailerValue),
            b' ' | b'\t' if self.name_bytes > 0 => Err(Refusal::FieldNameSpace),
            b' ' | b'\t' => Err(Refusal::ObsFold),
            b'\n' => Err(Refusal::BareLf),
            _ if !is_token_byte(byte) => Err(Refusal::FieldName),
            _ => {
                if let Some(place) = self.name.get_mut(self.name_bytes) {
                    *place = byte.to_ascii_lowercase();
                }
                self.name_bytes += 1;
                Ok(At::TrailerName)
            }
        }
    }

    /// The name of a trailer is complete.
    fn named(&self) -> Result<(), Refusal> {
        let Some(name) = self.name.get(..self.name_bytes) else { return Ok(()) };
        if FORBIDDEN.contains(&name) {
            return Err(Refusal::TrailerField);
        }
        if is_twin(name) { Err(Refusal::TwinName) } else { Ok(()) }
    }
}
