//! Fragments that no stack sends.

use std::net::IpAddr;

use lb_common::{
    event::{Event, EventKind},
    layout::Forward,
};
use tests::{
    bench::{
        SHORTEST,
        site::{WAYS, site, tcp, udp, vip},
    },
    packet::{
        ACK, RST, SYN,
        icmp::as_ip,
        ip::{Ip, Part},
    },
};

use crate::scene::{fragments, long, send_all};

/// Before the ports are all there, nobody knows whose it is (RFC 1858, RFC 8200).
#[test]
fn first_fragments_without_the_whole_header() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for (packet, header) in
            [(tcp(forward, v6, ACK).payload(&[7; 80]), 20), (udp(forward, v6), 8)]
        {
            let whole = as_ip(&packet);
            for len in (0..header).step_by(8).filter(|len| *len < header) {
                let part = Part { id: 7, offset: 0, more: true };
                let one = Ip { payload: whole.payload[..len].to_vec(), ..whole.clone() };
                send_all(&mut bench, &[one.as_part(part)], Event::DropBadFragment);
            }
        }
        // TCP options beyond the end.
        let packet = tcp(forward, v6, SYN).tcp_options(&[1; 40]).payload(&[7; 80]);
        let all = as_ip(&packet).fragments(7, 56);
        send_all(&mut bench, &all[..1], Event::DropBadFragment);
        let all = as_ip(&packet).fragments(7, 64);
        send_all(&mut bench, &all[..1], Event::Forwarded);
        bench.reset();
    }
    assert!(bench.datagrams().values().all(|datagram| datagram.course != 0));
}

/// The second would put other flags into the header that was looked at (RFC 1858, RFC 3128).
#[test]
fn fragments_over_a_tcp_header() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let packet = tcp(forward, v6, ACK).payload(&[7; 200]);
        let whole = as_ip(&packet);
        send_all(&mut bench, &whole.fragments(7, 104)[..1], Event::Forwarded);
        for (offset, fate) in
            [(8, Event::DropBadFragment), (16, Event::DropBadFragment), (24, Event::Forwarded)]
        {
            let part = Part { id: 7, offset, more: true };
            let one = Ip { payload: vec![9; 16], ..whole.clone() }.as_part(part);
            send_all(&mut bench, &[one], fate);
        }
        // Behind a UDP header is where the next begins.
        let whole = as_ip(&udp(forward, v6).payload(&[7; 200]));
        send_all(&mut bench, &whole.fragments(8, 8), Event::Forwarded);
    }
}

#[test]
fn impossible_lengths() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let whole = as_ip(&long(&udp(forward, v6)));
        send_all(&mut bench, &whole.fragments(7, 1448)[..1], Event::Forwarded);
        let mut check = |offset: usize, more: bool, len: usize, fate: Event| {
            let part = Part { id: 7, offset, more };
            let one = Ip { payload: vec![9; len], ..whole.clone() };
            send_all(&mut bench, &[one.as_part(part)], fate);
        };
        check(1448, true, 0, Event::DropBadFragment);
        check(1448, false, 0, Event::DropBadFragment);
        check(1448, true, 1447, Event::DropBadFragment);
        check(1448, true, 8, Event::Forwarded);
        check(1448, false, 1447, Event::Forwarded);
        // Beyond the longest datagram.
        check(65_528, false, 7, Event::Forwarded);
        check(65_528, false, 8, Event::DropBadFragment);
        check(65_520, true, 16, Event::DropBadFragment);
        // A first one that does not end where the next can begin.
        let part = Part { id: 7, offset: 0, more: true };
        let one = Ip { payload: whole.payload[..1447].to_vec(), ..whole };
        send_all(&mut bench, &[one.as_part(part)], Event::DropBadFragment);
    }
}

#[test]
fn first_fragments_that_no_client_sends() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let mut packet = long(&udp(forward, v6));
        packet.source.set_port(0);
        send_all(&mut bench, &fragments(&packet, 7)[..1], Event::DropBadSource);
        let impossible = long(&tcp(forward, v6, SYN | RST));
        send_all(&mut bench, &fragments(&impossible, 8)[..1], Event::DropBadTcp);
        let own: IpAddr = vip(forward, v6).ip();
        let mut packet = long(&udp(forward, v6));
        packet.source.set_ip(own);
        send_all(&mut bench, &fragments(&packet, 9)[..1], Event::DropBadSource);
    }
    assert!(bench.datagrams().is_empty() && bench.flows().is_empty() && bench.pins().is_empty());
}

#[test]
fn cut_off_at_every_length() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for one in as_ip(&udp(forward, v6).payload(&[7; 80])).fragments(7, 48) {
            let whole = one.build();
            for len in SHORTEST..whole.len() {
                let outcome = bench.run(&whole[..len]);
                assert_eq!(outcome.events(), [Event::PassTruncated], "{len} of {one}: {outcome}");
            }
            send_all(&mut bench, &[one], Event::Forwarded);
        }
    }
}

/// Fragments of what is not carried, and headers behind the fragment header.
#[test]
fn of_other_protocols() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let whole = as_ip(&long(&udp(forward, v6)));
        for protocol in [1, 2, 47, 50, 58, 132] {
            let all = Ip { protocol, ..whole.clone() }.fragments(7, 1448);
            send_all(&mut bench, &all, Event::PassFragment);
        }
        if v6 {
            for behind in [0, 43, 60, 135, 44] {
                let mut one = whole.fragments(7, 1448).remove(0);
                one.extensions.push((behind, vec![0; 6]));
                send_all(&mut bench, &[one], Event::PassFragment);
            }
        }
    }
}

#[test]
fn a_first_fragment_that_is_dropped_takes_the_others_along() {
    let mut bench = site();
    for v6 in [false, true] {
        let all = fragments(&long(&udp(Forward::Nat, v6)), 7);
        bench.table(1 + u32::from(v6), &[]);
        send_all(&mut bench, &all[..1], Event::DropNoBackend);
        for one in &all[1..] {
            let outcome = bench.run(&one.build());
            assert_eq!(outcome.fate().kind(), EventKind::Dropped, "{one}: {outcome}");
        }
    }
}
