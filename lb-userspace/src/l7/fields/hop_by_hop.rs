//! Fields that are about one connection (RFC 9110, 7.6.1; RFC 9113, 8.2.2). Pure.
//!
//! A field named in Connection goes, unless it is for the server or the client by its meaning:
//! otherwise a client takes out what a proxy in front has put in, or what a backend decides by.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
};

use crate::l7::gate::tokens;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Begins of names that Connection cannot take out.
const PROTECTED_BEGINS: [&str; 4] = ["content-", "x-forwarded-", "access-control-", "sec-"];

/// Names that Connection cannot take out.
const PROTECTED: [&str; 20] = [
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expect",
    "forwarded",
    "host",
    "location",
    "origin",
    "range",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "traceparent",
    "tracestate",
    "vary",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// Takes them out of a request that goes to a backend in that version. `upgrade`: it asks for
/// another protocol, and may. `TE: trailers` stays, which gRPC needs; Trailer does, since trailers
/// are passed on.
pub fn request(headers: &mut HeaderMap, upgrade: bool, to: Version) {
    take_named(headers);
    let trailers = headers.get_all(TE).iter().any(says_trailers);
    let upgrade = upgrade && to == Version::HTTP_11;
    take_out(headers, upgrade);
    if trailers {
        let _te = headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        let _te = headers.remove(TE);
    }
    let connection = match (to == Version::HTTP_11 && trailers, upgrade) {
        (false, false) => return,
        (true, false) => "te",
        (false, true) => "upgrade",
        (true, true) => "te, upgrade",
    };
    let _connection = headers.insert(CONNECTION, HeaderValue::from_static(connection));
}

/// Takes them out of an answer. `upgrade`: it is the 101 that was asked for.
pub fn answer(headers: &mut HeaderMap, upgrade: bool) {
    take_named(headers);
    take_out(headers, upgrade);
    let _te = headers.remove(TE);
    if upgrade {
        let _connection = headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Those that are always in the way.
fn take_out(headers: &mut HeaderMap, upgrade: bool) {
    for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, TRANSFER_ENCODING] {
        let _value = headers.remove(name);
    }
    if !upgrade {
        let _value = headers.remove(UPGRADE);
    }
}

/// Connection, and what it names.
fn take_named(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    let _connection = headers.remove(CONNECTION);
    for token in values.iter().flat_map(|value| tokens(value.as_bytes())) {
        let is = |other: &[u8]| token.eq_ignore_ascii_case(other);
        // The usual ones are no fields, or have their own rule.
        if is(b"close") || is(b"keep-alive") || is(b"upgrade") || is(b"te") {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token)
            && !is_protected(name.as_str())
        {
            let _value = headers.remove(name);
        }
    }
}

fn is_protected(name: &str) -> bool {
    PROTECTED.contains(&name) || PROTECTED_BEGINS.iter().any(|begin| name.starts_with(begin))
}

fn says_trailers(value: &HeaderValue) -> bool {
    tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = [(&'static str, &'static str)];

    fn map(lines: &Lines) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn requests() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let check = |before: &Lines, upgrade, to, after: &Lines| {
            let mut headers = HeaderMap::new();
            for (name, value) in before {
                let value = HeaderValue::from_static(value);
                headers.append(HeaderName::from_static(name), value);
            }
            request(&mut headers, upgrade, to);
            assert_eq!(headers, map(after), "{before:?}");
        };
        check(&[("host", "a"), ("accept", "b")], false, one, &[("host", "a"), ("accept", "b")]);
        check(&[("connection", "close"), ("keep-alive", "5")], false, one, &[]);
        check(
            &[
                ("connection", "X-Own, ,Keep-Alive"),
                ("connection", "x-two"),
                ("x-own", "1"),
                ("x-two", "2"),
            ],
            false,
            one,
            &[],
        );
        let kept: &Lines = &[
            ("host", "a"),
            ("cookie", "b"),
            ("authorization", "c"),
            ("x-forwarded-for", "d"),
            ("content-length", "5"),
        ];
        let mut named = kept.to_vec();
        named.push((
            "connection",
            "Host, Cookie, Authorization, X-Forwarded-For, Content-Length, close, bad name",
        ));
        check(&named, false, one, kept);
        let websocket: &Lines = &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        check(websocket, true, one, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        check(websocket, false, one, &[]);
        check(websocket, true, two, &[]);
        let te: &Lines = &[("te", "gzip, Trailers"), ("trailer", "x")];
        check(te, false, one, &[("connection", "te"), ("te", "trailers"), ("trailer", "x")]);
        check(te, false, two, &[("te", "trailers"), ("trailer", "x")]);
        check(&[("te", "gzip"), ("transfer-encoding", "chunked")], false, one, &[]);
        check(&[("proxy-connection", "a"), ("http2-settings", "b")], false, one, &[]);
    }

    #[test]
    fn answers() {
        let check = |before: &Lines, upgrade, after: &Lines| {
            let mut headers = map(before);
            answer(&mut headers, upgrade);
            assert_eq!(headers, map(after), "{before:?}");
        };
        check(
            &[("connection", "x-hop, set-cookie"), ("x-hop", "1"), ("set-cookie", "a=b")],
            false,
            &[("set-cookie", "a=b")],
        );
        check(&[("upgrade", "h2,h2c"), ("connection", "Upgrade")], false, &[]);
        let switch: &Lines = &[("upgrade", "websocket"), ("connection", "Upgrade")];
        check(switch, true, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        check(&[("transfer-encoding", "chunked"), ("keep-alive", "5")], false, &[]);
    }
}
