//! Accepts connections on the admin socket and answers one request on each.

use std::{convert::Infallible, io, path::Path, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    command::Command,
    crowd::{Crowd, Place},
    room::{Room, Share},
    routes,
    socket::{self, BindError, SocketFile},
};

/// Time for a request's head to come; less when others wait for the connection's place.
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
        let (mut crowd, room) = (Crowd::default(), Room::new());
        tokio::select! {
            () = accept(&listener, &commands, &mut crowd, &room) => {}
            () = stop => {}
        }
        drop(file);
        drop(listener);
        crowd.leave(STOP_TIME).await;
    }
}

/// Never returns.
async fn accept(
    listener: &UnixListener,
    commands: &mpsc::Sender<Command>,
    crowd: &mut Crowd,
    room: &Room,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let (commands, share) = (commands.clone(), room.share());
                let serve =
                    |place| async move { serve_one(stream, &commands, &place, &share).await };
                crowd.admit(serve).await;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "admin API: accept failed, tried again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(
    stream: UnixStream,
    commands: &mpsc::Sender<Command>,
    place: &Place,
    share: &Share,
) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(routes::answer(request, commands, place, share).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = timeout(CONNECTION_TIME, connection) => ended,
        () = share.wanted(place) => {
            tracing::debug!("admin API: an answer is not read, others wait for its room");
            return;
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin API: connection"),
        Err(_elapsed) => tracing::debug!("admin API: connection took too long"),
    }
}
