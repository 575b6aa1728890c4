//! Makes messages the proxy's own: what was between client and proxy, or proxy and backend, goes; what
//! the next one needs to know comes.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header, request, response};

use super::client::Client;
use crate::{
    config::http::HttpVersion,
    l7::fields::{hop_by_hop, request_id, via},
};

/// A request, on its way to a backend that speaks `version`. `host` is as it came. Returns its id.
pub(super) fn to_backend(
    head: &mut request::Parts,
    client: &Client,
    host: Option<&str>,
    version: HttpVersion,
) -> HeaderValue {
    let fields = &mut head.headers;
    let upgrade =
        client.gate.as_ref().and_then(|gate| gate.framing()).is_some_and(|framing| framing.upgrade);
    let to = match version {
        HttpVersion::One => Version::HTTP_11,
        HttpVersion::Two => Version::HTTP_2,
    };
    hop_by_hop::request(fields, upgrade, to);
    client.forwarded(fields, host);
    via::append(fields, head.version);
    let id = request_id::set(fields, client.trusted, client.worker().random.borrow_mut().u128(..));
    // The target's host goes before Host (RFC 9112, 3.2.2); the two agree.
    if (head.uri.authority().is_some() || !fields.contains_key(header::HOST))
        && let Some(host) = host
        && let Ok(host) = HeaderValue::from_str(host)
    {
        let _same = fields.insert(header::HOST, host);
    }
    target(head, version, host);
    head.version = to;
    id
}

/// To HTTP/1.1 the path alone; to HTTP/2 all of it.
fn target(head: &mut request::Parts, version: HttpVersion, host: Option<&str>) {
    match version {
        HttpVersion::One => {
            if head.uri.authority().is_some()
                && let Some(path) = head.uri.path_and_query()
            {
                head.uri = path.clone().into();
            }
        }
        HttpVersion::Two => {
            let path = head.uri.path_and_query().cloned();
            let uri = http::Uri::builder().scheme("http").authority(host.unwrap_or_default());
            if let Ok(uri) =
                uri.path_and_query(path.map_or_else(|| "/".to_owned(), |it| it.to_string())).build()
            {
                head.uri = uri;
            }
            let _host = head.headers.remove(header::HOST);
        }
    }
}

/// An answer, on its way to a client. `switches`: it is the 101 that was asked for.
pub(super) fn to_client(head: &mut response::Parts, switches: bool) {
    hop_by_hop::answer(&mut head.headers, switches);
    via::append(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110, 8.6.
        let _length = head.headers.remove(header::CONTENT_LENGTH);
    }
}

/// An interim answer, likewise.
pub(super) fn interim(fields: &mut HeaderMap) {
    hop_by_hop::answer(fields, false);
    for name in [header::CONTENT_LENGTH, header::SET_COOKIE] {
        let _field = fields.remove(name);
    }
}
