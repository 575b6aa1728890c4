//! Errors that are cut off, wrong, or about something else: never translated into nonsense.

use std::net::IpAddr;

use lb_common::{
    event::{Event, EventKind},
    layout::Forward,
};
use tests::{
    bench::{
        Bench, SHORTEST,
        site::{WAYS, site, vip},
    },
    packet::{
        icmp::{self, Message},
        ip::{Ip, Part},
    },
};

use crate::scene::{Flow, address, flow, message, packets, router, send, shortest};

/// An error about a packet to the client of a known flow, by way of the mode.
fn error(bench: &mut Bench, forward: Forward, v6: bool) -> (Flow, Ip) {
    let flow = flow(bench, &packets(forward, v6)[1]);
    let error =
        Message::too_big(&flow.replied, 1280, 100).packet(router(v6), vip(forward, v6).ip());
    (flow, error)
}

/// About a packet as changed.
fn about(changed: &Ip, forward: Forward) -> Ip {
    let v6 = changed.source.is_ipv6();
    Message::too_big(changed, 1280, 100).packet(router(v6), vip(forward, v6).ip())
}

#[test]
fn cut_off_at_every_length() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (_, error) = error(&mut bench, forward, v6);
        let whole = error.build();
        for len in SHORTEST..whole.len() {
            let outcome = bench.run(&whole[..len]);
            assert_eq!(outcome.events(), [Event::PassTruncated], "{len} bytes: {outcome}");
        }
    }
}

/// Cut off, with IP's length as if that were all.
#[test]
fn quotes_that_are_too_short() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (_, error) = error(&mut bench, forward, v6);
        for len in 0..8 + shortest(v6) {
            let mut short = error.clone();
            short.payload.truncate(len);
            // There may be more bytes in the frame: they are not the packet's.
            for trailer in [vec![], vec![0; 60]] {
                let short = Ip { trailer, ..short.clone() };
                let outcome = bench.run(&short.build());
                assert_eq!(outcome.fate().kind(), EventKind::Passed, "{len}: {outcome}");
                if len >= 2 {
                    assert_eq!(outcome.events(), [Event::PassIcmpError], "{len}: {outcome}");
                }
            }
        }
        assert!(send(&mut bench, &error).has(Event::IcmpForwarded), "whole");
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (_, mut error) = error(&mut bench, forward, v6);
        for bit in [0x01, 0x80] {
            error.payload[3] ^= bit;
            let outcome = send(&mut bench, &error);
            assert_eq!(outcome.fate(), Event::IcmpForwarded, "{outcome}");
            assert!(!message(&outcome).1, "{outcome}");
            error.payload[3] ^= bit;
        }
    }
}

#[test]
fn quotes_of_something_else() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (flow, good) = error(&mut bench, forward, v6);
        let packet = flow.replied;
        let elsewhere = if v6 { address("2001:db8::99") } else { address("203.0.113.99") };
        let mut others = vec![
            // Not from who gets the error; from somebody without a listener.
            about(&Ip { source: elsewhere, ..packet.clone() }, forward),
            Ip {
                destination: elsewhere,
                ..Message::too_big(&Ip { source: elsewhere, ..packet.clone() }, 1280, 100)
                    .packet(router(v6), elsewhere)
            },
        ];
        for protocol in [0, 1, 2, 47, 50, 58, 132] {
            others.push(about(&Ip { protocol, ..packet.clone() }, forward));
        }
        // No first fragment: what looks like ports is none.
        let part = Part { id: 5, offset: 8, more: false };
        others.push(about(&packet.clone().as_part(part), forward));
        // A version that the outer header does not say; an impossible length.
        for first in if v6 { [0x45, 0x50, 0x70] } else { [0x60, 0x44, 0x35] } {
            let mut message = icmp::parse(&good).expect("a message").message;
            message.body[0] = first;
            others.push(message.packet(good.source, good.destination));
        }
        if v6 {
            let long = vec![(60, vec![0; 14]); 9];
            others.push(about(&Ip { extensions: long, ..packet.clone() }, forward));
            let many = vec![(60, vec![0; 6]); 5];
            others.push(about(&Ip { extensions: many, ..packet.clone() }, forward));
        }
        for other in others {
            let outcome = send(&mut bench, &other);
            assert_eq!(outcome.events(), [Event::PassIcmpError], "{other}: {outcome}");
        }
        let outcome = send(&mut bench, &good);
        assert_eq!(outcome.fate(), Event::IcmpForwarded, "{outcome}");
    }
}

/// The ports are there.
#[test]
fn quotes_of_first_fragments_and_of_packets_with_options() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (flow, _) = error(&mut bench, forward, v6);
        let packet = flow.replied;
        let part = Part { id: 5, offset: 0, more: true };
        let mut good = vec![packet.clone().as_part(part)];
        if v6 {
            let extensions = vec![(0, vec![1, 4, 0, 0, 0, 0]), (60, vec![0; 22])];
            let more = Ip { extensions, ..packet };
            good.push(more.clone());
            good.push(more.as_part(part));
        } else {
            good.push(Ip { options: vec![1; 40], ..packet });
        }
        for packet in good {
            let outcome = send(&mut bench, &about(&packet, forward));
            assert_eq!(outcome.fate(), Event::IcmpForwarded, "{packet}: {outcome}");
            // Options and extension headers, and what is behind the ports, are as they were.
            let sent = icmp::parse(&about(&packet, forward)).expect("a message").message.body;
            let got = message(&outcome).0.body;
            let chain: usize = packet.extensions.iter().map(|(_, body)| body.len() + 2).sum();
            let (header, l4) = if v6 { (40, 40 + chain) } else { (20, 20 + packet.options.len()) };
            assert_eq!(got[header..l4], sent[header..l4], "{outcome}");
            assert_eq!(got[l4 + 8..], sent[l4 + 8..], "{outcome}");
            assert_eq!(got[l4..l4 + 4] == sent[l4..l4 + 4], forward == Forward::Dsr);
        }
    }
}

#[test]
fn sources_that_send_none() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (flow, error) = error(&mut bench, forward, v6);
        let mut sources: Vec<IpAddr> = if v6 {
            ["::", "::1", "ff02::1"].map(address).to_vec()
        } else {
            ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"].map(address).to_vec()
        };
        sources.push(vip(forward, v6).ip());
        sources.push(if v6 {
            tests::bench::NAT_SOURCE_V6.into()
        } else {
            tests::bench::NAT_SOURCE_V4.into()
        });
        for source in sources {
            let message = icmp::parse(&error).expect("a message").message;
            let bad = message.packet(source, error.destination);
            let outcome = send(&mut bench, &bad);
            assert_eq!(outcome.events(), [Event::DropBadSource], "{bad}: {outcome}");
        }
        // About a packet to somebody who is no client.
        let destination = vip(forward, v6).ip();
        let outcome = send(&mut bench, &about(&Ip { destination, ..flow.replied }, forward));
        assert_eq!(outcome.events(), [Event::DropBadSource], "{outcome}");
    }
}

#[test]
fn no_hop_left() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (flow, error) = error(&mut bench, forward, v6);
        let mut errors = vec![error];
        if forward == Forward::Nat {
            let near = flow.forwarded;
            let about = Message::unreachable(&near, 100);
            errors.push(about.packet(near.destination, near.source));
        }
        for error in errors {
            for (ttl, sent) in [(0, false), (1, false), (2, true)] {
                let outcome = send(&mut bench, &Ip { ttl, ..error.clone() });
                let dropped = outcome.events() == [Event::DropTtlExceeded];
                assert_eq!(dropped, !sent, "{ttl}: {outcome}");
                assert_eq!(outcome.fate().kind() == EventKind::Sent, sent, "{ttl}: {outcome}");
            }
        }
    }
}

/// They would need the whole of what they quote.
#[test]
fn errors_in_fragments_go_up() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (_, error) = error(&mut bench, forward, v6);
        for one in error.fragments(3, 64) {
            let outcome = send(&mut bench, &one);
            assert_eq!(outcome.events(), [Event::PassFragment], "{one}: {outcome}");
        }
    }
}

/// Which types are looked into.
#[test]
fn types_that_are_no_errors_for_others() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let (_, error) = error(&mut bench, forward, v6);
        let good = icmp::parse(&error).expect("a message").message;
        for kind in 0..=255 {
            // A code that no echo request has.
            let message = Message { kind, code: 1, ..good.clone() };
            let outcome = send(&mut bench, &message.packet(error.source, error.destination));
            let forwarded = if v6 { (1..=4).contains(&kind) } else { [3, 11, 12].contains(&kind) };
            let passed = if v6 { kind < 128 } else { [4, 5].contains(&kind) };
            let want = match (forwarded, passed) {
                (true, _) => Event::IcmpForwarded,
                (false, true) => Event::PassIcmpError,
                (false, false) => Event::PassNotTcpUdp,
            };
            assert_eq!(outcome.events(), [want], "{kind}: {outcome}");
        }
    }
}
