//! hyper's server behind the gate.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::Notify,
};

use super::super::{Gate, GateState, Limits, Phase, Refusal};

/// An answer's body that says when hyper is done with it.
struct Answer(Full<Bytes>, Rc<GateState>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.1.answered();
    }
}

/// A connection whose service notes what it gets, waits, and answers with the path.
struct Served {
    state: Rc<GateState>,
    seen: RefCell<Vec<String>>,
    go: Notify,
    interim: Cell<bool>,
    switches: bool,
    clock_ms: Rc<Cell<u64>>,
}

impl Served {
    fn new(switches: bool) -> Rc<Self> {
        let clock_ms = Rc::new(Cell::new(0));
        Rc::new(Self {
            state: GateState::new(Rc::clone(&clock_ms)),
            seen: RefCell::default(),
            go: Notify::new(),
            interim: Cell::new(false),
            switches,
            clock_ms,
        })
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path().to_owned();
        if self.interim.get() {
            assert!(self.state.interim(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
        }
        let body = match request.into_body().collect().await {
            Ok(body) => String::from_utf8(body.to_bytes().to_vec()).expect("text"),
            Err(_) => "broken".to_owned(),
        };
        self.seen.borrow_mut().push(format!("{path} {body}"));
        self.go.notified().await;
        self.state.answering();
        assert!(!self.state.interim(b"late"), "the answer has begun");
        let upgrade = self.state.framing().is_some_and(|framing| framing.upgrade);
        let (mut status, mut body) = (StatusCode::OK, Full::from(path));
        if self.switches && upgrade {
            assert!(self.state.switched());
            (status, body) = (StatusCode::SWITCHING_PROTOCOLS, Full::default());
        }
        let mut answer = Response::new(Answer(body, Rc::clone(&self.state)));
        *answer.status_mut() = status;
        answer
    }

    /// Serves, and answers what is refused as the connection's owner does. What is left over.
    async fn serve(self: Rc<Self>, io: DuplexStream) -> Vec<u8> {
        let gate = Gate::new(io, Rc::clone(&self.state), Limits::default(), Vec::new());
        let service = Rc::clone(&self);
        let service = service_fn(move |request| {
            let answer = Rc::clone(&service).answer(request);
            Box::pin(async move { Ok::<_, Infallible>(answer.await) })
        });
        let mut connection = http1::Builder::new().serve_connection(gate, service);
        let _result = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
        let parts = connection.into_parts();
        let (mut io, held) = parts.io.into_parts();
        if let Some(refusal) = self.state.unanswered() {
            let answer = format!("HTTP/1.1 {} {refusal}\r\n\r\n", refusal.status());
            io.write_all(answer.as_bytes()).await.expect("a client");
        }
        [&parts.read_buf[..], &held].concat()
    }
}

/// Reads until that many times `mark` were seen, or to the end.
async fn read(io: &mut DuplexStream, mark: &str, times: usize) -> String {
    let mut text = String::new();
    while text.matches(mark).count() < times {
        let mut buffer = [0; 1000];
        let bytes = io.read(&mut buffer).await.expect("a stream");
        if bytes == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&buffer[..bytes]).expect("text"));
    }
    text
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// Runs a client against a connection.
async fn run<T>(served: &Rc<Served>, client: impl AsyncFnOnce(DuplexStream) -> T) -> (Vec<u8>, T) {
    let (ours, theirs) = duplex(64 << 10);
    tokio::join!(Rc::clone(served).serve(ours), client(theirs))
}

#[tokio::test]
async fn pipelined_requests_come_one_by_one() {
    let served = Served::new(false);
    let chunked = "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nhi\r\n1;x\r\n!\r\n0\r\nT: u\r\n\r\n";
    let length = "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nyou";
    let last = "GET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [GET, chunked, length, last].concat();
    let (left, ()) = run(&served, async |mut io| {
        io.write_all(all.as_bytes()).await.expect("room");
        for count in 1..=4 {
            settle().await;
            assert_eq!(served.seen.borrow().len(), count);
            assert_eq!(served.state.requests(), count as u64);
            assert_eq!(served.state.phase(), Phase::Answer);
            served.go.notify_one();
            let path = ["/a", "/b", "/c", "/d"][count - 1];
            let answer = read(&mut io, path, 1).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            assert!(answer.ends_with(path), "{answer}");
        }
    })
    .await;
    assert_eq!(*served.seen.borrow(), ["/a ", "/b hi!", "/c you", "/d "]);
    assert_eq!((left.len(), served.state.refusal()), (0, None));
    assert_eq!(served.state.bytes().0, all.len() as u64);
}

#[tokio::test]
async fn a_refusal_waits_for_the_answers_before_it() {
    let served = Served::new(false);
    let (_, answers) = run(&served, async |mut io| {
        let both = format!("{GET}GET /evil HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        io.write_all(both.as_bytes()).await.expect("room");
        settle().await;
        assert_eq!((served.state.requests(), served.state.refusal()), (1, None));
        served.go.notify_one();
        read(&mut io, "\0", 1).await
    })
    .await;
    assert!(answers.starts_with("HTTP/1.1 200 OK"), "{answers}");
    assert!(answers.ends_with("/aHTTP/1.1 400 several_hosts\r\n\r\n"), "{answers}");
    assert_eq!(*served.seen.borrow(), ["/a "]);
}

#[tokio::test]
async fn a_broken_body_fails_at_once_and_is_the_service_s_to_answer() {
    let served = Served::new(false);
    let (_, answers) = run(&served, async |mut io| {
        let head = "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        io.write_all(format!("{head}2\r\nhiX").as_bytes()).await.expect("room");
        settle().await;
        assert_eq!(*served.seen.borrow(), ["/b broken"]);
        assert_eq!(served.state.refusal(), Some(Refusal::ChunkEnd));
        served.go.notify_one();
        read(&mut io, "\0", 1).await
    })
    .await;
    assert_eq!(served.state.unanswered(), None);
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
}

#[tokio::test]
async fn bytes_behind_an_upgrade_are_the_tunnel_s() {
    let served = Served::new(true);
    let early = "GET /evil HTTP/1.1\r\n\0";
    let (left, ()) = run(&served, async |mut io| {
        io.write_all(format!("{UPGRADE}{early}").as_bytes()).await.expect("room");
        settle().await;
        assert_eq!((served.state.requests(), served.state.refusal()), (1, None));
        served.go.notify_one();
        assert!(read(&mut io, "\r\n\r\n", 1).await.starts_with("HTTP/1.1 101 "));
    })
    .await;
    assert_eq!(left, early.as_bytes());
    assert_eq!((served.state.phase(), served.state.refusal()), (Phase::Tunnel, None));
}

#[tokio::test]
async fn bytes_behind_a_declined_upgrade_are_a_request() {
    let served = Served::new(false);
    let (_, ()) = run(&served, async |mut io| {
        io.write_all(format!("{UPGRADE}{GET}").as_bytes()).await.expect("room");
        for path in ["/up", "/a"] {
            served.go.notify_one();
            assert!(read(&mut io, path, 1).await.starts_with("HTTP/1.1 200 "));
        }
    })
    .await;
    assert_eq!(*served.seen.borrow(), ["/up ", "/a "]);
}

#[tokio::test]
async fn interim_answers_are_written_at_once_and_in_front() {
    let served = Served::new(false);
    served.interim.set(true);
    let expects =
        "POST /c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (_, ()) = run(&served, async |mut io| {
        for _ in 0..2 {
            io.write_all(GET.as_bytes()).await.expect("room");
            let text = read(&mut io, "\r\n\r\n", 1).await;
            assert_eq!(text, "HTTP/1.1 103 Early Hints\r\n\r\n");
            served.go.notify_one();
            let text = read(&mut io, "/a", 1).await;
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        }
        io.write_all(expects.as_bytes()).await.expect("room");
        let text = read(&mut io, "\r\n\r\n", 2).await;
        assert_eq!(text, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        io.write_all(b"hi").await.expect("room");
        served.go.notify_one();
        let text = read(&mut io, "/c", 1).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");

        io.write_all([GET, GET].concat().as_bytes()).await.expect("room");
        let text = read(&mut io, "\r\n\r\n", 1).await;
        served.go.notify_one();
        let text = text + &read(&mut io, "Early", 1).await;
        let order = ["HTTP/1.1 103", "HTTP/1.1 200", "\r\n\r\n/aHTTP/1.1 103"];
        let places = order.map(|part| text.rfind(part).filter(|_| text.contains(part)));
        assert!(places[0] > places[1] && places[2] > places[1], "{text}");
        assert_eq!(text.matches("103 Early").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    for request in [GET, UPGRADE] {
        let served = Served::new(true);
        let (_, ()) = run(&served, async |mut io| {
            io.write_all(request.as_bytes()).await.expect("room");
            settle().await;
            assert_eq!(served.state.phase(), Phase::Answer);
        })
        .await;
        assert_eq!(served.state.refusal(), None);
    }
}

#[tokio::test]
async fn deadlines_end_heads_and_idle_connections() {
    for (begin, phase, wanted) in
        [("GET / HT", Phase::Head, "HTTP/1.1 408 head_timeout\r\n\r\n"), ("", Phase::Idle, "")]
    {
        let served = Served::new(false);
        let (_, answer) = run(&served, async |mut io| {
            served.clock_ms.set(7);
            io.write_all(begin.as_bytes()).await.expect("room");
            settle().await;
            served.clock_ms.set(9);
            assert_eq!(served.state.phase(), phase);
            assert_eq!(served.state.began_ms(), if phase == Phase::Head { 7 } else { 0 });
            served.state.end(Refusal::HeadTimeout);
            read(&mut io, "\0", 1).await
        })
        .await;
        assert_eq!(answer, wanted);
    }
}
