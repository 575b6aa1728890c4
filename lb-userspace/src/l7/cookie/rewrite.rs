//! cookie-rewrite: a seal inside the value of a backend's cookie, and out of it again (C2).
//!
//! Owns where the seal stands: before the backend's value, and a dot between them,
//! `<seal>.<value>`; behind the quote, if the value begins with one, so that a quoted value stays
//! one (RFC 6265, 4.1.1; some clients refuse quotes elsewhere). Seals are all of one length: the
//! value may hold dots, look like a seal or be anything else, and comes back byte for byte.
//! Attributes are not touched.

use std::ops::Range;

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderValue,
    header::{Entry, SET_COOKIE},
};

use super::{
    date, jar,
    seal::{SEAL_BYTES, has_form},
};

/// Bytes of a cookie's name and value (RFC 6265, 6.1, and what browsers do).
const BROWSERS_TAKE: usize = 4096;

/// A seal in the value of a presented cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'v> {
    /// The seal.
    pub seal: &'v [u8],
    /// Where it stands, with its dot: what is to be cut out.
    start: usize,
}

impl Sealed<'_> {
    /// What is to be cut out of the value for the backend's own.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + SEAL_BYTES + 1
    }
}

/// Finds the seal in a cookie's value. `None`: there is none, since the cookie is older than
/// Holdfast here, or a script set it. Such a value goes to the backend as it is.
#[must_use]
pub fn find(value: &[u8]) -> Option<Sealed<'_>> {
    let start = usize::from(value.first() == Some(&b'"'));
    let (seal, rest) = value.get(start..)?.split_at_checked(SEAL_BYTES)?;
    (rest.first() == Some(&b'.') && has_form(seal)).then_some(Sealed { seal, start })
}

/// Gives a request the backend's own values back, in every cookie of that name, also where the
/// seal does not open: what is in front of the value is ours by its form alone.
pub fn restore(headers: &mut HeaderMap, name: &str) -> bool {
    jar::cut(headers, name, |value| find(value).map(|sealed| sealed.range()))
}

/// Puts `seal` into every cookie of that name that an answer sets; says whether there was one.
///
/// `seal` is called once at most, when it is needed. A cookie that is deleted passes as it is, and
/// stays deleted: one with an empty value (also `""`), one with a `Max-Age` of 0 or less, one with
/// `Expires` at or before `now_ms`. Of attributes that come twice the last that can be read counts,
/// and `Max-Age` goes before `Expires` (RFC 6265, 5.3). So does one that would grow beyond what
/// browsers take, 4096 bytes of name and value: without its pin it is still a cookie.
pub fn rewrite(
    headers: &mut HeaderMap,
    name: &str,
    now_ms: u64,
    seal: impl FnOnce() -> String,
) -> bool {
    let place = |field: &HeaderValue| place(field.as_bytes(), name.as_bytes(), now_ms);
    if !headers.get_all(SET_COOKIE).iter().any(|field| place(field).is_some()) {
        return false;
    }
    let Entry::Occupied(mut fields) = headers.entry(SET_COOKIE) else { return false };
    let seal = seal();
    for field in fields.iter_mut() {
        let Some(at) = place(field) else { continue };
        let (before, value) = field.as_bytes().split_at(at);
        let mut sealed = BytesMut::with_capacity(field.len() + seal.len() + 1);
        sealed.extend_from_slice(before);
        sealed.extend_from_slice(seal.as_bytes());
        sealed.extend_from_slice(b".");
        sealed.extend_from_slice(value);
        // Of a field's bytes and a seal's: it is always a value.
        if let Ok(mut sealed) = HeaderValue::from_maybe_shared(sealed.freeze()) {
            sealed.set_sensitive(field.is_sensitive());
            *field = sealed;
        }
    }
    true
}

/// Where the seal goes in a `Set-Cookie` field that sets the cookie of that name.
fn place(field: &[u8], name: &[u8], now_ms: u64) -> Option<usize> {
    let mut parts = field.split(|&byte| byte == b';');
    let pair = parts.next()?;
    let value =
        pair.trim_ascii_start().strip_prefix(name)?.trim_ascii_start().strip_prefix(b"=")?;
    let value = value.trim_ascii_start();
    let bare = value.trim_ascii_end();
    let too_long = name.len() + bare.len() + SEAL_BYTES + 1 > BROWSERS_TAKE;
    if matches!(bare, b"" | b"\"\"") || too_long || is_over(parts, now_ms) {
        return None;
    }
    Some(pair.len() - value.len() + usize::from(value.first() == Some(&b'"')))
}

/// Do these attributes delete a cookie?
fn is_over<'f>(attributes: impl Iterator<Item = &'f [u8]>, now_ms: u64) -> bool {
    let (mut max_age, mut expires) = (None, None);
    for attribute in attributes {
        let Some(equals) = attribute.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (&attribute[..equals], attribute[equals + 1..].trim_ascii());
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"max-age") {
            max_age = is_no_age(value).or(max_age);
        } else if name.eq_ignore_ascii_case(b"expires") {
            expires = date::unix_seconds(value).or(expires);
        }
    }
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    max_age.unwrap_or_else(|| expires.is_some_and(|expires| expires <= seconds))
}

/// Is this `Max-Age` 0 or less? `None`: it is no number, and does not count (RFC 6265, 5.2.2).
fn is_no_age(text: &[u8]) -> Option<bool> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    number.then(|| negative || digits.iter().all(|&digit| digit == b'0'))
}

#[cfg(test)]
mod tests;
