//! HTTP/2 to a backend: one connection for many requests, driven by a task of its own.

use std::{
    cell::Cell,
    error::Error as _,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http2,
    rt::Executor,
};

use super::{
    Answer, Failed, Permit, Trouble,
    connect::{Wanted, connect},
};
use crate::l7::{
    body::{BackendBody, BodyError, RequestBody},
    io::BackendIo,
    progress::Progress,
    timers::Timers,
};

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Streams>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Streams {
    open: Cell<u32>,
    /// By the worker's clock.
    used_ms: Cell<u64>,
    timers: Rc<Timers>,
}

/// Room for a request on a connection.
#[derive(Debug)]
pub struct Stream {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Streams>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get() - 1);
        self.streams.used_ms.set(self.streams.timers.now_ms());
    }
}

impl Connection {
    /// Connects.
    pub(super) async fn open(wanted: &Wanted<'_>, timers: &Rc<Timers>) -> Result<Self, Trouble> {
        let (io, _) = BackendIo::new(connect(wanted).await?);
        let (sender, driver) = http2::Builder::new(Local).handshake(io).await?;
        drop(tokio::task::spawn_local(async move {
            // What is wrong with it its requests are told.
            let _ended = driver.await;
        }));
        let streams = Rc::new(Streams {
            open: Cell::new(0),
            used_ms: Cell::new(timers.now_ms()),
            timers: Rc::clone(timers),
        });
        Ok(Self { sender, streams, address: wanted.address })
    }

    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Is it open?
    pub(super) fn is_good(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Did it serve nobody for so long?
    pub(super) fn is_idle_for(&self, long_ms: u64) -> bool {
        let streams = &self.streams;
        streams.open.get() == 0 && streams.timers.now_ms() >= streams.used_ms.get() + long_ms
    }

    /// Room for another request, if there is.
    pub(super) fn stream(&self, most: u32) -> Option<Stream> {
        let open = self.streams.open.get();
        (open < most).then(|| {
            self.streams.open.set(open + 1);
            Stream { sender: self.sender.clone(), streams: Rc::clone(&self.streams) }
        })
    }
}

/// Sends a request and waits for its answer's head.
pub(super) async fn exchange(
    mut stream: Stream,
    request: Request<RequestBody>,
    permit: Permit,
    progress: &Rc<Progress>,
) -> Result<Answer, Failed> {
    // Interim answers are not told of by hyper here, nor is 100: the body goes at once.
    let _held = progress.release();
    if request.body().is_end_stream() {
        progress.uploaded_all();
    }
    let sent = stream.sender.try_send_request(request);
    let mut sent = pin!(sent);
    let outcome = poll_fn(|context| {
        if progress.poll_due(context) {
            return Poll::Ready(Err(None));
        }
        sent.as_mut().poll(context).map_err(Some)
    });
    match outcome.await {
        Ok(response) => {
            progress.downloads();
            let progress = Rc::clone(progress);
            let body =
                |incoming| AnswerBody { incoming, under_way: Some((stream, permit)), progress };
            Ok(Answer::Plain(response.map(|incoming| BackendBody::Two(body(incoming)))))
        }
        Err(None) => {
            let phase = progress.phase();
            Err(Failed { why: Trouble::Late(phase), unprocessed: false, request: None })
        }
        Err(Some(mut error)) => {
            let request = error.take_message().map(Box::new);
            let error = error.into_error();
            let unprocessed = request.is_some() || refused(&error);
            Err(Failed { why: Trouble::Broken(error), unprocessed, request })
        }
    }
}

/// Did the backend say that it did not process the request (RFC 9113, 8.7)?
fn refused(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return refused || (error.is_go_away() && error.is_remote());
        }
        cause = error.source();
    }
    false
}

/// A body on its way.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    under_way: Option<(Stream, Permit)>,
    progress: Rc<Progress>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.progress.poll_due(context) {
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        self.progress.downloads();
        if frame.is_none() {
            self.under_way = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
