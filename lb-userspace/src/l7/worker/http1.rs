//! HTTP/1.x with a client.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{client::Client, connection::Opened, request, respond::ClientBody, tunnel};
use crate::{
    config::http::HttpLimits,
    l7::gate::{Gate, GateState, Phase, Refusal},
};

/// A client that sends on after it was refused is listened to for so long, so that it can read why.
const LINGER: Duration = Duration::from_secs(1);
/// And so much, in bytes.
const LINGER_BYTES: usize = 256 << 10;

/// Fields that hyper has room for unless told otherwise.
const HYPER_FIELDS: usize = 100;
/// Its buffer, in bytes, likewise.
const HYPER_BUFFER: usize = 8192 + 4096 * 100;

/// Why a connection ends.
enum Ended {
    /// Its last answer is sent, or it broke.
    Served,
    /// Nothing came in time.
    Late(Phase),
    /// The sidecar ends.
    Cut,
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(opened: Opened, stream: S, early: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let worker = Rc::clone(&opened.worker);
    let Some(limits) = worker.state().map(|state| state.view.settings.limits) else { return };
    let gate_state = GateState::new(worker.timers.clock());
    let client = Client::new(opened, Some(Rc::clone(&gate_state)));
    let gate = Gate::new(stream, Rc::clone(&gate_state), client.limits(), early);
    let service = service_fn(|request: Request<Incoming>| in_turn(&client, request));
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).half_close(true);
    // The gate has counted. Told of a number, hyper takes memory for each head.
    if usize::from(limits.head_fields) > HYPER_FIELDS {
        builder.max_headers(limits.head_fields.into());
    }
    builder.max_buf_size((limits.head_bytes as usize).max(HYPER_BUFFER));
    let mut connection = builder.serve_connection(gate, service);
    let timer = worker.timers.timer();
    let mut last = false;
    let ended = poll_fn(|context| {
        if worker.cut.get() {
            return Poll::Ready(Ended::Cut);
        }
        // A client that has just connected, or is in the middle of a head, would lose its request.
        if worker.finishing.get() && !last && may_close(&gate_state) {
            last = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if connection.poll_without_shutdown(context).is_ready() {
            return Poll::Ready(Ended::Served);
        }
        timer.set_at(due_ms(&gate_state, &limits, worker.finishing.get()));
        if timer.poll_due(context) {
            return Poll::Ready(Ended::Late(gate_state.phase()));
        }
        Poll::Pending
    })
    .await;
    let parts = connection.into_parts();
    let (mut stream, held) = parts.io.into_parts();
    if let Some(switched) = client.switched.take() {
        if matches!(ended, Ended::Served) {
            let mut first = parts.read_buf.to_vec();
            first.extend_from_slice(&held);
            tunnel::run(&worker, stream, first, switched, limits.tunnel_timeout).await;
        }
        return;
    }
    let refusal = match ended {
        Ended::Served => gate_state.unanswered(),
        Ended::Late(Phase::Head) => Some(Refusal::HeadTimeout),
        Ended::Late(_) | Ended::Cut => None,
    };
    if let Some(refusal) = refusal {
        refuse(&client, stream, refusal).await;
    } else {
        let _late = tokio::time::timeout(LINGER, stream.shutdown()).await;
    }
}

/// Is no request of the client's on its way, as far as can be seen?
fn may_close(gate: &GateState) -> bool {
    gate.requests() > 0 && gate.phase() != Phase::Head
}

/// When something must have come.
fn due_ms(gate: &GateState, limits: &HttpLimits, finishing: bool) -> u64 {
    let after = |since_ms: u64, time: Duration| {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if time == 0 { u64::MAX } else { since_ms.saturating_add(time) }
    };
    match gate.phase() {
        // For a first request.
        Phase::Idle if finishing => after(gate.began_ms(), limits.head_timeout),
        Phase::Idle => after(gate.began_ms(), limits.idle_timeout),
        Phase::Head => after(gate.began_ms(), limits.head_timeout),
        // A request has deadlines of its own; this is for a client that takes nothing of its answer.
        Phase::Body | Phase::Answer => {
            let longest = limits.body_timeout.max(limits.answer_timeout) + limits.connect_timeout;
            after(gate.progress_ms(), longest + SLACK)
        }
        Phase::Tunnel => u64::MAX,
    }
}

/// A request waits for a connection to a backend for a minute at most, and for another one.
const SLACK: Duration = Duration::from_mins(2);

fn in_turn(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Pin<Box<impl Future<Output = Result<Response<ClientBody>, Infallible>> + use<>>> {
    let client = Rc::clone(client);
    Box::pin(async move {
        let mut response = request::serve(Rc::clone(&client), request).await?;
        if let Some(gate) = &client.gate {
            gate.answering();
            response.body_mut().tell(gate);
        }
        Ok(response)
    })
}

/// Says why, and closes.
async fn refuse<S>(client: &Client, mut stream: S, refusal: Refusal)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.refuse(refusal.name());
    let status = http::StatusCode::from_u16(refusal.status()).unwrap_or_default();
    let text = format!("{status}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
    let say = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closed at once, the answer could be lost to a reset.
        let mut left = LINGER_BYTES;
        let mut bytes = Vec::with_capacity(4096);
        while left > 0 {
            bytes.clear();
            match stream.read_buf(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // The client may be gone.
    let _late = tokio::time::timeout(LINGER, say).await;
}
