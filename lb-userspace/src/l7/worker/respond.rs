//! What goes back to a client: a backend's answer, or one of the sidecar's own.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use hyper::body::{Body, Frame, SizeHint};

use super::{
    client::Client,
    log::{Began, Line},
    state::State,
};
use crate::l7::{
    body::{BackendBody, BodyError},
    gate::GateState,
    progress::Progress,
    session::Verdict,
};

/// A body for a client. With it goes what is known of the request, until all is sent.
pub(super) struct ClientBody {
    kind: Kind,
    record: Option<Box<Record>>,
    /// HTTP/1.1: told when all of it is handed over, or never will be.
    gate: Option<Rc<GateState>>,
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.answered();
        }
    }
}

enum Kind {
    Own(Option<Bytes>),
    Backend(BackendBody),
}

impl ClientBody {
    /// Of a backend.
    pub(super) fn backend(body: BackendBody, record: Option<Box<Record>>) -> Self {
        Self { kind: Kind::Backend(body), record, gate: None }
    }

    /// Tells the gate when it is over.
    pub(super) fn tell(&mut self, gate: &Rc<GateState>) {
        self.gate = Some(Rc::clone(gate));
    }

    /// Of the sidecar.
    pub(super) fn own(text: impl Into<Bytes>, record: Option<Box<Record>>) -> Self {
        let text = text.into();
        Self { kind: Kind::Own((!text.is_empty()).then_some(text)), record, gate: None }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { kind, record, .. } = &mut *self;
        let frame = match kind {
            Kind::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
            Kind::Backend(body) => ready!(Pin::new(body).poll_frame(context)),
        };
        if let Some(record) = record {
            match &frame {
                Some(Ok(frame)) => {
                    record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Some(Err(BodyError::Late)) => record.why = Some("body_timeout"),
                Some(Err(_)) => record.why = Some("answer_broken"),
                None => record.whole = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Backend(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Backend(body) => body.size_hint(),
        }
    }
}

/// What the access log will say of a request; written when it is dropped.
pub(super) struct Record {
    client: Rc<Client>,
    state: Rc<State>,
    listener: usize,
    method: Method,
    uri: Uri,
    host: String,
    version: Version,
    referer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    pub(super) request_id: Option<HeaderValue>,
    began: Began,
    pub(super) status: StatusCode,
    bytes: u64,
    whole: bool,
    pub(super) backend: Option<Arc<str>>,
    pub(super) verdict: Option<Verdict>,
    pub(super) why: Option<&'static str>,
    pub(super) retries: u8,
    answered: Option<Duration>,
    pub(super) progress: Option<Rc<Progress>>,
}

impl Record {
    /// Of a request, if there is an access log.
    pub(super) fn new(
        client: &Rc<Client>,
        state: &Rc<State>,
        listener: usize,
        head: &http::request::Parts,
        host: &str,
    ) -> Option<Box<Self>> {
        if !client.worker().log.is_on() {
            return None;
        }
        Some(Box::new(Self {
            client: Rc::clone(client),
            state: Rc::clone(state),
            listener,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: host.to_owned(),
            version: head.version,
            referer: head.headers.get(header::REFERER).cloned(),
            agent: head.headers.get(header::USER_AGENT).cloned(),
            request_id: None,
            began: Began::now(),
            status: StatusCode::OK,
            bytes: 0,
            whole: false,
            backend: None,
            verdict: None,
            why: None,
            retries: 0,
            answered: None,
            progress: None,
        }))
    }

    /// The answer's head is there.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.answered = Some(self.began.instant.elapsed());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.client.worker().log.note(&Line {
            client: self.client.opened.client,
            listener: &self.state.view.listeners[self.listener].name,
            method: &self.method,
            uri: &self.uri,
            host: &self.host,
            version: self.version,
            referer: self.referer.as_ref(),
            agent: self.agent.as_ref(),
            request_id: self.request_id.as_ref(),
            status: self.status,
            bytes: self.bytes,
            uploaded: self.progress.as_ref().map_or(0, |progress| progress.uploaded.get()),
            backend: self.backend.as_deref(),
            verdict: self.verdict,
            why: self.why,
            retries: self.retries,
            began: self.began.wall,
            answered: self.answered,
            total: self.began.instant.elapsed(),
        });
    }
}

/// An answer of the sidecar's own: its page says the status, and nothing of backends.
pub(super) fn own(status: StatusCode, record: Option<Box<Record>>) -> Response<ClientBody> {
    let text = format!("{status}\n");
    let mut response = Response::new(ClientBody::own(text, record));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A redirect to the same place in https.
pub(super) fn to_https(
    host: &str,
    port: u16,
    uri: &Uri,
    record: Option<Box<Record>>,
) -> Response<ClientBody> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = HeaderValue::try_from(format!("https://{host}{port}{path}"));
    let Ok(location) = location else { return own(StatusCode::BAD_REQUEST, record) };
    // 308: the method stays as it is.
    let mut response = own(StatusCode::PERMANENT_REDIRECT, record);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// An interim answer as it goes over HTTP/1.1.
pub(super) fn interim(status: StatusCode, fields: &HeaderMap) -> Bytes {
    let mut text = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in fields {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.into()
}
