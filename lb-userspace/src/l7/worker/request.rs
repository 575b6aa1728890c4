//! A request's way: rule, session, backend, answer.

use std::{convert::Infallible, rc::Rc};

use http::{HeaderMap, Request, Response, StatusCode, Version, header, request};
use hyper::body::{Body as _, Incoming};

use super::{
    choose::Choice,
    client::{Client, Switched},
    persist::Session,
    proxied,
    respond::{self, ClientBody, Record},
    state::State,
    tally::count,
};
use crate::l7::{
    body::RequestBody,
    fields, gate,
    progress::{Phase, Progress},
    upstream::{Answer, Ends, Failed, Trouble},
    view,
};

/// A request may be sent so often.
const ATTEMPTS: u8 = 4;

/// Serves one.
pub(super) async fn serve(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ClientBody>, Infallible> {
    let Some((state, listener)) = client.place() else {
        // The listener was removed; the connection ends with this.
        let mut response = respond::own(StatusCode::SERVICE_UNAVAILABLE, None);
        if request.version() != Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        return Ok(response);
    };
    count(&state.listeners[listener].requests);
    let response = Serving { client: &client, state: &state, listener }.serve(request).await;
    state.listeners[listener].status(response.status());
    Ok(response)
}

const CLOSE: http::HeaderValue = http::HeaderValue::from_static("close");

struct Serving<'a> {
    client: &'a Rc<Client>,
    state: &'a Rc<State>,
    listener: usize,
}

impl Serving<'_> {
    fn refuse(
        &self,
        status: StatusCode,
        why: &'static str,
        record: Option<Box<Record>>,
    ) -> Response<ClientBody> {
        self.state.listeners[self.listener].refuse(why);
        let record = record.map(|mut record| {
            record.why = Some(why);
            record.status = status;
            record
        });
        respond::own(status, record)
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<ClientBody> {
        let (head, body) = request.into_parts();
        let limits = self.client.limits();
        let checked = if head.version == Version::HTTP_2 {
            fields::request::check(&head, &limits).map(Some)
        } else {
            // The gate has looked at all else.
            fields::request::authority(&head)
        };
        let authority = match checked {
            Ok(authority) => authority.map(|it| (it.name().into_owned(), it.to_string())),
            Err(refusal) => {
                let record = Record::new(self.client, self.state, self.listener, &head, "");
                return self.refuse(status_of(refusal), refusal.name(), record);
            }
        };
        let (host, as_sent) = authority.unzip();
        let host = host.unwrap_or_default();
        let record = Record::new(self.client, self.state, self.listener, &head, &host);
        let listener = &self.state.view.listeners[self.listener];
        if let Some(port) = listener.https_redirect {
            let mut record = record;
            if let Some(record) = &mut record {
                record.answered(StatusCode::PERMANENT_REDIRECT);
            }
            return respond::to_https(&host, port, &head.uri, record);
        }
        let Some(rule) = listener.routes.find(&host, head.uri.path()) else {
            return self.refuse(StatusCode::NOT_FOUND, "no_rule", record);
        };
        self.forward(head, body, as_sent.as_deref(), &listener.rules[rule], record).await
    }

    async fn forward(
        &self,
        mut head: request::Parts,
        body: Incoming,
        host: Option<&str>,
        rule: &view::Rule,
        mut record: Option<Box<Record>>,
    ) -> Response<ClientBody> {
        let (client, state) = (self.client, self.state);
        let mut session = Session::of(state, rule, &mut head.headers);
        let version = state.view.pools[rule.pool].http.version;
        let id = proxied::to_backend(&mut head, client, host, version);
        let waits = head.headers.contains_key(header::EXPECT);
        let limits = &state.view.settings.limits;
        let progress = Progress::new(&client.worker().timers, limits, waits);
        if let Some(record) = &mut record {
            record.progress = Some(Rc::clone(&progress));
            record.request_id = Some(id);
        }
        state.pools[rule.pool].budget.earn();
        let request = Request::from_parts(head, RequestBody::new(body, &progress));
        let mut sending = Sending { serving: self, rule, progress: &progress, retries: 0 };
        let sent = sending.send(request, &mut session).await;
        let tally = &self.state.listeners[self.listener];
        if let Some(outcome) = &session.outcome {
            tally.verdict(outcome.verdict);
        }
        tally.retries.set(tally.retries.get() + u64::from(sending.retries));
        if let Some(record) = &mut record {
            record.verdict = session.outcome.map(|outcome| outcome.verdict);
            record.retries = sending.retries;
        }
        match sent {
            Ok((answer, index)) => self.answer(answer, rule, &session, index, record),
            Err((status, why)) => {
                let mut response = self.refuse(status, why, record);
                session.explain(rule, response.headers_mut());
                response
            }
        }
    }

    /// Makes a backend's answer one of the proxy's own.
    fn answer(
        &self,
        answer: Answer,
        rule: &view::Rule,
        session: &Session,
        index: usize,
        mut record: Option<Box<Record>>,
    ) -> Response<ClientBody> {
        let backend = &self.state.view.pools[rule.pool].backends[index];
        if let Some(record) = &mut record {
            record.backend = Some(std::sync::Arc::clone(&backend.name));
        }
        let (mut head, body) = match answer {
            Answer::Plain(response) => {
                let (head, body) = response.into_parts();
                (head, Ok(body))
            }
            Answer::Switched(response, socket, first, permit) => {
                let (head, ()) = response.into_parts();
                (head, Err(Switched { socket, first, permit }))
            }
        };
        if let Some(fault) = gate::answer_fault(head.version, head.status, &head.headers) {
            let why = fault.name();
            self.state.backends[backend.place].fail(why);
            return self.refuse(StatusCode::BAD_GATEWAY, why, record);
        }
        if let Some(record) = &mut record {
            record.answered(head.status);
        }
        let switches = body.is_err();
        if switches && !self.client.gate.as_ref().is_some_and(|gate| gate.switched()) {
            let why = "unasked_switch";
            self.state.backends[backend.place].fail(why);
            return self.refuse(StatusCode::BAD_GATEWAY, why, record);
        }
        proxied::to_client(&mut head, switches);
        session.answer(self.state, rule, index, head.status, &mut head.headers);
        session.explain(rule, &mut head.headers);
        let body = match body {
            Ok(body) => ClientBody::backend(body, record),
            Err(other) => {
                count(&self.state.listeners[self.listener].tunnels);
                *self.client.switched.borrow_mut() = Some(other);
                ClientBody::own("", record)
            }
        };
        Response::from_parts(head, body)
    }
}

/// A request on its way to one backend after another.
struct Sending<'a> {
    serving: &'a Serving<'a>,
    rule: &'a view::Rule,
    progress: &'a Rc<Progress>,
    retries: u8,
}

/// The status, and why.
type Refused = (StatusCode, &'static str);

impl Sending<'_> {
    /// Sends it until one answers; the answer, and which.
    async fn send(
        &mut self,
        mut request: Request<RequestBody>,
        session: &mut Session,
    ) -> Result<(Answer, usize), Refused> {
        let Serving { client, state, .. } = self.serving;
        let limits = &state.view.settings.limits;
        let choice = Choice::new(client.worker(), state, self.rule, client.opened.client.ip());
        let pool = &state.view.pools[self.rule.pool];
        let ends = Ends { client: client.opened.client, listener: client.opened.listener };
        let mut tried = Vec::new();
        loop {
            let index = choice.backend(session.outcome.as_ref(), &tried);
            let index = index.ok_or((StatusCode::SERVICE_UNAVAILABLE, "no_backend"))?;
            let backend = &pool.backends[index];
            let tally = &state.backends[backend.place];
            count(&tally.requests);
            let spare = spare(&request, self.progress);
            self.progress.wait_for(Phase::Connect, std::time::Duration::ZERO);
            let interim = |status, fields| self.interim(status, fields);
            let upstream = &state.upstreams[backend.place];
            let sent =
                upstream.send(request, ends, self.progress, limits.connect_timeout, interim).await;
            let failed = match sent {
                Ok(answer) => return Ok((answer, index)),
                Err(failed) => failed,
            };
            // The client's fault, in the middle of its body.
            if let Some(refusal) = client.gate.as_ref().and_then(|gate| gate.refusal()) {
                return Err((status_of(refusal), refusal.name()));
            }
            let why = failed.why.name();
            tally.fail(why);
            tracing::debug!("{}: {}", backend.name, failed.why);
            request = self.again(failed, spare, index, &mut tried, session)?;
            self.retries += 1;
        }
    }

    /// The request once more, if it may be sent again.
    fn again(
        &self,
        failed: Failed,
        spare: Option<Request<RequestBody>>,
        index: usize,
        tried: &mut Vec<usize>,
        session: &mut Session,
    ) -> Result<Request<RequestBody>, Refused> {
        let refused = failed.why.answer();
        if self.progress.too_large.get() {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        }
        let pinned = session.outcome.is_some_and(|outcome| outcome.backend.is_some());
        match &failed.why {
            // It is there, and its sessions stay with it.
            Trouble::QueueFull | Trouble::QueueLate if pinned => return Err(refused),
            Trouble::Late(_) => return Err(refused),
            Trouble::Connect(_) | Trouble::ConnectLate => {
                session.lose_backend();
                tried.push(index);
            }
            Trouble::QueueFull | Trouble::QueueLate => tried.push(index),
            // Another connection to it may be good.
            Trouble::Broken(_) | Trouble::Closed => {}
        }
        let next = failed.request.map(|request| *request).or(spare);
        let idempotent = next.as_ref().is_some_and(|next| next.method().is_idempotent());
        let budget = &self.serving.state.pools[self.rule.pool].budget;
        let may =
            self.retries + 1 < ATTEMPTS && (failed.unprocessed || (idempotent && budget.spend()));
        next.filter(|_| may).ok_or(refused)
    }

    fn interim(&self, status: StatusCode, mut fields: HeaderMap) {
        if let Some(gate) = &self.serving.client.gate {
            proxied::interim(&mut fields);
            let _late = gate.interim(&respond::interim(status, &fields));
        }
    }
}

/// The same request, where nothing of it is lost when it is sent: it has no body.
fn spare(request: &Request<RequestBody>, progress: &Rc<Progress>) -> Option<Request<RequestBody>> {
    request.body().is_end_stream().then(|| {
        let mut spare = Request::new(RequestBody::empty(progress));
        spare.method_mut().clone_from(request.method());
        spare.uri_mut().clone_from(request.uri());
        spare.headers_mut().clone_from(request.headers());
        *spare.version_mut() = request.version();
        spare
    })
}

impl Trouble {
    /// What it is counted as.
    fn name(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueLate => "queue_timeout",
            Self::Connect(_) => "connect",
            Self::ConnectLate => "connect_timeout",
            Self::Broken(_) => "broken",
            Self::Closed => "closed",
            Self::Late(Phase::Upload) => "upload_timeout",
            Self::Late(_) => "answer_timeout",
        }
    }

    /// What a client is told of it.
    fn answer(&self) -> Refused {
        let status = match self {
            Self::QueueFull | Self::QueueLate | Self::Connect(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late(Phase::Upload) => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectLate | Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            // Its client may have broken off itself, and then hears nothing.
            Self::Broken(_) | Self::Closed => StatusCode::BAD_GATEWAY,
        };
        (status, self.name())
    }
}

fn status_of(refusal: gate::Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST)
}
