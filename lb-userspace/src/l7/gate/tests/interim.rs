//! Interim answers while hyper's own bytes are half written.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::rt::{Read, ReadBuf, Write};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::super::{Gate, GateState, Limits};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// A gate whose client takes that many bytes at a time, with a request at hand.
fn gate(room: usize) -> (Gate<DuplexStream>, Rc<GateState>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    let state = GateState::new(Rc::new(Cell::new(0)));
    let early = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n".to_vec();
    let mut gate = Gate::new(ours, Rc::clone(&state), Limits::default(), early);
    let mut space = [0; 100];
    let mut buffer = ReadBuf::new(&mut space);
    let mut context = Context::from_waker(Waker::noop());
    let read = Pin::new(&mut gate).poll_read(&mut context, buffer.unfilled());
    assert!(matches!(read, Poll::Ready(Ok(()))) && state.requests() == 1);
    (gate, state, theirs)
}

/// Writes as hyper does, until `text` is written; what the client got meanwhile.
async fn write(
    gate: &mut Gate<DuplexStream>,
    text: &str,
    client: &mut DuplexStream,
    got: &mut String,
) {
    let mut rest = text.as_bytes();
    let mut context = Context::from_waker(Waker::noop());
    while !rest.is_empty() {
        match Pin::new(&mut *gate).poll_write(&mut context, rest) {
            Poll::Ready(written) => rest = &rest[written.expect("a client")..],
            Poll::Pending => take(client, got).await,
        }
    }
}

async fn flush(gate: &mut Gate<DuplexStream>, client: &mut DuplexStream, got: &mut String) {
    let mut context = Context::from_waker(Waker::noop());
    while Pin::new(&mut *gate).poll_flush(&mut context).is_pending() {
        take(client, got).await;
    }
    take(client, got).await;
}

/// What there is for the client, if there is anything.
async fn take(client: &mut DuplexStream, got: &mut String) {
    let mut buffer = [0; 100];
    tokio::select! {
        biased;
        read = client.read(&mut buffer) => {
            let text = std::str::from_utf8(&buffer[..read.expect("a stream")]);
            got.push_str(text.expect("text"));
        }
        () = std::future::ready(()) => {}
    }
}

/// hyper's `100 Continue` is written to its byte `at` when the interim answer comes; the final one
/// begins before the rest of it, or after.
async fn check(room: usize, at: usize, answers_early: bool, wanted: &str) {
    let (mut gate, state, mut client) = gate(room);
    let mut got = String::new();
    write(&mut gate, &CONTINUE[..at], &mut client, &mut got).await;
    assert!(state.interim(HINTS.as_bytes()));
    if answers_early {
        state.answering();
        assert!(!state.interim(HINTS.as_bytes()), "the answer has begun");
        write(&mut gate, &CONTINUE[at..], &mut client, &mut got).await;
    } else {
        write(&mut gate, &CONTINUE[at..], &mut client, &mut got).await;
        flush(&mut gate, &mut client, &mut got).await;
        state.answering();
    }
    write(&mut gate, FINAL, &mut client, &mut got).await;
    flush(&mut gate, &mut client, &mut got).await;
    for _ in 0..got.len() + 200 {
        take(&mut client, &mut got).await;
    }
    assert_eq!(got, wanted, "{room} {at} {answers_early}");
}

#[tokio::test]
async fn never_inside_another_answer() {
    for room in [1, 7, 1000] {
        check(room, 0, false, &[HINTS, CONTINUE, FINAL].concat()).await;
        check(room, 0, true, &[HINTS, CONTINUE, FINAL].concat()).await;
        for at in [1, 10, CONTINUE.len()] {
            check(room, at, false, &[CONTINUE, HINTS, FINAL].concat()).await;
            check(room, at, true, &[CONTINUE, FINAL].concat()).await;
        }
    }
}
