//! HTTP/2 with a client.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{client::Client, connection::Opened, request};
use crate::l7::{
    gate::{Gate, GateState},
    upstream::http2::Local,
};

/// Bytes of an answer that wait for a stream's window.
const SEND_BUFFER: usize = 64 << 10;
/// After GOAWAY, streams that the client had begun may still come.
const LAST: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn serve<S>(opened: Opened, stream: S, early: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let worker = Rc::clone(&opened.worker);
    let Some(limits) = worker.state().map(|state| state.view.settings.limits) else { return };
    let seen = GateState::new(worker.timers.clock());
    let io = Gate::open(stream, Rc::clone(&seen), early);
    let client = Client::new(opened, None);
    let service = service_fn(|request: Request<Incoming>| {
        let client = Rc::clone(&client);
        request::serve(client, request)
    });
    let mut connection = http2::Builder::new(Local)
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.resets as usize)
        .max_local_error_reset_streams(limits.resets as usize)
        .max_header_list_size(limits.head_bytes)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(io, service);
    let timer = worker.timers.timer();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut goaway_ms = None;
    poll_fn(|context| {
        loop {
            if worker.cut.get() {
                return Poll::Ready(());
            }
            if worker.finishing.get() && goaway_ms.is_none() {
                goaway_ms = Some(worker.timers.now_ms());
                Pin::new(&mut connection).graceful_shutdown();
            }
            if Pin::new(&mut connection).poll(context).is_ready() {
                return Poll::Ready(());
            }
            // Requests have deadlines of their own. A connection without any is idle; one with some,
            // on which nothing moves, is that of a client that takes nothing.
            let idle = Rc::strong_count(&client) == 1;
            let stuck = limits.body_timeout.max(limits.answer_timeout) + limits.connect_timeout;
            timer.set_at(match goaway_ms {
                Some(since_ms) if idle => since_ms.saturating_add(ms(LAST)),
                _ if idle => seen.progress_ms().saturating_add(ms(limits.idle_timeout)),
                _ => seen.progress_ms().saturating_add(ms(stuck)),
            });
            if !timer.poll_due(context) {
                return Poll::Pending;
            }
            if goaway_ms.is_some() {
                return Poll::Ready(());
            }
            goaway_ms = Some(worker.timers.now_ms());
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await;
}
