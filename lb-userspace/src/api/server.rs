//! Accepts connections on the admin socket and answers one request on each.

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    command::Command,
    routes,
    socket::{self, BindError, SocketFile},
};

/// Connections at a time; more wait in the backlog.
const CONNECTIONS_MAX: usize = 32;

/// Time for a request's head to come.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time for a whole connection: head, body, command and the client's reading of the answer.
const CONNECTION_TIME: Duration = Duration::from_mins(1);

/// Longest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// Time that running requests get when the server stops.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening end of the admin API.
#[derive(Debug)]
pub struct Server {
    /// Before the listener: fields are dropped in this order.
    file: SocketFile,
    listener: UnixListener,
}

impl Server {
    /// Opens the socket at `path`, mode 0600; within a tokio runtime.
    ///
    /// Replaces a socket that nobody serves; fails when an agent answers on it.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let (listener, file) = socket::open(path)?;
        let listener = UnixListener::from_std(listener).map_err(|source| BindError::System {
            operation: "watch",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { file, listener })
    }

    /// Serves until `stop` is ready, then gives running requests two seconds and removes the
    /// socket file. Sends what is asked for to `commands`.
    pub async fn serve(self, commands: mpsc::Sender<Command>, stop: impl Future<Output = ()>) {
        let Self { file, listener } = self;
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&listener, &commands, &mut connections) => {}
            () = stop => {}
        }
        drop(file);
        drop(listener);
        let ended = timeout(STOP_TIME, async { while connections.join_next().await.is_some() {} });
        if ended.await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Never returns.
async fn accept(
    listener: &UnixListener,
    commands: &mpsc::Sender<Command>,
    connections: &mut JoinSet<()>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed, so there is always a permit in the end.
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let commands = commands.clone();
                connections.spawn(async move {
                    serve_one(stream, &commands).await;
                    drop(permit);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "admin API: accept failed, tried again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: UnixStream, commands: &mpsc::Sender<Command>) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(routes::answer(request, commands).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin API: connection"),
        Err(_elapsed) => tracing::debug!("admin API: connection took too long"),
    }
}
