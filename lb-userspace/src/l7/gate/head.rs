//! The head of an HTTP/1 request, checked strictly (RFC 9112, 3, 5 and 6). Pure.
//!
//! What is accepted has one reading: line by line, byte by byte. What hyper would refuse itself is
//! refused here, so that it is counted.

use super::{Limits, Refusal, target::authority_of};
use crate::l7::fields::authority::Authority;

/// The longest method that is taken.
const METHOD_BYTES_MAX: usize = 32;
/// A length above this is negative for some.
const LENGTH_MAX: u64 = i64::MAX.unsigned_abs();

/// How a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// After that many bytes, at least one.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// What follows a head, and becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Framing {
    /// Its body.
    pub body: Body,
    /// The client would go on in another protocol (RFC 9110, 7.8). Never with a body, in HTTP/1.0,
    /// or to h2c: who is not offered it has to go on in HTTP/1.1.
    pub upgrade: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// No request follows on this connection.
    pub close: bool,
    /// HTTP/1.0: no interim answers.
    pub http_10: bool,
}

/// Checks a complete head: from the request line to the empty line, nothing behind it.
pub fn check(head: &[u8], limits: &Limits) -> Result<Framing, Refusal> {
    if head.len() > limits.head_bytes {
        return Err(Refusal::HeadTooLarge);
    }
    match parse(head, limits)? {
        Some((framing, end)) if end == head.len() => Ok(framing),
        Some(_) | None => Err(Refusal::RequestLine),
    }
}

/// Reads a head at the beginning of `bytes`, and how long it is. `None`: it is not complete.
/// A refusal counts only if it is known that the head is complete.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Framing, usize)>, Refusal> {
    let Some((line, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let request = request_line(line)?;
    let mut fields = Fields::default();
    let mut count = 0;
    loop {
        let Some((line, next)) = self::line(bytes, at)? else { return Ok(None) };
        at = next;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.head_fields {
            return Err(Refusal::TooManyFields);
        }
        fields.take(line)?;
    }
    fields.framing(&request, limits).map(|framing| Some((framing, at)))
}

/// The line that begins there, without its CRLF, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, Refusal> {
    let Some(rest) = bytes.get(at..) else { return Ok(None) };
    let Some(lf) = find(rest, b'\n') else { return Ok(None) };
    match rest.get(..lf).and_then(<[u8]>::split_last) {
        Some((b'\r', line)) => Ok(Some((line, at + lf + 1))),
        _ => Err(Refusal::BareLf),
    }
}

/// Where that byte is first, by the fast search of `std`.
pub(super) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut rest = bytes;
    let skipped = std::io::BufRead::skip_until(&mut rest, byte).ok()?;
    let at = skipped.checked_sub(1)?;
    (bytes.get(at) == Some(&byte)).then_some(at)
}

/// What the request line says that matters below.
struct RequestLine<'a> {
    http_10: bool,
    /// Of a target in absolute form, and its scheme's port.
    authority: Option<(Authority<'a>, u16)>,
}

/// Method, target and version, and nothing else (RFC 9112, 3).
pub(super) fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    request_line(line).map(|_| ())
}

fn request_line(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(if line.contains(&b'\r') { Refusal::BareCr } else { Refusal::RequestLine });
    };
    if line.contains(&b'\r') {
        return Err(Refusal::BareCr);
    }
    let upper = |byte: &u8| is_token_byte(*byte) && !byte.is_ascii_lowercase();
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(upper) {
        return Err(Refusal::Method);
    }
    let http_10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    Ok(RequestLine { http_10, authority: authority_of(method, target)? })
}

/// RFC 9110, 5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0u8;
    while b < 0x7f {
        table[b as usize] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        b += 1;
    }
    table
};

/// Does somebody read this as a name that frames, and is it none? CGI turns `-` into `_`, some
/// turn other bytes into `-`.
pub(in crate::l7) fn is_twin(name: &[u8]) -> bool {
    let like = |real: &[u8]| {
        name.len() == real.len()
            && name.iter().zip(real).all(|(byte, real)| {
                byte.eq_ignore_ascii_case(real) || (*real == b'-' && !byte.is_ascii_alphanumeric())
            })
            && !name.eq_ignore_ascii_case(real)
    };
    match name.len() {
        14 => like(b"content-length"),
        17 => like(b"transfer-encoding"),
        _ => false,
    }
}

/// The fields that matter, as they come.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Fields<'a> {
    host: Option<Authority<'a>>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    h2c: bool,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
    /// A field line (RFC 9112, 5).
    fn take(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        let end = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let value = match rest.split_first() {
            Some((b':', value)) if !name.is_empty() => trim(value),
            Some((b' ' | b'\t', _)) if name.is_empty() => return Err(Refusal::ObsFold),
            Some((b' ' | b'\t', _)) => return Err(Refusal::FieldNameSpace),
            Some((b'\r', _)) => return Err(Refusal::BareCr),
            _ => return Err(Refusal::FieldName),
        };
        if value.iter().fold(false, |bad, byte| bad | is_control(*byte)) {
            let cr = value.contains(&b'\r');
            return Err(if cr { Refusal::BareCr } else { Refusal::ControlByte });
        }
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") => {
                let host = Authority::parse(value).ok_or(Refusal::Host)?;
                if self.host.replace(host).is_some() {
                    return Err(Refusal::SeveralHosts);
                }
            }
            6 if is(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if is(b"upgrade") => {
                self.upgrade = true;
                self.h2c |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"h2c"));
            }
            10 if is(b"connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if is(b"content-length") => self.take_length(length(value)?)?,
            17 if is(b"transfer-encoding") => {
                if self.chunked {
                    return Err(Refusal::SeveralCodings);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Coding);
                }
                self.chunked = true;
            }
            14 | 17 if is_twin(name) => return Err(Refusal::TwinName),
            _ => {}
        }
        Ok(())
    }

    fn take_length(&mut self, bytes: u64) -> Result<(), Refusal> {
        match self.length.replace(bytes) {
            None => Ok(()),
            Some(_) => Err(Refusal::SeveralLengths),
        }
    }

    /// All of them together (RFC 9112, 6.3).
    fn framing(&self, request: &RequestLine<'_>, limits: &Limits) -> Result<Framing, Refusal> {
        match (&self.host, &request.authority) {
            (None, _) if !request.http_10 => return Err(Refusal::NoHost),
            (Some(host), Some((authority, port))) if !host.same(authority, *port) => {
                return Err(Refusal::HostMismatch);
            }
            _ => {}
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Refusal::LengthAndCoding),
            (true, None) if request.http_10 => return Err(Refusal::CodingVersion),
            (true, None) => Body::Chunked,
            (false, None | Some(0)) => Body::None,
            (false, Some(bytes)) if !limits.allows_body(bytes) => {
                return Err(Refusal::BodyTooLarge);
            }
            (false, Some(bytes)) => Body::Length(bytes),
        };
        let http_10 = request.http_10;
        Ok(Framing {
            body,
            upgrade: self.upgrade
                && self.connection_upgrade
                && !self.h2c
                && !http_10
                && body == Body::None,
            expects_continue: self.expects_continue && !http_10 && body != Body::None,
            close: self.close || (http_10 && !self.keep_alive),
            http_10,
        })
    }
}

/// Digits alone, none too many (RFC 9110, 8.6); a zero in front would be octal for some.
pub(in crate::l7) fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || (value.len() > 1 && value.starts_with(b"0")) {
        return Err(Refusal::Length);
    }
    let digits = value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        length.checked_mul(10)?.checked_add(digit.into())
    });
    digits.filter(|length| *length <= LENGTH_MAX).ok_or(Refusal::Length)
}

/// No byte of a field's value (RFC 9110, 5.5).
pub(in crate::l7) const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

fn trim(value: &[u8]) -> &[u8] {
    let mut value = value;
    while let Some((b' ' | b'\t', rest)) = value.split_first() {
        value = rest;
    }
    while let Some((b' ' | b'\t', rest)) = value.split_last() {
        value = rest;
    }
    value
}

/// The members of a list (RFC 9110, 5.6.1).
pub(in crate::l7) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}
