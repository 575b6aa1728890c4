//! Packets cut off at every length: never forwarded, always counted, never changed.

use lb_common::{
    event::{Event, EventKind},
    layout::Forward,
};
use tests::{
    bench::site::{WAYS, site, tcp, udp},
    bench::{Bench, SHORTEST},
    packet::{ACK, Frame, QINQ, SYN, VLAN},
};

/// Sends all beginnings of the packet but the whole.
fn check(bench: &mut Bench, packet: &Frame) {
    let whole = packet.build();
    for len in SHORTEST..whole.len() {
        let outcome = bench.run(&whole[..len]);
        assert_eq!(outcome.events(), [Event::PassTruncated], "{len} bytes of {packet}: {outcome}");
    }
    assert!(bench.flows().is_empty() && bench.pins().is_empty(), "{packet} left a trace");
    assert_eq!(bench.run(&whole).fate(), Event::Forwarded, "{packet}, whole");
    bench.forget_flows();
    bench.forget_replies();
    bench.forget_pins();
}

#[test]
fn every_kind_of_packet_at_every_length() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for tags in [&[][..], &[(VLAN, 5)], &[(QINQ, 5), (VLAN, 6)]] {
            for packet in [
                tcp(forward, v6, SYN).tcp_options(&[1; 20]),
                tcp(forward, v6, ACK).payload(b"some words"),
                udp(forward, v6),
                udp(forward, v6).payload(b""),
            ] {
                let packet = packet.tags(tags);
                check(&mut bench, &packet);
                if v6 {
                    check(&mut bench, &packet.extensions(&[(0, 8), (43, 24), (60, 16)]));
                } else {
                    check(&mut bench, &packet.options(&[1; 40]));
                }
            }
        }
    }
}

/// Cuts the packet and mends IP's length, so that only the headers within tell.
fn check_mended(bench: &mut Bench, packet: &Frame) {
    let whole = packet.build();
    let ip_header = if packet.v6() { 40 } else { 20 };
    for len in packet.l3() + ip_header..whole.len() {
        let mut bytes = whole[..len].to_vec();
        let l3 = packet.l3();
        let ip_len = u16::try_from(len - l3).expect("short");
        if packet.v6() {
            bytes[l3 + 4..l3 + 6].copy_from_slice(&(ip_len - 40).to_be_bytes());
        } else {
            bytes[l3 + 2..l3 + 4].copy_from_slice(&ip_len.to_be_bytes());
            tests::packet::fix_ip_checksum(&mut bytes, l3);
        }
        let outcome = bench.run(&bytes);
        let header_len = packet.l4() + if packet.protocol() == 6 { 20 } else { 8 };
        let fate = outcome.fate();
        let whole_tcp = packet.protocol() == 6 && len >= header_len + packet_options(packet);
        if whole_tcp {
            // Only payload is missing: nobody but the receiver's checksum can tell.
            assert_eq!(fate, Event::Forwarded, "{len} bytes of {packet}: {outcome}");
        } else {
            assert_ne!(fate.kind(), EventKind::Sent, "{len} bytes of {packet}: {outcome}");
        }
    }
    bench.forget_flows();
    bench.forget_replies();
    bench.forget_pins();
}

fn packet_options(packet: &Frame) -> usize {
    match &packet.transport {
        tests::packet::Transport::Tcp { options, .. } => options.len(),
        tests::packet::Transport::Udp { .. } => 0,
    }
}

#[test]
fn headers_that_end_beyond_what_ip_says() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for packet in [
            tcp(forward, v6, ACK).tcp_options(&[1; 20]).payload(b"some words"),
            udp(forward, v6).payload(b"some words"),
        ] {
            check_mended(&mut bench, &packet);
            if v6 {
                check_mended(&mut bench, &packet.extensions(&[(0, 8), (43, 24), (60, 16)]));
            } else {
                check_mended(&mut bench, &packet.options(&[1; 40]));
            }
        }
    }
}

#[test]
fn answers_at_every_length() {
    let mut bench = site();
    for v6 in [false, true] {
        for packet in [tcp(Forward::Nat, v6, ACK), udp(Forward::Nat, v6)] {
            let answer = bench.send(&packet).parsed().frame.turned();
            let whole = answer.build();
            for len in SHORTEST..whole.len() {
                let outcome = bench.run(&whole[..len]);
                assert_eq!(outcome.events(), [Event::PassTruncated], "{len} of {answer}");
            }
            assert_eq!(bench.run(&whole).fate(), Event::Replied, "{answer}");
        }
    }
}
