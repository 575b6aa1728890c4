//! Who the client is, for backends: X-Forwarded-For, -Proto, -Host, and Forwarded (RFC 7239). Pure.
//!
//! What a peer that is not trusted says of this is replaced, under any spelling that CGI takes for
//! the same name.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client's side of a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Who sent it.
    pub address: IpAddr,
    /// Over TLS?
    pub https: bool,
    /// Host as it was sent, checked.
    pub host: Option<&'a str>,
    /// Is it a proxy whose word counts?
    pub trusted: bool,
}

/// What is said of one peer and host when nobody else's word is kept: the same for all such requests
/// of a connection.
#[derive(Debug, Clone)]
pub struct Said {
    host: Option<String>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Said {
    /// Of that peer; nothing of one that is trusted, who may say other things with each request.
    #[must_use]
    pub fn of(peer: &Peer<'_>) -> Option<Self> {
        if peer.trusted {
            return None;
        }
        let mut headers = HeaderMap::new();
        set(&mut headers, peer);
        let fields = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Some(Self { host: peer.host.map(str::to_owned), fields })
    }

    /// Is it of that host?
    #[must_use]
    pub fn is_of(&self, host: Option<&str>) -> bool {
        self.host.as_deref() == host
    }

    /// Sets them.
    pub fn set(&self, headers: &mut HeaderMap) {
        take_claims(headers);
        for (name, value) in &self.fields {
            let _old = headers.insert(name, value.clone());
        }
    }
}

/// Sets them: anew, or behind what a trusted peer says.
pub fn set(headers: &mut HeaderMap, peer: &Peer<'_>) {
    if !peer.trusted {
        take_claims(headers);
    }
    let address = peer.address.to_canonical();
    let mut text = String::with_capacity(128);
    join(headers, &FOR, &mut text);
    // Writing to a string never fails.
    let _written = write!(text, "{address}");
    put(headers, FOR, &text);

    if !headers.contains_key(PROTO) {
        let _none = headers.insert(PROTO, HeaderValue::from_static(scheme(peer)));
    }
    if let Some(host) = peer.host
        && !headers.contains_key(HOST)
    {
        put(headers, HOST, host);
    }

    text.clear();
    join(headers, &FORWARDED, &mut text);
    let _written = match address {
        IpAddr::V4(address) => write!(text, "for={address}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    };
    let _written = write!(text, ";proto={}", scheme(peer));
    if let Some(host) = peer.host {
        // A port's colon and the brackets of IPv6 are not of a token.
        let quote = if host.contains(':') { "\"" } else { "" };
        let _written = write!(text, ";host={quote}{host}{quote}");
    }
    put(headers, FORWARDED, &text);
}

const fn scheme(peer: &Peer<'_>) -> &'static str {
    if peer.https { "https" } else { "http" }
}

/// Everything that a client could say of itself.
fn take_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    // Usually none: an empty list takes no memory.
    for name in claims {
        let _claim = headers.remove(name);
    }
}

fn is_claim(name: &str) -> bool {
    let begins = |with: &[u8]| {
        name.len() >= with.len()
            && name.bytes().zip(with).all(|(byte, wanted)| {
                byte == *wanted || (*wanted == b'-' && !byte.is_ascii_alphanumeric())
            })
    };
    match name.len() {
        9 => name == "forwarded" || begins(b"x-real-ip"),
        10.. => begins(b"x-forwarded-"),
        _ => false,
    }
}

/// What there is under that name, in one list that can be added to.
fn join(headers: &HeaderMap, name: &HeaderName, text: &mut String) {
    for value in headers.get_all(name) {
        // A value that is no text was never one of these.
        if let Ok(value) = value.to_str()
            && !value.is_empty()
        {
            text.push_str(value);
            text.push_str(", ");
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Addresses, checked hosts and what was a value before are values.
    if let Ok(value) = HeaderValue::from_str(text) {
        let _old = headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = [(&'static str, &'static str)];

    fn check(peer: (&str, bool, Option<&str>, bool), before: &Lines, after: &Lines) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (address, https, host, trusted) = peer;
        let address = address.parse().expect("an address");
        set(&mut headers, &Peer { address, https, host, trusted });
        let mut got: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        got.sort_unstable();
        assert_eq!(got, after, "{before:?}");
    }

    #[test]
    fn strangers_are_not_believed() {
        let after: &Lines = &[
            ("forwarded", "for=192.0.2.1;proto=https;host=a.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "https"),
        ];
        let peer = ("192.0.2.1", true, Some("a.example"), false);
        check(peer, &[], after);
        let claims: &Lines = &[
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded_proto", "http"),
            ("x_real-ip", "10.0.0.1"),
        ];
        check(peer, claims, after);
        check(("::ffff:192.0.2.1", true, Some("a.example"), false), &[], after);
    }

    #[test]
    fn proxies_are_added_to() {
        check(
            ("2001:db8::1", false, Some("a:8080"), true),
            &[
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("x-forwarded-proto", "https"),
            ],
            &[
                ("forwarded", "for=10.0.0.1, for=\"[2001:db8::1]\";proto=http;host=\"a:8080\""),
                ("x-forwarded-for", "10.0.0.1, 10.0.0.2, 2001:db8::1"),
                ("x-forwarded-host", "a:8080"),
                ("x-forwarded-proto", "https"),
            ],
        );
        check(
            ("192.0.2.1", false, None, true),
            &[],
            &[
                ("forwarded", "for=192.0.2.1;proto=http"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "http"),
            ],
        );
    }
}
