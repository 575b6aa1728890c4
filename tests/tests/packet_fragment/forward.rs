//! From clients to backends.

use std::collections::BTreeSet;

use lb_common::{
    event::Event,
    fragment::LIFETIME_NS,
    layout::{BackendState, Forward, Protocol},
};
use tests::{
    bench::{
        Bench, NAT_SOURCE_V4, NAT_SOURCE_V6, S, backend_mac, hop,
        site::{VIP_V4, VIP_V6, WAYS, backend_of, client, site, tcp, udp},
        socket,
    },
    packet::{ACK, BALANCER_MAC, Frame, icmp::as_ip, ip::Ip},
};

use crate::scene::{fragments, long, send_all, together};

#[test]
fn long_datagrams_in_every_mode_with_any_tags() {
    let mut bench = site();
    let tags: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 7)], &[(0x88a8, 5), (0x8100, 6)]];
    let mut id = 0x1000;
    for (forward, v6) in WAYS {
        let backend = backend_of(forward, v6);
        for out in tags {
            bench.change_backend(backend, |backend| backend.hop = hop(1, 2, out));
            for tags in tags {
                for packet in [
                    long(&udp(forward, v6)),
                    long(&udp(forward, v6)).no_checksum(),
                    long(&tcp(forward, v6, ACK)).tcp_options(&[1; 12]),
                ] {
                    if v6 && packet == packet.clone().no_checksum() {
                        continue;
                    }
                    id += 1;
                    let packet = packet.tags(tags).ttl(33);
                    let outcomes = send_all(&mut bench, &fragments(&packet, id), Event::Forwarded);
                    let (got, got_id) = together(&outcomes);
                    let mut want = Frame {
                        to: backend_mac(1),
                        from: BALANCER_MAC,
                        tags: out.to_vec(),
                        ttl: 32,
                        label: if v6 { packet.label } else { 0 },
                        ..packet.clone()
                    };
                    if forward == Forward::Nat {
                        let source: std::net::IpAddr =
                            if v6 { NAT_SOURCE_V6.into() } else { NAT_SOURCE_V4.into() };
                        want.source = (source, got.source.port()).into();
                        want.destination =
                            socket(if v6 { "[fd00::11]:8080" } else { "10.0.0.11:8080" });
                    }
                    assert_eq!(got, want, "{got}\n{want}");
                    // Translated IPv4 gets another: see below.
                    let kept = v6 || forward != Forward::Nat;
                    assert!(!kept || got_id == id, "{got_id:x}, not {id:x}");
                }
            }
        }
    }
}

/// Of a client without a flow, a pin follows; then flow, and pin, and hash.
#[test]
fn first_fragments_make_flows_and_pins_as_any_packet() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        bench.reset();
        let outcomes =
            send_all(&mut bench, &fragments(&long(&udp(forward, v6)), 7), Event::Forwarded);
        assert!(outcomes[0].has(Event::FlowMade));
        assert!(outcomes[1..].iter().all(|one| one.events() == [Event::Forwarded]), "only noted");
        assert_eq!((bench.flows().len(), bench.pins().len()), (1, 0));
        let outcome = bench.send(&udp(forward, v6));
        let events = [Event::Forwarded, Event::PinMade];
        assert_eq!(outcome.events(), events, "the same flow, whose client is real: {outcome}");
    }
}

fn three(forward: Forward, v6: bool, timeout_ns: u64) -> (Bench, Frame) {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let addresses = if v6 {
        ["[fd00::11]:0", "[fd00::12]:0", "[fd00::13]:0"]
    } else {
        ["10.0.0.11:0", "10.0.0.12:0", "10.0.0.13:0"]
    };
    let ids = addresses.map(|address| bench.backend(pool, address));
    bench.table(pool, &ids);
    let address = format!("{}:80", if v6 { VIP_V6 } else { VIP_V4 });
    let _key = bench.listener(Protocol::Udp, &address, pool, timeout_ns);
    (bench, Frame::udp(client(v6), socket(&address)))
}

/// With and without persistence, whatever becomes of pin and table meanwhile.
#[test]
fn the_others_follow_the_first() {
    for (forward, v6) in WAYS {
        for timeout_ns in [60 * S, 0] {
            let (mut bench, packet) = three(forward, v6, timeout_ns);
            for port in 1..30 {
                let mut packet = long(&packet);
                packet.source.set_port(port);
                let all = fragments(&packet, u32::from(port));
                let first = bench.run(&all[0].build());
                let chosen = bench.chosen(&first);
                bench.forget_pins();
                bench.forget_flows();
                bench.table(1, &[1 + chosen % 3]);
                let others = send_all(&mut bench, &all[1..], Event::Forwarded);
                for one in &others {
                    assert_eq!(bench.chosen(one), chosen, "{one}");
                }
                let (got, _) = together(&[vec![first], others].concat());
                assert_eq!(got.payload, packet.payload);
                bench.table(1, &[1, 2, 3]);
            }
        }
    }
}

#[test]
fn fragments_of_a_pinned_client_follow_the_pin() {
    for (forward, v6) in WAYS {
        let (mut bench, packet) = three(forward, v6, 60 * S);
        let _first = bench.send(&packet);
        let pinned = bench.send(&packet);
        let pinned = bench.chosen(&pinned);
        bench.table(1, &[1 + pinned % 3]);
        let mut packet = long(&packet);
        packet.source.set_port(9);
        for one in send_all(&mut bench, &fragments(&packet, 5), Event::Forwarded) {
            assert_eq!(bench.chosen(&one), pinned, "{one}");
        }
    }
}

/// One of several: two datagrams of one client under way at once, and one twice.
#[test]
fn datagrams_are_told_apart() {
    for (forward, v6) in WAYS {
        let (mut bench, packet) = three(forward, v6, 0);
        let packets: Vec<Frame> = (1..=40)
            .map(|port| {
                let mut packet = long(&packet);
                packet.source.set_port(port);
                packet.payload[0] = port.to_be_bytes()[1];
                packet
            })
            .collect();
        let all: Vec<Vec<Ip>> =
            packets.iter().zip(1..).map(|(packet, id)| fragments(packet, id)).collect();
        let mut outcomes = vec![Vec::new(); packets.len()];
        for part in 0..all[0].len() {
            for (of, fragments) in outcomes.iter_mut().zip(&all) {
                of.extend(send_all(&mut bench, &fragments[part..=part], Event::Forwarded));
            }
        }
        let mut ids = BTreeSet::new();
        for (packet, outcomes) in packets.iter().zip(&outcomes) {
            let (got, id) = together(outcomes);
            assert_eq!(got.payload, packet.payload);
            let chosen: BTreeSet<u32> = outcomes.iter().map(|one| bench.chosen(one)).collect();
            assert_eq!(chosen.len(), 1, "{packet}: {chosen:?}");
            assert!(ids.insert(id), "{id:x} twice");
        }
    }
}

/// To a backend they have one source: the same identification twice would mix them.
#[test]
fn translated_datagrams_of_two_clients_with_one_identification() {
    let mut bench = site();
    let packet = long(&udp(Forward::Nat, false));
    let mut other = packet.clone();
    other.source = socket("192.0.2.2:40000");
    other.payload[5] ^= 1;
    let [ours, theirs] = [&packet, &other].map(|packet| fragments(packet, 7));
    let mut outcomes = [Vec::new(), Vec::new()];
    for (one, two) in ours.iter().zip(&theirs) {
        outcomes[0].extend(send_all(&mut bench, std::slice::from_ref(one), Event::Forwarded));
        outcomes[1].extend(send_all(&mut bench, std::slice::from_ref(two), Event::Forwarded));
    }
    let [(ours, one), (theirs, two)] = outcomes.each_ref().map(|outcomes| together(outcomes));
    assert_eq!((ours.payload, theirs.payload), (packet.payload, other.payload));
    assert_ne!(one, two, "they would be taken for one datagram");
}

/// A first fragment that the network doubled does not tear the datagram apart.
#[test]
fn a_fragment_twice() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let all = fragments(&long(&udp(forward, v6)), 7);
        let mut doubled = vec![all[0].clone(), all[1].clone(), all[0].clone()];
        doubled.extend_from_slice(&all[2..]);
        let mut outcomes = send_all(&mut bench, &doubled, Event::Forwarded);
        let again = outcomes.remove(2);
        assert_eq!(again.bytes, outcomes[0].bytes, "{again}");
        let _whole = together(&outcomes);
    }
}

#[test]
fn a_datagram_is_forgotten_after_its_time() {
    for (forward, v6) in WAYS {
        let (mut bench, packet) = three(forward, v6, 0);
        let all = fragments(&long(&packet), 7);
        send_all(&mut bench, &all[..1], Event::Forwarded);
        bench.pass(LIFETIME_NS - 1);
        send_all(&mut bench, &all[1..3], Event::Forwarded);
        bench.pass(1);
        send_all(&mut bench, &all[3..], Event::DropFragmentEarly);
    }
}

#[test]
fn of_a_backend_that_is_gone() {
    for (forward, v6) in WAYS {
        let (mut bench, packet) = three(forward, v6, 0);
        let all = fragments(&long(&packet), 7);
        let first = send_all(&mut bench, &all[..1], Event::Forwarded);
        let chosen = bench.chosen(&first[0]);
        bench.state(chosen, BackendState::Draining);
        send_all(&mut bench, &all[1..2], Event::Forwarded);
        bench.state(chosen, BackendState::Down);
        send_all(&mut bench, &all[2..], Event::DropGone);
    }
}

/// A reset in answer to a part would claim to know the whole.
#[test]
fn tcp_fragments_of_a_gone_backend_are_not_answered() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let packet = tcp(forward, v6, ACK).payload(&[7; 200]);
        assert_eq!(bench.send(&packet).fate(), Event::Forwarded);
        bench.state(backend_of(forward, v6), BackendState::Down);
        let all = as_ip(&packet).fragments(7, 104);
        send_all(&mut bench, &all[..1], Event::DropGone);
        assert_eq!(bench.send(&packet).fate(), Event::ResetSent);
    }
}

/// One that holds all of a datagram is no fragment (RFC 6946): each is a packet of its own.
#[test]
fn atomic_fragments_are_whole_packets() {
    let mut bench = site();
    for forward in [Forward::Nat, Forward::Dsr] {
        for packet in [udp(forward, true), tcp(forward, true, ACK)] {
            let mut packet = packet;
            packet.extensions = vec![(44, vec![0, 0, 1, 2, 3, 4])];
            let outcome = bench.send(&packet);
            assert_eq!(outcome.fate(), Event::Forwarded, "{packet}: {outcome}");
            let got = outcome.parsed().frame;
            assert_eq!(got.extensions, packet.extensions, "{got}");
            if forward == Forward::Nat {
                let back = bench.send(&got.turned());
                assert_eq!(back.fate(), Event::Replied, "{back}");
            }
            assert!(bench.datagrams().is_empty(), "nothing follows it");
            packet.extensions.insert(0, (60, vec![0; 14]));
            assert_eq!(bench.send(&packet).fate(), Event::Forwarded, "{packet}");
        }
    }
}

#[test]
fn no_hop_left() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let packet = long(&udp(forward, v6));
        send_all(&mut bench, &fragments(&packet, 7)[..1], Event::Forwarded);
        let late = fragments(&packet.ttl(1), 7);
        send_all(&mut bench, &late, Event::DropTtlExceeded);
    }
}
