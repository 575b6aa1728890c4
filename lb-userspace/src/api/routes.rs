//! From a request to a command, from its reply to an answer.

use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    command::{Command, CommandError, Filter, Reply},
    crowd::Place,
    query,
    room::Share,
    wire,
};

/// Longest request body, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// A body that takes longer than this is given up.
const BODY_TIME: Duration = Duration::from_secs(5);

/// A command that takes longer than this is answered with an error; it may still be carried out.
const COMMAND_TIME: Duration = Duration::from_secs(50);

/// What is answered to a request that did not succeed.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    body: wire::Error,
    /// Methods that the path knows, for 405.
    allow: Option<&'static str>,
}

/// Every path of the API with its method.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Status,
    Sessions,
    Flush,
    /// The name as it stands in the path, percent-encoded.
    Intent {
        backend: &'a str,
    },
    Reload,
    Keys,
    Rotate,
    Explain,
    Replace,
}

/// The paths, for the answer to a wrong one.
const PATHS: &str = "GET /v1/health, GET /v1/status, GET /v1/sessions, POST /v1/sessions/flush, \
                     POST /v1/backends/NAME/intent, POST /v1/reload, GET /v1/keys, \
                     POST /v1/keys/rotate, POST /v1/cookie/explain, POST /v1/sidecar/replace";

/// Answers a request; never fails, never panics, ends within about a minute.
pub(super) async fn answer<B>(
    request: Request<B>,
    commands: &mpsc::Sender<Command>,
    place: &Place,
    share: &Share,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match carry_out(request, commands, place, share).await {
        Ok(body) => response(StatusCode::OK, body, None),
        Err(failure) => {
            let body = json(&failure.body).unwrap_or_default();
            response(failure.status, body, failure.allow)
        }
    }
}

async fn carry_out<B>(
    request: Request<B>,
    commands: &mpsc::Sender<Command>,
    place: &Place,
    share: &Share,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let route = route(&head.method, head.uri.path())?;
    if !matches!(route, Route::Sessions) {
        query::none(head.uri.query()).map_err(Failure::bad_request)?;
    }
    match route {
        Route::Health if commands.is_closed() => Err(Failure::stopping()),
        Route::Health => {
            json(&wire::Alive { ok: true, version: env!("CARGO_PKG_VERSION").to_owned() })
        }
        Route::Status => json(&ask_much(commands, place, share, Command::Status).await?),
        Route::Sessions => {
            let query = query::sessions(head.uri.query()).map_err(Failure::bad_request)?;
            let sessions = |reply| Command::Sessions { query, reply };
            json(&ask_much(commands, place, share, sessions).await?)
        }
        Route::Flush => {
            let filter = flush_filter(from_json(body).await?)?;
            json(&ask(commands, place, |reply| Command::Flush { filter, reply }).await?)
        }
        Route::Intent { backend } => {
            let wire::IntentRequest { intent } = from_json(body).await?;
            let backend = query::decoded(backend).map_err(Failure::bad_request)?;
            json(
                &ask(commands, place, |reply| Command::SetIntent { backend, intent, reply })
                    .await?,
            )
        }
        Route::Reload => json(&ask(commands, place, Command::Reload).await?),
        Route::Keys => json(&ask(commands, place, Command::Keys).await?),
        Route::Rotate => {
            let after_s = rotate_after_s(&from_json(body).await?)?;
            json(&ask(commands, place, |reply| Command::RotateKeys { after_s, reply }).await?)
        }
        Route::Explain => {
            let wire::ExplainRequest { value } = from_json(body).await?;
            json(&ask(commands, place, |reply| Command::ExplainCookie { value, reply }).await?)
        }
        Route::Replace => json(&ask(commands, place, Command::ReplaceSidecar).await?),
    }
}

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Failure> {
    let (allowed, route) = match path {
        "/v1/health" => (Method::GET, Route::Health),
        "/v1/status" => (Method::GET, Route::Status),
        "/v1/sessions" => (Method::GET, Route::Sessions),
        "/v1/sessions/flush" => (Method::POST, Route::Flush),
        "/v1/reload" => (Method::POST, Route::Reload),
        "/v1/keys" => (Method::GET, Route::Keys),
        "/v1/keys/rotate" => (Method::POST, Route::Rotate),
        "/v1/cookie/explain" => (Method::POST, Route::Explain),
        "/v1/sidecar/replace" => (Method::POST, Route::Replace),
        _ => {
            let backend = path
                .strip_prefix("/v1/backends/")
                .and_then(|rest| rest.strip_suffix("/intent"))
                .filter(|name| !name.is_empty() && !name.contains('/'))
                .ok_or_else(|| {
                    Failure::new(StatusCode::NOT_FOUND, format!("no such path; known: {PATHS}"))
                })?;
            (Method::POST, Route::Intent { backend })
        }
    };
    if *method == allowed {
        return Ok(route);
    }
    let allowed = if allowed == Method::GET { "GET" } else { "POST" };
    let text = format!("{path} takes {allowed} only");
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, text);
    Err(Failure { allow: Some(allowed), ..failure })
}

/// A filter or `all`: so that a request whose filter got lost does not remove everything.
fn flush_filter(request: wire::FlushRequest) -> Result<Filter, Failure> {
    let wire::FlushRequest { listener, backend, client, all } = request;
    let filter = Filter { listener, backend, client };
    if filter.is_empty() == all {
        Ok(filter)
    } else if all {
        Err(Failure::bad_request("`all` goes without `listener`, `backend` and `client`".into()))
    } else {
        Err(Failure::bad_request(
            "which sessions? Give `listener`, `backend` or `client`, or `all`: true".into(),
        ))
    }
}

fn rotate_after_s(request: &wire::RotateRequest) -> Result<u64, Failure> {
    let most = wire::RotateRequest::AFTER_S_MAX;
    match request.after_s {
        after_s if after_s <= most => Ok(after_s),
        after_s => {
            Err(Failure::bad_request(format!("`after_s` is {after_s}; allowed: 0 to {most}")))
        }
    }
}

/// Sends a command to the writer task and waits for the reply.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    place: &Place,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Failure> {
    let _work = place.work().ok_or_else(Failure::crowded)?;
    let asked = reply_to(commands, command);
    timeout(COMMAND_TIME, asked).await.unwrap_or_else(|_elapsed| Err(Failure::busy()))
}

/// The same for what gets a large answer: once there is room for it.
async fn ask_much<T>(
    commands: &mpsc::Sender<Command>,
    place: &Place,
    share: &Share,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Failure> {
    let _work = place.work().ok_or_else(Failure::crowded)?;
    let asked = async {
        share.take().await;
        reply_to(commands, command).await
    };
    timeout(COMMAND_TIME, asked).await.unwrap_or_else(|_elapsed| Err(Failure::busy()))
}

async fn reply_to<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Failure> {
    let (reply, replied) = oneshot::channel();
    commands.send(command(reply)).await.ok().ok_or_else(Failure::stopping)?;
    replied.await.ok().ok_or_else(Failure::stopping)?.map_err(Failure::from)
}

async fn from_json<T, B>(body: B) -> Result<T, Failure>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await;
    let bytes = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body is too long; at most {BODY_MAX} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Ok(Err(error)) => return Err(Failure::bad_request(format!("the body: {error}"))),
        Err(_elapsed) => {
            let text = "the body did not come in time".to_owned();
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, text));
        }
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not what is wanted: {error}")))
}

fn json(body: &impl Serialize) -> Result<Bytes, Failure> {
    let mut bytes = serde_json::to_vec_pretty(body).map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer: {error}"))
    })?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn response(status: StatusCode, body: Bytes, allow: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if let Some(allow) = allow {
        fields.insert(header::ALLOW, header::HeaderValue::from_static(allow));
    }
    response
}

impl Failure {
    fn new(status: StatusCode, error: String) -> Self {
        Self { status, body: wire::Error { error, details: Vec::new() }, allow: None }
    }

    fn bad_request(error: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Hardly ever read: the connection ends with it.
    fn crowded() -> Self {
        let text = "too many connections; nothing was done".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    fn busy() -> Self {
        let text = "the agent is busy; what was asked for may still be done".to_owned();
        Self::new(StatusCode::GATEWAY_TIMEOUT, text)
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping".to_owned())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        match error {
            CommandError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, text),
            CommandError::Invalid(_) => Self::new(StatusCode::BAD_REQUEST, text),
            CommandError::Internal(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            CommandError::Refused(details) => Self {
                body: wire::Error { error: text, details },
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, String::new())
            },
        }
    }
}

#[cfg(test)]
mod tests;
