//! X-Request-Id. Pure: randomness is an argument. `traceparent` is the client's and is not touched.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field's name.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is kept.
const BYTES_MAX: usize = 128;

/// Keeps the one of a trusted peer, if it is one, or sets one of 128 random bits; returns it for the
/// log.
pub fn set(headers: &mut HeaderMap, trusted: bool, random: u128) -> HeaderValue {
    if trusted {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        if let (Some(id), None) = (values.next(), values.next())
            && (1..=BYTES_MAX).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return id.clone();
        }
    }
    let id = hex(random);
    let _old = headers.insert(X_REQUEST_ID, id.clone());
    id
}

fn hex(bits: u128) -> HeaderValue {
    let mut digits = [0; 32];
    for (digit, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        digit.copy_from_slice(&[nibble(byte >> 4), nibble(byte & 15)]);
    }
    // Digits are always a value.
    HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
}

const fn nibble(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_peers_name_requests() {
        let made = format!("{:032x}", 0xab_u128 << 8);
        let long = "a".repeat(129);
        let check = |given: &[&str], trusted, wanted: &str| {
            let mut headers = HeaderMap::new();
            for id in given {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(id).expect("a value"));
            }
            assert_eq!(set(&mut headers, trusted, 0xab << 8), wanted);
            let all: Vec<_> = headers.get_all(X_REQUEST_ID).iter().collect();
            assert_eq!(all, [wanted]);
        };
        check(&[], true, &made);
        check(&["a-1"], true, "a-1");
        check(&["a-1"], false, &made);
        check(&["a", "b"], true, &made);
        check(&["a b"], true, &made);
        check(&[""], true, &made);
        check(&[&long], true, &made);
    }
}
