//! Echo requests to a listener's address.

use std::net::IpAddr;

use lb_common::{event::Event, layout::OWN_ECHO};
use tests::{
    bench::{
        Bench, NAT_SOURCE_V4, NAT_SOURCE_V6, SHORTEST,
        site::{client, site, vip},
    },
    outcome::{Outcome, Verdict},
    packet::{BALANCER_MAC, CLIENT_MAC, QINQ, VLAN, icmp::Message, ip::Ip},
};

use crate::scene::{address, message, send};

fn at(v6: bool) -> IpAddr {
    vip(lb_common::layout::Forward::Nat, v6).ip()
}

fn request(v6: bool, body: &[u8]) -> Ip {
    Message::echo(v6, body).packet(client(v6).ip(), at(v6))
}

#[track_caller]
fn check_answer(outcome: &Outcome, request: &Ip, body: &[u8]) {
    assert_eq!(outcome.events(), [Event::EchoAnswered], "{request}: {outcome}");
    assert_eq!(outcome.verdict, Verdict::Tx);
    let v6 = request.source.is_ipv6();
    let message = Message { kind: if v6 { 129 } else { 0 }, ..Message::echo(v6, body) };
    let want = Ip {
        to: request.from,
        from: request.to,
        tags: request.tags.clone(),
        tos: request.tos,
        label: request.label,
        ttl: 64,
        trailer: request.trailer.clone(),
        ..message.packet(request.destination, request.source)
    };
    assert_eq!(outcome.bytes, want.build(), "{outcome}");
    assert_eq!((outcome.ip().to, outcome.ip().from), (CLIENT_MAC, BALANCER_MAC));
}

#[test]
fn of_any_size_with_any_tags() {
    let mut bench = site();
    for v6 in [false, true] {
        for tags in [&[][..], &[(VLAN, 5)], &[(QINQ, 5), (VLAN, 6)]] {
            for len in (0..70).chain([1399, 1400, 1472, 3400]) {
                let body: Vec<u8> = (0..len).map(|i: u16| (i * 7 % 251) as u8).collect();
                for trailer in [vec![], vec![0xee; 6]] {
                    let request = Ip { trailer, tos: 0x48, ..request(v6, &body).tags(tags) };
                    let outcome = send(&mut bench, &request);
                    check_answer(&outcome, &request, &body);
                }
            }
        }
        for ttl in [0, 1, 255] {
            let request = Ip { ttl, ..request(v6, b"hop") };
            check_answer(&send(&mut bench, &request), &request, b"hop");
        }
    }
}

/// So that a checksum is right of every sum that there can be.
#[test]
fn with_any_checksum() {
    let mut bench = site();
    for v6 in [false, true] {
        for word in (0..=u16::MAX).step_by(251).chain(0xfff0..=0xffff) {
            let body = word.to_be_bytes();
            let request = request(v6, &body);
            let outcome = bench.run(&request.build());
            assert!(message(&outcome).1, "{word:x}: {outcome}");
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut bench = site();
    for v6 in [false, true] {
        let mut request = request(v6, b"some words");
        request.payload[9] ^= 0x40;
        let outcome = bench.run(&request.build());
        assert_eq!(outcome.fate(), Event::EchoAnswered);
        assert!(!message(&outcome).1, "{outcome}");
    }
}

#[test]
fn cut_off_at_every_length() {
    let mut bench = site();
    for v6 in [false, true] {
        let whole = request(v6, b"some words").build();
        for len in SHORTEST..whole.len() {
            let outcome = bench.run(&whole[..len]);
            assert_eq!(outcome.events(), [Event::PassTruncated], "{len}: {outcome}");
        }
        // As long as IP says, but shorter than a message is.
        for len in 2..8 {
            let mut short = request(v6, b"");
            short.payload.truncate(len);
            let outcome = bench.run(&short.build());
            assert_eq!(outcome.events(), [Event::PassTruncated], "{len}: {outcome}");
        }
    }
}

fn check_passed(bench: &mut Bench, request: &Ip) {
    let outcome = send(bench, request);
    assert_eq!(outcome.events(), [Event::PassNotTcpUdp], "{request}: {outcome}");
}

#[test]
fn other_addresses_and_other_messages_are_the_kernels() {
    let mut bench = site();
    for v6 in [false, true] {
        let elsewhere = address(if v6 { "2001:db8::99" } else { "203.0.113.99" });
        let source: IpAddr = if v6 { NAT_SOURCE_V6.into() } else { NAT_SOURCE_V4.into() };
        for destination in [elsewhere, source] {
            let message = Message::echo(v6, b"hello");
            check_passed(&mut bench, &message.packet(client(v6).ip(), destination));
        }
        let answer = Message { kind: if v6 { 129 } else { 0 }, ..Message::echo(v6, b"hello") };
        check_passed(&mut bench, &answer.packet(client(v6).ip(), at(v6)));
        let code = Message { code: 1, ..Message::echo(v6, b"hello") };
        check_passed(&mut bench, &code.packet(client(v6).ip(), at(v6)));
        // Options may ask for what only the kernel does.
        let request = request(v6, b"hello");
        if v6 {
            let extensions = vec![(0, vec![1, 4, 0, 0, 0, 0])];
            check_passed(&mut bench, &Ip { extensions, ..request });
        } else {
            check_passed(&mut bench, &Ip { options: vec![1; 4], ..request });
        }
    }
}

#[test]
fn fragments_are_the_kernels() {
    let mut bench = site();
    for v6 in [false, true] {
        for one in request(v6, &[7; 100]).fragments(9, 56) {
            let outcome = send(&mut bench, &one);
            assert_eq!(outcome.events(), [Event::PassFragment], "{one}: {outcome}");
        }
    }
}

/// Two listeners would answer one another for ever.
#[test]
fn from_nobody_that_sends_one() {
    let mut bench = site();
    for v6 in [false, true] {
        let own: IpAddr = if v6 { NAT_SOURCE_V6.into() } else { NAT_SOURCE_V4.into() };
        let no_source = address(if v6 { "ff02::1" } else { "224.0.0.1" });
        for source in [at(v6), own, no_source] {
            let bad = Message::echo(v6, b"hello").packet(source, at(v6));
            let outcome = send(&mut bench, &bad);
            assert_eq!(outcome.events(), [Event::DropBadSource], "{bad}: {outcome}");
        }
    }
}

#[test]
fn unless_it_is_switched_off() {
    let mut bench = site();
    for v6 in [false, true] {
        bench.own(at(v6).into(), |own| own.flags &= !OWN_ECHO);
        check_passed(&mut bench, &request(v6, b"hello"));
        bench.own(at(v6).into(), |own| own.flags |= OWN_ECHO);
        let request = request(v6, b"hello");
        check_answer(&send(&mut bench, &request), &request, b"hello");
    }
}
