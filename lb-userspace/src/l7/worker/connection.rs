//! A client's connection: let in, opened (PROXY header, TLS), and handed to who speaks its protocol.

use std::{
    future::poll_fn, io, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, task::Poll, time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Worker, http1, http2,
    tally::{ListenerTally, count},
};
use crate::l7::{
    early::Early,
    limits::{Admitted, Full},
    proxy_header::{self, Header},
};

/// After an error of `accept` that is not the connection's own: no descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(50);
/// What HTTP/2 by prior knowledge begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A first read takes at most so much, in bytes.
const FIRST: usize = 4096;

/// Takes connections until it is aborted.
pub(super) async fn accept(worker: Rc<Worker>, address: SocketAddr, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                drop(spawn_local(open(Rc::clone(&worker), address, stream, peer)));
            }
            Err(error) if is_its_own(&error) => {}
            Err(error) => {
                tracing::warn!("{address}: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_its_own(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// A connection that was let in, and where it comes from.
pub(super) struct Opened {
    pub(super) worker: Rc<Worker>,
    /// The listener's.
    pub(super) listener: SocketAddr,
    /// The client's: what the PROXY header says, where there is one.
    pub(super) client: SocketAddr,
    /// Who connected.
    pub(super) peer: SocketAddr,
    pub(super) secure: bool,
    _open: Open,
}

/// Counts while it is open.
struct Open {
    worker: Rc<Worker>,
    _admitted: Admitted,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open.set(self.worker.open.get() - 1);
    }
}

async fn open(worker: Rc<Worker>, listener: SocketAddr, mut stream: TcpStream, peer: SocketAddr) {
    let Some(state) = worker.state() else { return };
    let Some(index) = state.view.listener_at(listener) else { return };
    let tally = &state.listeners[index];
    count(&tally.connections);
    let (settings, limits) = (&state.view.listeners[index], &state.view.settings.limits);
    let all = limits.connections;
    let admitted = match worker.shared.admit(peer.ip(), all, limits.client_connections) {
        Ok(admitted) => admitted,
        Err(full) => {
            tally.refuse(match full {
                Full::All => "connections",
                Full::Client => "client_connections",
            });
            if settings.tls.is_none() {
                // What does not fit into the socket's buffer is not worth waiting for.
                let _sent = stream.try_write(FULL);
            }
            return;
        }
    };
    worker.open.set(worker.open.get() + 1);
    let open = Open { worker: Rc::clone(&worker), _admitted: admitted };
    let within = limits.head_timeout;
    let (mut client, mut early) = (peer, Vec::new());
    if settings.accept_proxy {
        let trusted = state.view.trusts(peer.ip());
        let read = async {
            if !trusted {
                return Err("proxy_untrusted");
            }
            proxy(&mut stream, &mut early).await.map_err(|_broken| "proxy_header")
        };
        match in_time(&worker, within, read).await {
            Some(Ok(from)) => client = from.unwrap_or(peer),
            Some(Err(why)) => return tally.refuse(why),
            None => return tally.refuse("proxy_header_timeout"),
        }
    }
    let tls = settings.tls.clone();
    let opened = Opened { worker, listener, client, peer, secure: tls.is_some(), _open: open };
    match tls {
        Some(tls) => secure(opened, Early::new(stream, early), tls, within, tally).await,
        None => plain(opened, stream, early, within, tally).await,
    }
}

/// A listener with too many connections.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
                      Content-Length: 0\r\n\r\n";

/// `None`: not in time.
async fn in_time<T>(worker: &Worker, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = worker.timers.timer();
    timer.set(time);
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if timer.poll_due(context) || worker.cut.get() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The client that a PROXY header names; `None`: the proxy itself. What was read beyond it is left in
/// `early`.
async fn proxy(stream: &mut TcpStream, early: &mut Vec<u8>) -> io::Result<Option<SocketAddr>> {
    loop {
        match proxy_header::parse(early) {
            Ok(Some((header, length))) => {
                drop(early.drain(..length));
                return Ok(match header {
                    Header::Proxied { source, .. } => Some(source),
                    Header::Local | Header::Unknown => None,
                });
            }
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        early.reserve(FIRST);
        if stream.read_buf(early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn secure(
    opened: Opened,
    stream: Early<TcpStream>,
    config: Arc<ServerConfig>,
    within: Duration,
    tally: &Rc<ListenerTally>,
) {
    let tally = Rc::clone(tally);
    let accepted = TlsAcceptor::from(config).accept(stream);
    match in_time(&opened.worker, within, accepted).await {
        Some(Ok(stream)) => {
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            // The connection's room for a handshake is not needed any more.
            if two {
                Box::pin(http2::serve(opened, stream, Vec::new())).await;
            } else {
                Box::pin(http1::serve(opened, stream, Vec::new())).await;
            }
        }
        Some(Err(error)) => {
            tracing::debug!("{}: TLS: {error}", opened.client);
            tally.refuse("tls");
        }
        None => tally.refuse("tls_timeout"),
    }
}

async fn plain(
    opened: Opened,
    mut stream: TcpStream,
    mut early: Vec<u8>,
    within: Duration,
    tally: &Rc<ListenerTally>,
) {
    let tally = Rc::clone(tally);
    let begin = async {
        // Until it is the preface or cannot become it.
        while early.len() < PREFACE.len() && PREFACE.starts_with(&early) {
            early.reserve(FIRST);
            if stream.read_buf(&mut early).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    match in_time(&opened.worker, within, begin).await {
        Some(Ok(())) if early.is_empty() => {}
        Some(Ok(())) if early.starts_with(PREFACE) => http2::serve(opened, stream, early).await,
        Some(Ok(())) => http1::serve(opened, stream, early).await,
        // It went away.
        Some(Err(_)) => {}
        None => {
            tally.refuse("head_timeout");
            let _shut = stream.shutdown().await;
        }
    }
}
