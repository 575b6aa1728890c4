//! What was HTTP and is another protocol now: bytes both ways, until either end closes.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{
    AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional_with_sizes,
};

use super::{Worker, client::Switched};
use crate::l7::early::Early;

/// Bytes under way in each direction.
const BUFFER: usize = 16 << 10;

/// Runs it to its end. `first` came from the client already.
pub(super) async fn run<S>(
    worker: &Worker,
    client: S,
    first: Vec<u8>,
    switched: Switched,
    idle: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Switched { socket, first: from_backend, permit } = switched;
    let clock = worker.timers.clock();
    let moved = Rc::new(Cell::new(clock.get()));
    let times = || (Rc::clone(&clock), Rc::clone(&moved));
    let mut near = Watched { stream: Early::new(client, first), times: times() };
    let mut far = Watched { stream: socket, times: times() };
    let copy = async {
        near.write_all(&from_backend).await?;
        copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await
    };
    let mut copy = pin!(copy);
    let timer = worker.timers.timer();
    let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    poll_fn(|context| {
        if worker.cut.get() || copy.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        timer.set_at(if idle == 0 { u64::MAX } else { moved.get().saturating_add(idle) });
        if timer.poll_due(context) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(permit);
}

/// Notes when bytes moved.
struct Watched<S> {
    stream: S,
    /// The clock, and when they did last.
    times: (Rc<Cell<u64>>, Rc<Cell<u64>>),
}

impl<S> Watched<S> {
    fn moved(&self) {
        self.times.1.set(self.times.0.get());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if read.is_ready() {
            self.moved();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.moved();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
