//! Answers that get a cookie are kept out of shared caches (C9).
//!
//! Owns `Cache-Control` of such answers, and nothing else of them.

use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};

/// What speaks to shared caches over the head of `Cache-Control` (RFC 9213, and its forerunner).
const TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("cdn-cache-control"), HeaderName::from_static("surrogate-control")];

/// Forbids shared caches to store the answer: another client would get this one's cookie.
///
/// The rule: with `private` for the whole answer, or `no-store` without `must-understand` (which
/// voids it, RFC 9111, 5.2.2.3), and without `public` and `s-maxage`, `Cache-Control` stays as it
/// is. Else `private` is put in front, `public`, `s-maxage` and `private="..."` go, and the other
/// directives stay as they are written, but for one whose quotes do not end: it would hide those
/// behind it. `no-cache` alone does not do: it allows storing. `CDN-Cache-Control` and
/// `Surrogate-Control` go, since caches that know them look at nothing else.
pub fn keep_private(headers: &mut HeaderMap) {
    for name in TARGETED {
        headers.remove(name);
    }
    if is_private(headers) {
        return;
    }
    let mut text = b"private".to_vec();
    for directive in directives(headers) {
        if !is_named(directive, &["private", "public", "s-maxage"]) && Quotes::end_in(directive) {
            text.extend_from_slice(b", ");
            text.extend_from_slice(directive);
        }
    }
    // Of bytes of values, commas and spaces: it is always one.
    let value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("private"));
    headers.insert(CACHE_CONTROL, value);
}

fn is_private(headers: &HeaderMap) -> bool {
    let has = |wanted: &str| {
        directives(headers).any(|directive| directive.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let shared = directives(headers).any(|directive| is_named(directive, &["public", "s-maxage"]));
    !shared && (has("private") || (has("no-store") && !has("must-understand")))
}

/// Has the directive one of these names, with an argument or without?
fn is_named(directive: &[u8], names: &[&str]) -> bool {
    let end = directive.iter().position(|&byte| byte == b'=').unwrap_or(directive.len());
    let name = directive[..end].trim_ascii_end();
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The directives of all fields, without the spaces around them. A comma in quotes is part of one.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CACHE_CONTROL).iter().flat_map(|field| {
        let mut quotes = Quotes::default();
        field
            .as_bytes()
            .split(move |&byte| !quotes.encloses(byte) && byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|directive| !directive.is_empty())
    })
}

/// Where quoted strings begin and end (RFC 9110, 5.6.4).
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Goes on by a byte; is it in quotes?
    fn encloses(&mut self, byte: u8) -> bool {
        let escaped = std::mem::take(&mut self.escaped);
        match byte {
            b'"' if !escaped => self.open = !self.open,
            b'\\' if !escaped => self.escaped = self.open,
            _ => {}
        }
        self.open
    }

    /// Do all quotes in the text end in it?
    fn end_in(text: &[u8]) -> bool {
        let mut quotes = Self::default();
        text.iter().fold(true, |_, &byte| !quotes.encloses(byte))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::l7::cookie::samples::cases;

    fn check(fields: &[&'static str], want: &[&str]) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(field));
        }
        for name in TARGETED {
            headers.insert(name, HeaderValue::from_static("max-age=60"));
        }
        keep_private(&mut headers);
        let got: Vec<_> = headers.get_all(CACHE_CONTROL).iter().collect();
        assert_eq!(got, want, "{fields:?}");
        assert_eq!(headers.keys_len(), 1, "targeted fields are gone");
    }

    #[test]
    fn answers_with_a_cookie_are_private() {
        check(&[], &["private"]);
        check(&[""], &["private"]);
        check(&["public"], &["private"]);
        check(&["max-age=60"], &["private, max-age=60"]);
        check(&["public, max-age=60"], &["private, max-age=60"]);
        check(&["Public,S-MaxAge=9 , max-age=60"], &["private, max-age=60"]);
        check(&["s-maxage =9"], &["private"]);
        check(&["no-cache"], &["private, no-cache"]);
        check(&["no-cache=\"a, public\", x"], &["private, no-cache=\"a, public\", x"]);
        check(&["x=\"\\\", public\", public"], &["private, x=\"\\\", public\""]);
        check(&["private=\"x-a\", max-age=1"], &["private, max-age=1"]);
        check(&["public", "max-age=60"], &["private, max-age=60"]);
        check(&["must-understand, no-store"], &["private, must-understand, no-store"]);
        check(&["no-store, public"], &["private, no-store"]);
        check(&["private, s-maxage=5"], &["private"]);
        check(&["x=\"a", "y, public"], &["private, y"]);
        check(&["no-storefront"], &["private, no-storefront"]);
    }

    #[test]
    fn what_is_private_stays_as_it_is() {
        check(&["Private"], &["Private"]);
        check(&["no-store"], &["no-store"]);
        check(&["max-age=5 ,no-store"], &["max-age=5 ,no-store"]);
        check(&["max-age=60", "private"], &["max-age=60", "private"]);
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn whatever_fields_say(
            fields in proptest::collection::vec(
                proptest::sample::subsequence(
                    vec!["public", "s-maxage=1", "private", "private=x", "no-store", "no-cache=\"",
                        "must-understand", "\"", "\\", "=", " ", "\u{e9}", ",", ",", ",", ","],
                    0..10,
                ).prop_shuffle(),
                0..3,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for field in fields {
                let field = HeaderValue::from_bytes(field.concat().as_bytes()).expect("a value");
                headers.append(CACHE_CONTROL, field);
            }
            keep_private(&mut headers);
            prop_assert!(is_private(&headers), "{headers:?}");
            let once = headers.clone();
            keep_private(&mut headers);
            prop_assert_eq!(headers, once);
        }
    }
}
