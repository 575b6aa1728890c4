//! Cookies in requests: found by exact name (C8), taken out, or mended.
//!
//! Owns how `Cookie` fields are cut into cookies; never what stands in them. Names are
//! case-sensitive. A `;` ends a cookie wherever it stands, also in quotes, as browsers have it
//! (RFC 6265, 5.2 and 5.4); spaces and tabs around names and values do not count. What has no `=`
//! has no name, and is nobody's. Several `Cookie` fields are one list (RFC 9113, 8.2.3), and stay
//! several until [`join`] is called.
//!
//! Cookies of other names keep every byte, and their order. A request without the name costs no
//! allocation.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, Entry},
};

/// The values of all cookies of that name, in order, as they stand there: quotes are part of a
/// value.
pub fn values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(COOKIE).iter().flat_map(move |field| {
        pieces(field.as_bytes()).filter_map(move |piece| {
            Some(&field.as_bytes()[value_in(field.as_bytes(), piece, name.as_bytes())?])
        })
    })
}

/// Takes out every cookie of that name; says whether there was one. A field with nothing left goes.
pub fn take_out(headers: &mut HeaderMap, name: &str) -> bool {
    let name = name.as_bytes();
    let named = |field: &HeaderValue| {
        let field = field.as_bytes();
        pieces(field).any(|piece| value_in(field, piece, name).is_some())
    };
    edit(headers, named, |field| {
        let mut kept = BytesMut::with_capacity(field.len());
        let others = |piece: &Range<usize>| value_in(field, piece.clone(), name).is_none();
        for (index, piece) in pieces(field).filter(others).enumerate() {
            match index {
                // The space in front belonged to the `;` that is gone.
                0 if piece.start > 0 => kept.extend_from_slice(trim_start(&field[piece])),
                0 => kept.extend_from_slice(&field[piece]),
                // With the `;` before it.
                _ => kept.extend_from_slice(&field[piece.start - 1..piece.end]),
            }
        }
        kept.iter().any(|&byte| !is_blank(byte) && byte != b';').then(|| kept.freeze())
    })
}

/// Cuts out of the value of every cookie of that name what `find` names in it, if anything; says
/// whether something was cut.
pub fn cut(
    headers: &mut HeaderMap,
    name: &str,
    find: impl Fn(&[u8]) -> Option<Range<usize>>,
) -> bool {
    let place = |field: &[u8], piece| {
        let value = value_in(field, piece, name.as_bytes())?;
        let cut = find(&field[value.clone()])?;
        Some(value.start + cut.start..value.start + cut.end)
    };
    let named = |field: &HeaderValue| {
        let field = field.as_bytes();
        pieces(field).any(|piece| place(field, piece).is_some())
    };
    edit(headers, named, |field| {
        let mut kept = BytesMut::with_capacity(field.len());
        let mut at = 0;
        for cut in pieces(field).filter_map(|piece| place(field, piece)) {
            kept.extend_from_slice(&field[at..cut.start]);
            at = cut.end;
        }
        kept.extend_from_slice(&field[at..]);
        Some(kept.freeze())
    })
}

/// Makes one `Cookie` field of several, as HTTP/1.1 wants it (RFC 9113, 8.2.3).
pub fn join(headers: &mut HeaderMap) {
    let Entry::Occupied(mut fields) = headers.entry(COOKIE) else { return };
    if fields.iter().nth(1).is_none() {
        return;
    }
    let mut joined = BytesMut::new();
    for field in fields.iter().filter(|field| !field.is_empty()) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(field.as_bytes());
    }
    let sensitive = fields.iter().any(HeaderValue::is_sensitive);
    if let Some(joined) = field(joined.freeze(), sensitive) {
        // The first of them, and with it the place, stays; the others go.
        drop(fields.insert(joined));
    }
}

/// Puts `change`d fields in the place of those that are `meant`; `None` takes one away.
fn edit(
    headers: &mut HeaderMap,
    meant: impl Fn(&HeaderValue) -> bool,
    change: impl Fn(&[u8]) -> Option<Bytes>,
) -> bool {
    if !headers.get_all(COOKIE).iter().any(&meant) {
        return false;
    }
    let Entry::Occupied(mut fields) = headers.entry(COOKIE) else { return false };
    let changed = |old: &HeaderValue| {
        if meant(old) {
            field(change(old.as_bytes())?, old.is_sensitive())
        } else {
            Some(old.clone())
        }
    };
    let new: Vec<HeaderValue> = fields.iter().filter_map(changed).collect();
    let mut new = new.into_iter();
    match new.next() {
        Some(first) => drop(fields.insert(first)),
        None => drop(fields.remove()),
    }
    for field in new {
        headers.append(COOKIE, field);
    }
    true
}

/// A field's value of bytes that stood in fields' values, and `;`: it is always one.
fn field(bytes: Bytes, sensitive: bool) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
    value.set_sensitive(sensitive);
    Some(value)
}

/// What stands between `;`s.
fn pieces(field: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let end = field[start..].iter().position(|&byte| byte == b';').map(|at| start + at);
        next = end.map(|end| end + 1);
        Some(start..end.unwrap_or(field.len()))
    })
}

/// Where the value of a cookie of that name is, if the piece is one.
fn value_in(field: &[u8], piece: Range<usize>, name: &[u8]) -> Option<Range<usize>> {
    let text = trim_start(&field[piece.clone()]);
    let after = text.strip_prefix(name)?;
    let value = trim_start(after).strip_prefix(b"=")?;
    let value = trim_start(value);
    let start = piece.end - value.len();
    let end = piece.end - value.iter().rev().take_while(|&&byte| is_blank(byte)).count();
    Some(start..end)
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    &text[blanks..]
}

/// OWS (RFC 9110, 5.6.3).
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests;
