//! However a stream is cut into reads: hyper gets the same bytes, and the same end.

use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::rt::{Read, ReadBuf, Write};
use proptest::prelude::*;
use tokio::io::AsyncRead;

use super::super::{Gate, GateState, Limits, Phase, Refusal};

const LIMITS: Limits = Limits { head_bytes: 200, head_fields: 5, body_bytes: 100 };

/// Gives those reads, then the end or an error.
struct Reads(VecDeque<Vec<u8>>, bool);

impl AsyncRead for Reads {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reads = self.get_mut();
        if let Some(read) = reads.0.front_mut() {
            let given = read.len().min(buf.remaining());
            buf.put_slice(&read[..given]);
            drop(read.drain(..given));
            if read.is_empty() {
                drop(reads.0.pop_front());
            }
        } else if reads.1 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Reads {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    refusal: Option<Refusal>,
    unanswered: Option<Refusal>,
    phase: Phase,
    requests: u64,
}

/// Takes all that the gate gives, in pieces of `room`; each request is answered as soon as it is
/// complete, or only when nothing else comes.
fn run(input: &[u8], cuts: &[usize], room: usize, eager: bool) -> Outcome {
    let (mut reads, mut rest) = (VecDeque::new(), input);
    for cut in cuts.iter().cycle() {
        let (read, more) = rest.split_at((*cut).min(rest.len()));
        if !read.is_empty() {
            reads.push_back(read.to_vec());
        }
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    let state = GateState::new(Rc::new(Cell::new(0)));
    let mut gate = Gate::new(Reads(reads, false), Rc::clone(&state), LIMITS, Vec::new());
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = Vec::new();
    loop {
        let mut space = vec![0; room];
        let mut buffer = ReadBuf::new(&mut space);
        let result = Pin::new(&mut gate).poll_read(&mut context, buffer.unfilled());
        let given = buffer.filled();
        bytes.extend_from_slice(given);
        let pending = match result {
            Poll::Ready(Ok(())) if given.is_empty() => break,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                assert!(given.is_empty(), "bytes with an error");
                break;
            }
            Poll::Pending => true,
        };
        if state.phase() == Phase::Answer && (eager || pending) {
            state.answering();
            state.answered();
            let flush = Pin::new(&mut gate).poll_flush(&mut context);
            assert!(matches!(flush, Poll::Ready(Ok(()))));
        } else {
            assert!(!pending, "nothing to wait for");
        }
    }
    let (_, left) = gate.into_parts();
    assert!(left.len() <= LIMITS.head_bytes + (16 << 10), "bytes without bound");
    Outcome {
        bytes,
        refusal: state.refusal(),
        unanswered: state.unanswered(),
        phase: state.phase(),
        requests: state.requests(),
    }
}

const PIECES: [&str; 22] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\nY: z\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
    "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\r\n",
    "\r",
    "\n",
    "\0",
    "G",
    "Host: a\r\n",
];

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::collection::vec(prop::sample::select(&PIECES[..]), 1..8);
    let good = proptest::collection::vec(prop::sample::select(&PIECES[..4]), 0..5);
    let change = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (good, pieces, change).prop_map(|(good, pieces, change)| {
        let mut stream = [good.concat(), pieces.concat()].concat().into_bytes();
        if let Some((place, byte)) = change {
            let at = place.index(stream.len());
            stream[at] = byte;
        }
        stream
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cuts_change_nothing(
        stream in streams(),
        cuts in proptest::collection::vec(1usize..60, 1..6),
        room in 1usize..100,
    ) {
        let whole = run(&stream, &[usize::MAX], 64 << 10, true);
        let shown = stream.escape_ascii().to_string();
        prop_assert_eq!(&run(&stream, &cuts, room, true), &whole, "{}", shown);
        prop_assert_eq!(&run(&stream, &[1], room, true), &whole, "{}", shown);
        prop_assert_eq!(&run(&stream, &[usize::MAX], 1, true), &whole, "{}", shown);

        // Without the empty lines that are skipped, it is the beginning of what came.
        let mut rest = &stream[..];
        for (at, byte) in whole.bytes.iter().enumerate() {
            if rest[0] != *byte {
                rest = rest.strip_prefix(b"\r\n").expect("only empty lines are left out");
                prop_assert_eq!(rest[0], *byte, "byte {} of {}", at, shown);
            }
            rest = &rest[1..];
        }
        // What is refused between messages, or does not end, is a boundary: it stands alone.
        if whole.unanswered.is_some() || whole.phase == Phase::Head {
            let alone = run(&whole.bytes, &[usize::MAX], 64 << 10, true);
            prop_assert_eq!(alone.phase, Phase::Idle, "{}", shown);
            prop_assert_eq!((&alone.bytes, alone.requests), (&whole.bytes, whole.requests));
        }
    }

    /// Nothing of the next request before the one at hand is answered.
    #[test]
    fn a_request_at_a_time(stream in streams(), cuts in proptest::collection::vec(1usize..60, 1..6)) {
        let lazy = run(&stream, &cuts, 1000, false);
        let whole = run(&stream, &[usize::MAX], 64 << 10, true);
        // Who leaves before the answer has left: only that may be missing.
        prop_assert!(whole.bytes.starts_with(&lazy.bytes));
        prop_assert!(lazy.requests <= whole.requests);
    }
}

#[test]
fn a_head_that_never_ends_is_no_request() {
    for input in ["GET / HTTP/1.1\r\nHo", "\r", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        let outcome = run(input.as_bytes(), &[3], 100, true);
        assert_eq!((outcome.bytes.len(), outcome.refusal, outcome.requests), (0, None, 0));
    }
    let state = GateState::new(Rc::new(Cell::new(0)));
    let reads = VecDeque::from([b"GET / HTTP".to_vec()]);
    let mut gate = Gate::new(Reads(reads, true), Rc::clone(&state), LIMITS, Vec::new());
    let mut space = [0; 100];
    let mut buffer = ReadBuf::new(&mut space);
    let mut context = Context::from_waker(Waker::noop());
    let result = Pin::new(&mut gate).poll_read(&mut context, buffer.unfilled());
    assert!(matches!(result, Poll::Ready(Ok(()))) && buffer.filled().is_empty());
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    let head = |bytes: usize| {
        let begin = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{begin}{}\r\n\r\n", "x".repeat(bytes - begin.len() - 4))
    };
    assert_eq!(run(head(200).as_bytes(), &[7], 100, true).refusal, None);
    assert_eq!(run(head(201).as_bytes(), &[7], 100, true).refusal, Some(Refusal::HeadTooLarge));
    assert_eq!(run(head(201).as_bytes(), &[999], 999, true).refusal, Some(Refusal::HeadTooLarge));
    let target = format!("GET /{}", "x".repeat(300));
    assert_eq!(run(target.as_bytes(), &[7], 100, true).refusal, Some(Refusal::TargetTooLong));
}
