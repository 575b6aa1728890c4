//! HTTP/1.1 to a backend: the connection is driven by the task of the request that it serves, so
//! that no message goes through a queue to another one.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};

use super::{
    Answer, Failed, Permit, Trouble,
    connect::{Socket, Wanted, connect},
};
use crate::l7::{
    body::{BackendBody, BodyError, RequestBody},
    io::{BackendIo, Seen},
    progress::Progress,
};

/// A connection.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<BackendIo<Socket>, RequestBody>,
    /// The driver has something to do.
    driving: bool,
    seen: Rc<Seen>,
    address: SocketAddr,
    /// It has served before.
    used: bool,
    /// It serves one client only.
    private: bool,
    /// By the worker's clock.
    pub(super) idle_since_ms: u64,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(wanted: &Wanted<'_>) -> Result<Box<Self>, Trouble> {
        let (io, seen) = BackendIo::new(connect(wanted).await?);
        let (sender, driver) = http1::handshake(io).await?;
        // It is large, and goes from hand to hand.
        Ok(Box::new(Self {
            sender,
            driver,
            driving: true,
            seen,
            address: wanted.address,
            used: false,
            private: wanted.proxy.is_some(),
            idle_since_ms: 0,
        }))
    }

    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Can it take a request? Wakes nobody later.
    pub(super) fn is_good(&mut self) -> bool {
        self.drive(&mut nobody()).is_ok() && self.driving && self.sender.is_ready()
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Result<(), hyper::Error> {
        if self.driving
            && let Poll::Ready(done) = self.driver.poll_without_shutdown(context)
        {
            self.driving = false;
            return done;
        }
        Ok(())
    }
}

/// A task that does not want to be woken: it looks again by itself.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Sends a request and waits for its answer's head.
pub(super) async fn exchange(
    mut connection: Box<Connection>,
    request: Request<RequestBody>,
    permit: Permit,
    progress: &Rc<Progress>,
    mut interim: impl FnMut(StatusCode, HeaderMap),
) -> Result<Answer, Failed> {
    // What is woken when the request is handed over is nobody: it is driven right below.
    let ready = connection.is_good();
    debug_assert!(ready || connection.used, "a new connection takes a request");
    connection.seen.begin();
    if request.body().is_end_stream() {
        progress.uploaded_all();
    }
    let sent = connection.sender.try_send_request(request);
    let mut sent = pin!(sent);
    let mut broken = None;
    let outcome = poll_fn(|context| {
        if progress.poll_due(context) {
            return Poll::Ready(Err(None));
        }
        loop {
            if let Err(error) = connection.drive(context) {
                broken = Some(error);
            }
            let mut again = false;
            while let Some((status, fields)) = connection.seen.interim() {
                if status == StatusCode::CONTINUE {
                    again |= progress.release();
                } else {
                    interim(status, fields);
                }
            }
            if !again {
                break;
            }
        }
        // It ends by what the driver does, right above: nobody else has to be woken for it.
        sent.as_mut().poll(&mut nobody()).map_err(Some)
    });
    match outcome.await {
        Ok(response) => Ok(answer(connection, response, permit, progress)),
        Err(None) => {
            let phase = progress.phase();
            Err(Failed { why: Trouble::Late(phase), unprocessed: false, request: None })
        }
        Err(Some(mut error)) => {
            let request = error.take_message().map(Box::new);
            let silent = connection.used && !connection.seen.received();
            let unprocessed = request.is_some() || (silent && !progress.begun.get());
            let why =
                if silent { Trouble::Closed } else { broken.unwrap_or(error.into_error()).into() };
            Err(Failed { why, unprocessed, request })
        }
    }
}

fn answer(
    mut connection: Box<Connection>,
    response: Response<Incoming>,
    permit: Permit,
    progress: &Rc<Progress>,
) -> Answer {
    progress.downloads();
    connection.used = true;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // It has nothing more to do than to be taken apart.
        let _done = connection.drive(&mut nobody());
        let parts = connection.driver.into_parts();
        let head = response.map(|_nothing| ());
        return Answer::Switched(head, parts.io.into_inner(), parts.read_buf, permit);
    }
    let (head, incoming) = response.into_parts();
    // The body has not been asked for, and whoever does asks the driver next.
    let _broken = connection.drive(&mut nobody());
    let progress = Rc::clone(progress);
    let mut body = AnswerBody { incoming, under_way: Some((connection, permit)), progress };
    if body.incoming.is_end_stream() {
        body.finish();
    }
    Answer::Plain(Response::from_parts(head, BackendBody::One(body)))
}

/// A body on its way; drives the connection that it comes from.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    under_way: Option<(Box<Connection>, Permit)>,
    progress: Rc<Progress>,
}

impl AnswerBody {
    /// All of it came: the connection may serve again.
    fn finish(&mut self) {
        if let Some((mut connection, permit)) = self.under_way.take()
            && !connection.private
            && connection.is_good()
        {
            permit.0.keep(connection);
        }
    }
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
        let mut frame = Pin::new(&mut self.incoming).poll_frame(&mut nobody());
        if frame.is_pending()
            && let Some((connection, _)) = &mut self.under_way
        {
            // Its error is the body's. What it reads for the body is there when it returns.
            let _broken = connection.drive(context);
            frame = Pin::new(&mut self.incoming).poll_frame(&mut nobody());
        }
        let frame = ready!(frame);
        self.progress.downloads();
        if frame.is_none() || self.incoming.is_end_stream() {
            self.finish();
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
