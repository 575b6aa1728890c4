//! Resets for flows whose backend is gone (P9).

use lb_common::{
    event::Event,
    layout::{BackendState, Forward},
};
use tests::{
    bench::{S, START},
    outcome::{Outcome, Verdict},
    packet::{ACK, FIN, Frame, PSH, QINQ, RST, SYN, Transport, VLAN},
};

use crate::scene::{SHAPES, scene};

/// The reset that answers `packet`, by RFC 9293, 3.10.7.1, written down independently.
fn reset_for(packet: &Frame) -> Frame {
    let Transport::Tcp { flags, sequence, acknowledgement, .. } = packet.transport else {
        panic!("a reset for UDP");
    };
    let occupied = u32::try_from(packet.payload.len()).expect("short")
        + u32::from(flags & SYN != 0)
        + u32::from(flags & FIN != 0);
    let (flags, sequence, acknowledgement) = if flags & ACK != 0 {
        (RST, acknowledgement, 0)
    } else {
        (RST | ACK, 0, sequence.wrapping_add(occupied))
    };
    let transport =
        Transport::Tcp { flags, sequence, acknowledgement, window: 0, options: Vec::new() };
    Frame {
        transport,
        tos: 0,
        label: if packet.v6() { 0 } else { 0x4000 },
        ttl: 64,
        payload: Vec::new(),
        trailer: Vec::new(),
        ..packet.clone().turned()
    }
}

fn check_reset(packet: &Frame, outcome: &Outcome) {
    assert_eq!(outcome.events(), [Event::ResetSent], "{packet}: {outcome}");
    assert_eq!(outcome.verdict, Verdict::Tx, "{packet}: {outcome}");
    let want = reset_for(packet);
    let got = outcome.parsed().frame;
    assert_eq!(outcome.bytes, want.build(), "{packet}:\n want {want}\n  got {got}");
}

#[test]
fn p9_running_tcp_flows_get_a_reset_on_their_next_packet() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let a = scene.a;
        scene.bench.state(a, BackendState::Down);
        for tags in [&[][..], &[(VLAN, 0x2005)], &[(QINQ, 1), (VLAN, 2)]] {
            for (flags, payload) in [
                (ACK, ""),
                (PSH | ACK, "GET / HTTP/1.1\r\n\r\n"),
                (FIN | ACK, ""),
                (FIN | ACK, "the end"),
                (FIN, "odd"),
                (SYN | ACK, ""),
            ] {
                let segment = scene.segment(1, flags).payload(payload.as_bytes()).tags(tags);
                let padded = Frame { trailer: vec![0; 6], ..segment.clone() };
                for packet in [segment.clone(), segment.tcp_options(&[1; 12]), padded] {
                    let outcome = scene.bench.send(&packet);
                    check_reset(&packet, &outcome);
                }
            }
        }
        let answered_by_none = scene.segment(1, RST);
        let outcome = scene.bench.send(&answered_by_none);
        assert_eq!(outcome.events(), [Event::DropGone], "a reset for a reset: {outcome}");
        let outcome = scene.bench.send(&scene.segment(1, RST | ACK));
        assert_eq!(outcome.events(), [Event::DropGone], "{outcome}");
    }
}

#[test]
fn p9_sequence_numbers_of_a_reset_wrap() {
    let mut scene = scene(Forward::Dsr, false);
    let a = scene.a;
    scene.bench.state(a, BackendState::Down);
    for sequence in [0, 1, u32::MAX - 3, u32::MAX] {
        let mut packet = scene.segment(1, FIN).payload(b"last");
        if let Transport::Tcp { sequence: s, .. } = &mut packet.transport {
            *s = sequence;
        }
        let outcome = scene.bench.send(&packet);
        check_reset(&packet, &outcome);
        let mut packet = scene.segment(1, ACK);
        if let Transport::Tcp { acknowledgement, .. } = &mut packet.transport {
            *acknowledgement = sequence;
        }
        let outcome = scene.bench.send(&packet);
        check_reset(&packet, &outcome);
    }
}

#[test]
fn p9_a_reset_needs_plain_headers() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let a = scene.a;
        scene.bench.state(a, BackendState::Down);
        let packet = scene.segment(1, ACK);
        let packet = if v6 { packet.extensions(&[(0, 8)]) } else { packet.options(&[1; 4]) };
        let outcome = scene.bench.send(&packet);
        assert_eq!(outcome.events(), [Event::DropGone], "{packet}: {outcome}");
    }
}

#[test]
fn p9_resets_go_on_as_long_as_the_flow_would_have() {
    let mut scene = scene(Forward::Dsr, false);
    let (a, b) = (scene.a, scene.b);
    scene.bench.state(a, BackendState::Down);
    let ack = scene.segment(1, ACK);
    // Its ACK was its last noted packet.
    scene.bench.at(START + 7440 * S - 1);
    assert_eq!(scene.bench.send(&ack).fate(), Event::ResetSent);
    scene.bench.at(START + 7440 * S);
    assert_eq!(scene.to(&ack), b);
}
