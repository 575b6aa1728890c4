//! Bodies on their way: streamed, with back-pressure, never collected.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    progress::Progress,
    upstream::{http1, http2},
};

/// A body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The other end, or what it sends.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// Larger than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Nothing came for too long.
    #[error("no byte came in time")]
    Late,
}

/// A client's body, on its way to a backend.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    progress: Rc<Progress>,
}

impl RequestBody {
    /// What comes from the client.
    #[must_use]
    pub fn new(incoming: Incoming, progress: &Rc<Progress>) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { incoming, progress: Rc::clone(progress) }
    }

    /// Without a byte.
    #[must_use]
    pub fn empty(progress: &Rc<Progress>) -> Self {
        Self { incoming: None, progress: Rc::clone(progress) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { incoming, progress } = &mut *self;
        let Some(body) = incoming else { return Poll::Ready(None) };
        if progress.poll_held(context) {
            return Poll::Pending;
        }
        progress.begun.set(true);
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        match &frame {
            None => {
                *incoming = None;
                progress.uploaded_all();
            }
            Some(Ok(frame)) => {
                progress.uploads(frame.data_ref().map_or(0, |data| data.len() as u64));
                if progress.too_large.get() {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                // Who knows the length asks for no more.
                if body.is_end_stream() {
                    *incoming = None;
                    progress.uploaded_all();
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A backend's body, on its way to a client.
#[derive(Debug)]
pub enum BackendBody {
    /// Over HTTP/1.1.
    One(http1::AnswerBody),
    /// Over HTTP/2.
    Two(http2::AnswerBody),
}

impl Body for BackendBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::One(body) => Pin::new(body).poll_frame(context),
            Self::Two(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::One(body) => body.is_end_stream(),
            Self::Two(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::One(body) => body.size_hint(),
            Self::Two(body) => body.size_hint(),
        }
    }
}
