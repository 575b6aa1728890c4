//! cookie-insert: the `Set-Cookie` field of the sidecar's own cookie (C1, C9).

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};

use super::pin::Pin;
use crate::config::http::{CookieInsert, SameSite};

/// The field's value: the name, the seal, and what browsers are told of it.
///
/// An error means that the configuration has characters in it that no field may have.
pub fn set_cookie(
    insert: &CookieInsert,
    seal: &str,
    max_age_s: u64,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let attributes = &insert.attributes;
    let mut text =
        format!("{}={seal}; Max-Age={max_age_s}; Path={}", insert.cookie, attributes.path);
    if let Some(domain) = &attributes.domain {
        text.extend(["; Domain=", domain]);
    }
    if attributes.secure {
        text.push_str("; Secure");
    }
    if attributes.http_only {
        text.push_str("; HttpOnly");
    }
    text.push_str(match attributes.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    if attributes.partitioned {
        text.push_str("; Partitioned");
    }
    HeaderValue::from_maybe_shared(Bytes::from(text))
}

/// For how many seconds browsers keep the cookie: the idle time, or what is left of the session's
/// life if that is shorter. Rounded up, for it is the seal that ends a session, to the millisecond.
/// `None`: it has no bound.
#[must_use]
pub fn max_age_s(pin: &Pin, now_ms: u64) -> Option<u64> {
    let rest = |limit_s: u32, since_ms: u64| {
        let limit_ms = u64::from(limit_s) * 1000;
        let rest_ms = limit_ms.saturating_sub(now_ms.saturating_sub(since_ms));
        (limit_s > 0).then(|| rest_ms.div_ceil(1000))
    };
    let (idle, absolute) = (rest(pin.idle_s, pin.renewed_ms), rest(pin.absolute_s, pin.issued_ms));
    match (idle, absolute) {
        (Some(idle), Some(absolute)) => Some(idle.min(absolute)),
        (limit, None) | (None, limit) => limit,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::http::CookieAttributes;

    fn insert(attributes: CookieAttributes) -> CookieInsert {
        CookieInsert {
            cookie: "SERVERID".to_owned(),
            timeout: Duration::from_hours(1),
            max_lifetime: None,
            attributes,
            insert_on_error: false,
            first_flight: Duration::from_secs(2),
        }
    }

    #[test]
    fn attributes() {
        let check = |attributes, want: &str| {
            assert_eq!(set_cookie(&insert(attributes), "hold", 60).expect("valid"), want);
        };
        let plain = CookieAttributes::default;
        check(plain(), "SERVERID=hold; Max-Age=60; Path=/; HttpOnly; SameSite=Lax");
        check(
            CookieAttributes { http_only: false, same_site: SameSite::Strict, ..plain() },
            "SERVERID=hold; Max-Age=60; Path=/; SameSite=Strict",
        );
        check(
            CookieAttributes {
                path: "/shop".to_owned(),
                domain: Some("example.com".to_owned()),
                http_only: true,
                secure: true,
                same_site: SameSite::None,
                partitioned: true,
            },
            "SERVERID=hold; Max-Age=60; Path=/shop; Domain=example.com; Secure; HttpOnly; \
             SameSite=None; Partitioned",
        );
        let path = "/\n".to_owned();
        assert!(set_cookie(&insert(CookieAttributes { path, ..plain() }), "hold", 60).is_err());
    }

    #[test]
    fn browsers_keep_it_for_the_shorter_limit() {
        let check = |(idle_s, absolute_s), now_ms, want| {
            let pin = Pin {
                backend: 1,
                epoch: 1,
                generation: 1,
                session: 1,
                issued_ms: 1000,
                renewed_ms: 500_000,
                idle_s,
                absolute_s,
            };
            assert_eq!(max_age_s(&pin, now_ms), want, "{idle_s} {absolute_s} at {now_ms}");
        };
        check((60, 0), 500_000, Some(60));
        check((60, 600), 500_000, Some(60));
        check((60, 559), 500_000, Some(60));
        check((60, 558), 500_000, Some(59));
        check((60, 558), 500_001, Some(59));
        check((60, 558), 501_000, Some(58));
        check((60, 0), 499_000, Some(60));
        check((60, 100), 500_000, Some(0));
        check((0, 600), 500_000, Some(101));
        check((0, 0), 500_000, None);
    }
}
