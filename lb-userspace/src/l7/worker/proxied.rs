//! Makes messages the proxy's own: what was between client and proxy, or proxy and backend, goes; what
//! the next one needs to know comes.

use http::{HeaderMap, HeaderName, HeaderValue, header, request, response};

use super::client::Client;

/// Names a request in every log that it passes.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn to_backend(head: &mut request::Parts, _client: &Client) {
    let host = head.headers.get(header::HOST).cloned();
    if host.is_none()
        && let Some(authority) = head.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, value);
    }
    if let Some(path) = head.uri.path_and_query() {
        head.uri = path.clone().into();
    }
    head.version = http::Version::HTTP_11;
    let upgrade = head.headers.get(header::UPGRADE).cloned();
    head.headers.remove(header::CONNECTION);
    if let Some(upgrade) = upgrade {
        head.headers.insert(header::UPGRADE, upgrade);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

pub(super) fn to_client(head: &mut response::Parts, switches: bool) {
    if !switches {
        head.headers.remove(header::CONNECTION);
        head.headers.remove("keep-alive");
        head.headers.remove(header::TRANSFER_ENCODING);
    }
}

pub(super) fn interim(fields: &mut HeaderMap) {
    fields.remove(header::CONNECTION);
}
