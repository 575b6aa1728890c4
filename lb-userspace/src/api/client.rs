//! The command line's end of the admin API.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use super::{command::Filter, query, wire};
use crate::control::facts::Intent;

/// More than the agent takes for any answer, so that it is the agent's error that is seen.
const ANSWER_TIME: Duration = Duration::from_secs(75);

/// A request got no success for an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the socket.
    #[error(
        "no agent answers on {}; start one with `holdfast run --config FILE`, or name its socket \
         with --socket",
        .0.display()
    )]
    NoAgent(PathBuf),
    /// The socket is root's.
    #[error("{}: permission denied; only root may talk to the agent, try with sudo", .0.display())]
    Denied(PathBuf),
    /// The connection failed.
    #[error("{}: {source}", socket.display())]
    Connection {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent took too long.
    #[error("the agent on {} did not answer within {} seconds", .0.display(), ANSWER_TIME.as_secs())]
    Slow(PathBuf),
    /// The agent said no.
    #[error("{}", error.error)]
    Refused {
        /// HTTP status, 400 to 599.
        status: u16,
        /// What it said.
        error: wire::Error,
    },
    /// What answers is no agent, or one of another make.
    #[error("what answers on {} is not understood: {reason}", socket.display())]
    Strange {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// Asks the agent on one socket; a connection per request.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the agent that serves `socket`; connects to nothing yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The status, as the JSON that the agent sent.
    pub async fn status_json(&self) -> Result<Bytes, ClientError> {
        self.send(Method::GET, "/v1/status", Bytes::new()).await
    }

    /// The status.
    pub async fn status(&self) -> Result<wire::Status, ClientError> {
        self.read(&self.status_json().await?)
    }

    /// A page of sessions; `cursor` as the page before gave it.
    pub async fn sessions(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<wire::SessionsPage, ClientError> {
        let Filter { listener, backend, client } = filter;
        let pairs = [
            ("limit", Some(limit.to_string())),
            ("listener", listener.clone()),
            ("backend", backend.clone()),
            ("client", client.map(|client| client.to_string())),
            ("cursor", cursor.map(str::to_owned)),
        ];
        let pairs: Vec<String> = pairs
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", query::encoded(&value?))))
            .collect();
        let target = format!("/v1/sessions?{}", pairs.join("&"));
        self.read(&self.send(Method::GET, &target, Bytes::new()).await?)
    }

    /// Removes sessions.
    pub async fn flush(&self, request: &wire::FlushRequest) -> Result<wire::Flushed, ClientError> {
        self.post("/v1/sessions/flush", request).await
    }

    /// Sets what is wanted of a backend.
    pub async fn set_intent(
        &self,
        backend: &str,
        intent: Intent,
    ) -> Result<wire::IntentSet, ClientError> {
        let target = format!("/v1/backends/{}/intent", query::encoded(backend).replace('/', "%2F"));
        self.post(&target, &wire::IntentRequest { intent }).await
    }

    /// Makes the agent read its configuration again.
    pub async fn reload(&self) -> Result<wire::Reloaded, ClientError> {
        self.read(&self.send(Method::POST, "/v1/reload", Bytes::new()).await?)
    }

    /// The keys of cookies, as the JSON that the agent sent.
    pub async fn keys_json(&self) -> Result<Bytes, ClientError> {
        self.send(Method::GET, "/v1/keys", Bytes::new()).await
    }

    /// The keys of cookies.
    pub async fn keys(&self) -> Result<wire::Keys, ClientError> {
        self.read(&self.keys_json().await?)
    }

    /// Adds a key.
    pub async fn rotate_keys(
        &self,
        request: &wire::RotateRequest,
    ) -> Result<wire::Rotated, ClientError> {
        self.post("/v1/keys/rotate", request).await
    }

    /// What a cookie means, as the JSON that the agent sent.
    pub async fn explain_cookie_json(&self, value: &str) -> Result<Bytes, ClientError> {
        let request = wire::ExplainRequest { value: value.to_owned() };
        let body = serde_json::to_vec(&request).map_err(|error| self.connection(error))?;
        self.send(Method::POST, "/v1/cookie/explain", body.into()).await
    }

    /// What a cookie means.
    pub async fn explain_cookie(&self, value: &str) -> Result<wire::Explained, ClientError> {
        self.read(&self.explain_cookie_json(value).await?)
    }

    /// Puts another sidecar in the place of the one that runs.
    pub async fn replace_sidecar(&self) -> Result<wire::Replaced, ClientError> {
        self.read(&self.send(Method::POST, "/v1/sidecar/replace", Bytes::new()).await?)
    }

    /// Is an agent there that takes commands?
    pub async fn health(&self) -> Result<wire::Alive, ClientError> {
        self.read(&self.send(Method::GET, "/v1/health", Bytes::new()).await?)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.connection(error))?;
        self.read(&self.send(Method::POST, target, body.into()).await?)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.strange(error.to_string()))
    }

    /// Sends a request; the body of a successful answer.
    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        timeout(ANSWER_TIME, self.exchange(method, target, body))
            .await
            .unwrap_or_else(|_elapsed| Err(ClientError::Slow(self.socket.clone())))
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "holdfast")
            .body(Full::new(body))
            .map_err(|error| self.connection(error))?;
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.refused_by_kernel(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.connection(error))?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            Ok::<_, hyper::Error>((head.status, body.collect().await?.to_bytes()))
        };
        // The connection moves the bytes; polled here, it ends with the exchange.
        tokio::pin!(exchange);
        let answered = tokio::select! {
            answered = &mut exchange => answered,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error),
            },
        };
        let (status, body) = answered.map_err(|error| self.connection(error))?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(error) => Err(ClientError::Refused { status: status.as_u16(), error }),
            Err(_) => Err(self.strange(format!("status {status} without a reason"))),
        }
    }

    fn refused_by_kernel(&self, error: io::Error) -> ClientError {
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            ClientError::NoAgent(self.socket.clone())
        } else if kind == io::ErrorKind::PermissionDenied {
            ClientError::Denied(self.socket.clone())
        } else {
            self.connection(error)
        }
    }

    fn connection(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ClientError {
        ClientError::Connection { socket: self.socket.clone(), source: error.into() }
    }

    fn strange(&self, reason: String) -> ClientError {
        ClientError::Strange { socket: self.socket.clone(), reason }
    }
}
