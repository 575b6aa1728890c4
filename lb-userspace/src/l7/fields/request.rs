//! Requests that did not pass the gate: HTTP/2 (RFC 9113, 8). Pure.
//!
//! They become HTTP/1 on the way to a backend, so what the gate refuses is refused here. hyper has
//! checked names and values byte by byte.

use http::{
    HeaderName, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
};

use super::authority::Authority;
use crate::l7::gate::{Limits, Refusal, is_path_and_query, is_twin, length};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Checks an HTTP/2 request; returns who it is for.
pub fn check<'a>(parts: &'a Parts, limits: &Limits) -> Result<Authority<'a>, Refusal> {
    if parts.version != Version::HTTP_2 {
        return Err(Refusal::Version);
    }
    let method = parts.method.as_str();
    if parts.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Refusal::Method);
    }
    path(parts)?;
    let headers = &parts.headers;
    if headers.len() > limits.head_fields {
        return Err(Refusal::TooManyFields);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        if headers.contains_key(name) {
            return Err(Refusal::ConnectionField);
        }
    }
    if headers.get_all(TE).iter().any(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(Refusal::ConnectionField);
    }
    if headers.keys().any(|name| is_twin(name.as_str().as_bytes())) {
        return Err(Refusal::TwinName);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(value) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Refusal::SeveralLengths);
        }
        if !limits.allows_body(length(value.as_bytes())?) {
            return Err(Refusal::BodyTooLarge);
        }
    }
    authority(parts)?.ok_or(Refusal::NoHost)
}

/// Who a request of any version is for: its target's authority, or Host. They must agree.
pub fn authority(parts: &Parts) -> Result<Option<Authority<'_>>, Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(Authority::parse(host.as_bytes()).ok_or(Refusal::Host)?),
        (Some(_), Some(_)) => return Err(Refusal::SeveralHosts),
    };
    let Some(target) = parts.uri.authority() else { return Ok(host) };
    let target = Authority::parse(target.as_str().as_bytes()).ok_or(Refusal::Host)?;
    let port = if parts.uri.scheme_str() == Some("https") { 443 } else { 80 };
    match host {
        Some(host) if !host.same(&target, port) => Err(Refusal::HostMismatch),
        _ => Ok(Some(target)),
    }
}

fn path(parts: &Parts) -> Result<(), Refusal> {
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err(Refusal::PseudoField);
    }
    let Some(path) = parts.uri.path_and_query() else { return Err(Refusal::PseudoField) };
    let path = path.as_str().as_bytes();
    let fits = match path.first() {
        Some(b'/') => is_path_and_query(path),
        _ => path == b"*" && parts.method == Method::OPTIONS,
    };
    if fits { Ok(()) } else { Err(Refusal::Target) }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(method: &str, uri: &str, fields: &[(&str, &str)], wanted: Result<&str, Refusal>) {
        let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let limits = Limits { head_fields: 10, body_bytes: 100, ..Limits::default() };
        let got = super::check(&parts, &limits);
        assert_eq!(got.map(|authority| authority.host), wanted, "{method} {uri} {fields:?}");
    }

    #[test]
    fn requests() {
        let a = "https://a.example/x?y";
        check("GET", a, &[], Ok("a.example"));
        check("GET", a, &[("host", "A.example:443"), ("te", "trailers")], Ok("a.example"));
        check("POST", a, &[("content-length", "100")], Ok("a.example"));
        check("GET", a, &[("host", "b.example")], Err(Refusal::HostMismatch));
        check(
            "GET",
            a,
            &[("host", "a.example"), ("host", "a.example")],
            Err(Refusal::SeveralHosts),
        );
        check("GET", a, &[("host", "u@a.example")], Err(Refusal::Host));
        check("GET", "https://u@a.example/", &[], Err(Refusal::Host));
        check("GET", "/x", &[("host", "a")], Err(Refusal::PseudoField));
        check("GET", "ftp://a.example/", &[], Err(Refusal::PseudoField));
        check("CONNECT", "a.example:443", &[], Err(Refusal::Connect));
        check("get", a, &[], Err(Refusal::Method));
        check("GET", "https://a.example/\u{e9}", &[], Err(Refusal::Target));
        for field in
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
        {
            check("GET", a, &[(field, "x")], Err(Refusal::ConnectionField));
        }
        check("GET", a, &[("te", "gzip")], Err(Refusal::ConnectionField));
        check("GET", a, &[("content_length", "1")], Err(Refusal::TwinName));
        let two = [("content-length", "1"), ("content-length", "1")];
        check("POST", a, &two, Err(Refusal::SeveralLengths));
        check("POST", a, &[("content-length", "+1")], Err(Refusal::Length));
        check("POST", a, &[("content-length", "101")], Err(Refusal::BodyTooLarge));
        check("GET", a, &[("x", "1"); 11], Err(Refusal::TooManyFields));
    }
}
