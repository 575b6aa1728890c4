//! Packets that fit.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{
    event::Event,
    layout::{BackendState, Encapsulation},
};
use tests::{
    bench::{backend_mac, hop, site::client},
    outcome::Verdict,
    packet::{
        ACK, BALANCER_MAC, Frame, QINQ, RST, Transport, VLAN,
        icmp::{Message, as_ip},
        ip::Ip,
        tunnel::wrap,
    },
};

use crate::scene::{Scene, WAYS, Way, both, bytes, ip, packets, scene, vip};

const TAGS: [&[(u16, u16)]; 4] =
    [&[], &[(VLAN, 0x2064)], &[(QINQ, 0x0005), (VLAN, 0xe006)], &[(VLAN, 1), (VLAN, 2)]];

impl Scene {
    /// Sends it as the first packet of a new flow, and compares all bytes of what comes out.
    fn check(&mut self, way: Way, interface: u32, tags: &[(u16, u16)], packet: Frame) -> (Ip, Ip) {
        let packet = self.fresh(packet);
        self.bench.change_backend(self.backend, |backend| {
            backend.hop = hop(1, interface, tags);
        });
        let case = format!("{way:?}, {interface} {tags:x?}: {packet}");
        let outcome = self.bench.send(&packet);
        assert_eq!(outcome.fate(), Event::Forwarded, "{case}: {outcome}");
        let want = if interface == 1 { Verdict::Tx } else { Verdict::Redirect };
        assert_eq!(outcome.verdict, want, "{case}");
        let (outer, inner) = both(&outcome);
        check_outer(way, &outer, packet.tos, &case);

        let [source, destination] = way.outer();
        let head = Ip {
            to: backend_mac(1),
            from: BALANCER_MAC,
            tags: tags.to_vec(),
            tos: packet.tos,
            label: outer.label,
            ttl: 64,
            trailer: packet.trailer.clone(),
            ..Ip::new(source, destination, 0, &[])
        };
        let port = u16::from_be_bytes([outer.payload[0], outer.payload[1]]);
        let gue = (way.kind == Encapsulation::Gue).then_some(port);
        let ttl = packet.ttl - 1;
        let want = wrap(&head, gue, &as_ip(&Frame { ttl, ..packet.clone() }));
        assert_eq!(outcome.bytes, want.build(), "{case}:\n want {want}\n  got {outer}");
        (outer, inner)
    }
}

#[track_caller]
fn check_outer(way: Way, outer: &Ip, tos: u8, case: &str) {
    assert_eq!([outer.source, outer.destination], way.outer(), "{case}");
    assert_eq!((outer.ttl, outer.tos), (64, tos), "{case}");
    if way.v6 {
        assert!(outer.extensions.is_empty());
    } else {
        assert_eq!(outer.label, 0x4000, "{case}: don't fragment, nothing to identify");
        assert!(outer.options.is_empty());
    }
    if way.kind == Encapsulation::Gue {
        let port = u16::from_be_bytes([outer.payload[0], outer.payload[1]]);
        assert!(port >= 49_152, "{case}: from {port}");
        assert_eq!(outer.payload[6..8], [0, 0], "{case}: no checksum");
    }
}

#[test]
fn every_kind_family_protocol_and_number_of_tags_in_and_out() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for interface in [1, 2] {
            for tags in TAGS {
                for tags_in in TAGS {
                    for packet in packets() {
                        let _both = scene.check(way, interface, tags, packet.tags(tags_in));
                    }
                }
            }
        }
    }
}

#[test]
fn every_length_of_payload_up_to_what_fits() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            let headers = as_ip(&packet.clone().payload(b"")).build().len() - 14;
            let room = 1500 - way.overhead() - headers;
            scene.lay(way, 1500);
            for len in (0..40).chain([535, 1200, room - 1, room]) {
                let long = packet.clone().payload(&bytes(len));
                let (outer, _) = scene.check(way, 1, &[], long);
                assert!(outer.build().len() <= 14 + 1500);
            }
            scene.lay(way, 3500);
            let _both = scene.check(way, 1, &[], packet.payload(&vec![3; 3300]));
        }
    }
}

#[test]
fn options_extension_headers_and_bytes_behind() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for packet in packets() {
            let with = if packet.v6() {
                packet.clone().extensions(&[(0, 8), (60, 24)])
            } else {
                packet.clone().options(&[1; 40])
            };
            let _both = scene.check(way, 2, &[(VLAN, 3)], with);
            let _both =
                scene.check(way, 1, &[], Frame { trailer: vec![0xee; 7], ..packet.clone() });
            if !packet.v6() && packet.protocol() == 17 {
                let _both = scene.check(way, 1, &[], packet.no_checksum());
            }
        }
    }
}

/// RFC 2003, 3.1; RFC 2473, 6.4; RFC 6040, 4.1: the outer header has the inner one's class and
/// congestion mark.
#[test]
fn every_type_of_service() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for packet in packets() {
            for tos in (0..=255).step_by(if packet.protocol() == 6 { 1 } else { 15 }) {
                let (outer, inner) = scene.check(way, 1, &[], Frame { tos, ..packet.clone() });
                assert_eq!((outer.tos, inner.tos), (tos, tos));
            }
        }
    }
}

/// The tunnel is a hop of the packet's way, which its own routers are not.
#[test]
fn a_hop_fewer_and_none_left() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for packet in packets() {
            for ttl in [255, 3, 2] {
                let (outer, inner) = scene.check(way, 1, &[], packet.clone().ttl(ttl));
                assert_eq!((outer.ttl, inner.ttl), (64, ttl - 1));
            }
            for ttl in [1, 0] {
                let outcome = scene.bench.send(&packet.clone().ttl(ttl));
                assert_eq!(outcome.fate(), Event::DropTtlExceeded, "{packet}: {outcome}");
            }
        }
    }
}

/// Outer sources, ports or labels: what a receiver's queues go by.
fn entropy(way: Way, outer: &Ip) -> (IpAddr, u16, u32) {
    let port = match way.kind {
        Encapsulation::Gue => u16::from_be_bytes([outer.payload[0], outer.payload[1]]),
        Encapsulation::None | Encapsulation::IpIp => 0,
    };
    (outer.source, port, outer.label)
}

#[test]
fn flows_are_spread_and_each_keeps_its_own() {
    let mut scene = scene();
    for way in WAYS {
        for spread in [false, true] {
            scene.lay(way, 1500);
            let prefix = if way.v6 {
                ["fd00:ff::", "::ffff:ffff:ffff"]
            } else {
                ["10.9.0.0", "0.0.255.255"]
            };
            let [base, bits] = prefix.map(ip);
            scene.bench.change_backend(scene.backend, |backend| {
                if spread {
                    backend.tunnel.source = base.into();
                    backend.tunnel.spread = bits.into();
                    if !way.v6 {
                        backend.tunnel.spread.words_be[2] = 0;
                    }
                }
            });
            for packet in packets() {
                let mut seen = BTreeSet::new();
                let mut sources = BTreeSet::new();
                for _ in 0..100 {
                    let packet = scene.fresh(packet.clone());
                    let first = entropy(way, &both(&scene.bench.send(&packet)).0);
                    let again = entropy(way, &both(&scene.bench.send(&packet)).0);
                    assert_eq!(first, again, "{packet}");
                    let _new = sources.insert(first.0);
                    let _new = seen.insert(first);
                }
                let fixed = !spread && !way.v6 && way.kind == Encapsulation::IpIp;
                assert_eq!(seen.len() > 90, !fixed, "{way:?} {spread}: {} of 100", seen.len());
                assert_eq!(sources.len() > 90, spread, "{way:?}: {sources:?}");
                let inside = |source: &IpAddr| match source {
                    IpAddr::V4(v4) => v4.octets()[..2] == [10, 9],
                    IpAddr::V6(v6) => v6.segments()[..5] == [0xfd00, 0xff, 0, 0, 0],
                };
                assert!(!spread || sources.iter().all(inside), "{sources:?}");
            }
        }
    }
}

/// Each through the tunnel by itself, all by the same queue.
#[test]
fn fragments() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for v6 in [false, true] {
            let packet = scene.fresh(Frame::udp(client(v6), vip(v6)).payload(&bytes(2000)));
            let whole = as_ip(&packet);
            let mut inner = Vec::new();
            let mut queues = BTreeSet::new();
            for one in whole.fragments(77, 1400) {
                let outcome = scene.bench.run(&one.build());
                assert_eq!(outcome.fate(), Event::Forwarded, "{one}: {outcome}");
                let (outer, one) = both(&outcome);
                check_outer(way, &outer, packet.tos, "a fragment");
                let _new = queues.insert(entropy(way, &outer));
                inner.push(one);
            }
            assert_eq!(queues.len(), 1, "{queues:?}");
            let got = Ip::whole(&inner);
            assert_eq!((got.payload, got.destination), (whole.payload, whole.destination));
        }
    }
}

/// They go to the flow's backend, as in `dsr`, untranslated.
#[test]
fn icmp_errors() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        for packet in packets() {
            let packet = scene.fresh(packet);
            let (outer, _) = both(&scene.bench.send(&packet));
            let answer = as_ip(&packet.clone().turned().payload(&[1; 100]));
            let router = ip(if packet.v6() { "2001:db8:77::1" } else { "198.51.100.77" });
            let error = Message::too_big(&answer, 1400, 100).packet(router, answer.source);
            let outcome = scene.bench.run(&error.build());
            assert_eq!(outcome.events(), [Event::IcmpForwarded], "{outcome}");
            let (around, got) = both(&outcome);
            assert_eq!(entropy(way, &around), entropy(way, &outer), "by the flow's queue");
            let want = Ip { to: got.to, from: got.from, ttl: error.ttl - 1, ..error };
            assert_eq!(got, want);
        }
    }
}

/// Not to the backend, which may be gone.
#[test]
fn resets_and_pings_go_to_the_client() {
    let mut scene = scene();
    for v6 in [false, true] {
        let packet = scene.fresh(Frame::tcp(client(v6), vip(v6), ACK));
        assert_eq!(scene.bench.send(&packet).fate(), Event::Forwarded);
        scene.bench.state(scene.backend, BackendState::Down);
        let reset = scene.bench.send(&Frame { transport: tcp(ACK), ..packet.clone() });
        assert_eq!((reset.fate(), reset.verdict), (Event::ResetSent, Verdict::Tx), "{reset}");
        assert_eq!(reset.parsed().frame.source, packet.destination);
        scene.bench.state(scene.backend, BackendState::Ready);

        let ping = Message::echo(v6, b"ping").packet(client(v6).ip(), vip(v6).ip());
        assert_eq!(scene.bench.run(&ping.build()).fate(), Event::EchoAnswered);
        let lone = scene.fresh(Frame::tcp(client(v6), vip(v6), RST));
        let outcome = scene.bench.send(&lone);
        assert_eq!(outcome.events(), [Event::Forwarded], "{outcome}");
        let (_, inner) = both(&outcome);
        assert_eq!(inner.payload, as_ip(&lone).payload);
    }
}

fn tcp(flags: u8) -> Transport {
    Frame::tcp(client(false), vip(false), flags).transport
}

#[test]
fn a_backend_whose_way_is_not_known() {
    let mut scene = scene();
    scene.bench.change_backend(scene.backend, |backend| backend.hop.interface = 0);
    for packet in packets() {
        let outcome = scene.bench.send(&packet);
        assert_eq!(outcome.events(), [Event::DropNoNextHop], "{outcome}");
    }
    assert!(scene.bench.flows().is_empty() && scene.bench.pins().is_empty());
}
