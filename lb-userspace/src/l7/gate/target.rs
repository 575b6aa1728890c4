//! A request's target: its forms, and the bytes that may be in it (RFC 9112, 3.2). Pure.

use super::{Refusal, head::find};
use crate::l7::fields::authority::Authority;

/// The longest target that hyper takes.
const TARGET_BYTES_MAX: usize = 65_534;

/// Checks the target's form and bytes (RFC 9112, 3.2).
pub(super) fn authority_of<'a>(
    method: &[u8],
    target: &'a [u8],
) -> Result<Option<(Authority<'a>, u16)>, Refusal> {
    if target.contains(&b'#') {
        return Err(Refusal::TargetFragment);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(None) } else { Err(Refusal::Target) };
    }
    if target.first() == Some(&b'/') {
        return if is_path_and_query(target) { Ok(None) } else { Err(Refusal::Target) };
    }
    let scheme = |name: &[u8]| {
        let (begin, rest) = target.split_at_checked(name.len())?;
        begin.eq_ignore_ascii_case(name).then_some(rest)
    };
    let (rest, port) = match (scheme(b"http://"), scheme(b"https://")) {
        (Some(rest), _) => (rest, 80),
        (None, Some(rest)) => (rest, 443),
        (None, None) => return Err(Refusal::Target),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_path_and_query(path) {
        return Err(Refusal::Target);
    }
    let authority = Authority::parse(authority).ok_or(Refusal::Target)?;
    Ok(Some((authority, port)))
}

/// Bytes of a path, and of a query behind `?`: ASCII that hyper takes.
pub(in crate::l7) fn is_path_and_query(target: &[u8]) -> bool {
    let end = find(target, b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    path.iter().all(|byte| TARGET_BYTES[usize::from(*byte)] & IN_PATH != 0)
        && query.iter().all(|byte| TARGET_BYTES[usize::from(*byte)] & IN_QUERY != 0)
}

const IN_PATH: u8 = 1;
const IN_QUERY: u8 = 2;

/// Where a byte may be in a target.
static TARGET_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0x21u8;
    while b < 0x7f {
        if !matches!(b, b'#' | b'<' | b'>') {
            if b != b'"' {
                table[b as usize] |= IN_QUERY;
            }
            if !matches!(b, b'?' | b'`') {
                table[b as usize] |= IN_PATH;
            }
        }
        b += 1;
    }
    table
};
