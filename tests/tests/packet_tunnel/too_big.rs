//! Packets that do not fit.

use lb_common::{event::Event, layout::Encapsulation, tunnel::TOO_BIG_RATE};
use tests::{
    bench::{S, hop, site::client},
    outcome::{Outcome, Verdict},
    packet::{
        ACK, BALANCER_MAC, CLIENT_MAC, Frame, QINQ, VLAN,
        icmp::{self, Message, as_ip},
        ip::Ip,
        tunnel::inside,
    },
};

use crate::scene::{Scene, WAYS, Way, both, bytes, packets, scene, vip};

/// The packet with a payload that makes it that long, from its IP header on.
pub(crate) fn sized(packet: &Frame, len: usize) -> Frame {
    let headers = inside(&as_ip(&packet.clone().payload(b""))).len();
    packet.clone().payload(&bytes(len - headers))
}

#[track_caller]
pub(crate) fn check_answer(outcome: &Outcome, packet: &Ip, mtu: usize) {
    assert_eq!(outcome.events(), [Event::TooBigAnswered], "{packet}: {outcome}");
    assert_eq!(outcome.verdict, Verdict::Tx);
    let v6 = packet.source.is_ipv6();
    // RFC 1812, 4.3.2.3 and RFC 4443, 2.4: as much as fits in so many bytes.
    let quoted = if v6 { 1280 - 48 } else { 576 - 28 };
    let message = Message::too_big(packet, u16::try_from(mtu).expect("short"), quoted);
    let want = Ip {
        to: CLIENT_MAC,
        from: BALANCER_MAC,
        tags: packet.tags.clone(),
        tos: 0,
        label: if v6 { 0 } else { 0x4000 },
        ttl: 64,
        ..message.packet(packet.destination, packet.source)
    };
    let got = outcome.ip();
    assert!(icmp::parse(&got).expect("a message").sum_right, "{outcome}");
    assert_eq!(outcome.bytes, want.build(), "\n want {want}\n  got {got}");
}

impl Scene {
    pub(crate) fn traces(&self) -> (usize, usize, usize) {
        (self.bench.flows().len(), self.bench.pins().len(), self.bench.datagrams().len())
    }
}

#[test]
fn one_byte_too_many_of_every_kind_with_any_tags() {
    let mut scene = scene();
    for way in WAYS {
        for mtu in [1328, 1500, 3300] {
            scene.lay(way, mtu);
            let room = usize::from(mtu) - way.overhead();
            for packet in packets() {
                for tags in [&[][..], &[(VLAN, 7)], &[(QINQ, 7), (VLAN, 0xe008)]] {
                    scene.bench.pass(S);
                    let good = scene.fresh(sized(&packet, room).tags(tags));
                    let (outer, _) = both(&scene.bench.send(&good));
                    assert_eq!(inside(&outer).len(), usize::from(mtu));
                    let before = scene.traces();
                    for len in [room + 1, room + 2, room + 37] {
                        let big = scene.fresh(sized(&packet, len).tags(tags));
                        let outcome = scene.bench.send(&big);
                        check_answer(&outcome, &as_ip(&big), room);
                    }
                    assert_eq!(scene.traces(), before, "a packet that is not sent left a trace");
                }
            }
        }
    }
}

/// Whether "don't fragment" is set or not: the sender's stack will cut its packets smaller.
#[test]
fn without_dont_fragment_too() {
    let mut scene = scene();
    let big = sized(&Frame::udp(client(false), vip(false)), 1481);
    for label in [0x1234_4000, 0x1234_0000] {
        let big = Frame { label, ..big.clone() };
        check_answer(&scene.bench.send(&big), &as_ip(&big), 1480);
    }
}

#[test]
fn of_flows_under_way_and_over_any_interface() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay(way, 1500);
        let room = 1500 - way.overhead();
        scene.bench.change_backend(scene.backend, |backend| backend.hop = hop(1, 2, &[(VLAN, 5)]));
        for packet in packets() {
            scene.bench.pass(S);
            let mut packet = scene.fresh(packet);
            assert_eq!(scene.bench.send(&packet).fate(), Event::Forwarded);
            if packet.protocol() == 6 {
                packet = Frame {
                    transport: Frame::tcp(client(false), vip(false), ACK).transport,
                    ..packet
                };
            }
            let big = sized(&packet, room + 1);
            let big = if big.v6() { big.extensions(&[(60, 8)]) } else { big.options(&[1; 8]) };
            check_answer(&scene.bench.send(&big), &as_ip(&big), room);
            assert_eq!(scene.bench.send(&packet).fate(), Event::Forwarded, "it goes on");
        }
    }
}

/// So that a checksum is right of every sum that there can be.
#[test]
fn any_checksum() {
    let mut scene = scene();
    for v6 in [false, true] {
        for word in (0..=u16::MAX).step_by(509).chain(0xffe0..=0xffff) {
            scene.bench.pass(S);
            let mut big = sized(&Frame::udp(client(v6), vip(v6)), 1490);
            big.payload[2..4].copy_from_slice(&word.to_be_bytes());
            check_answer(&scene.bench.send(&big), &as_ip(&big), 1480);
        }
    }
}

/// The first is answered as a whole packet is; of the others none is (RFC 1122, 3.2.2).
#[test]
fn fragments() {
    let mut scene = scene();
    for v6 in [false, true] {
        scene.bench.pass(S);
        let whole = as_ip(&Frame::udp(client(v6), vip(v6)).payload(&[7; 3000]));
        let fragments = whole.fragments(9, 1440 + if v6 { 8 } else { 24 });
        let [first, second, last] = &fragments[..] else { panic!("{}", fragments.len()) };
        check_answer(&scene.bench.run(&first.build()), first, 1480);
        let outcome = scene.bench.run(&second.build());
        assert_eq!(outcome.events(), [Event::DropTooBig], "{outcome}");
        // Placed by itself: its datagram is lost anyway.
        let outcome = scene.bench.run(&last.build());
        assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
    }
}

/// An error is never answered by one.
#[test]
fn icmp_errors() {
    let mut scene = scene();
    for v6 in [false, true] {
        let packet = Frame::udp(client(v6), vip(v6));
        assert_eq!(scene.bench.send(&packet).fate(), Event::Forwarded);
        let answer = as_ip(&packet.turned().payload(&[1; 1500]));
        let error = Message::too_big(&answer, 1400, 1480).packet(answer.destination, answer.source);
        let outcome = scene.bench.run(&error.build());
        assert_eq!(outcome.events(), [Event::DropTooBig], "{outcome}");
    }
}

/// Each client is told so often, whatever others do; those of one IPv6 network count as one.
#[test]
fn told_often_enough() {
    let mut scene = scene();
    let big = |v6: bool, last: u8| {
        let mut packet = sized(&Frame::udp(client(v6), vip(v6)), 1481);
        packet.source.set_ip(match packet.source.ip() {
            std::net::IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                [a, b, c, last].into()
            }
            std::net::IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                [a, b, c, d, 1, 2, 3, u16::from(last)].into()
            }
        });
        packet
    };
    for v6 in [false, true] {
        scene.bench.pass(10 * S);
        let told = |scene: &mut Scene, last| {
            let outcome = scene.bench.send(&big(v6, last));
            match outcome.events()[..] {
                [Event::TooBigAnswered] => true,
                [Event::DropTooBigOften] => false,
                _ => panic!("{outcome}"),
            }
        };
        let burst = usize::try_from(TOO_BIG_RATE.room_ns / TOO_BIG_RATE.every_ns).expect("a few");
        let first: Vec<bool> = (0..burst + 3).map(|_| told(&mut scene, 7)).collect();
        assert_eq!(first.iter().filter(|told| **told).count(), burst);
        assert!(first[..burst].iter().all(|told| *told));
        // Neighbours in IPv4; the same network in IPv6.
        assert_eq!(told(&mut scene, 8), !v6);
        scene.bench.pass(TOO_BIG_RATE.every_ns - 1);
        assert!(!told(&mut scene, 7));
        scene.bench.pass(1);
        assert!(told(&mut scene, 7) && !told(&mut scene, 7));
        scene.bench.pass(S);
        assert_eq!((0..20).filter(|_| told(&mut scene, 7)).count(), burst);
    }
}

/// A backend without a tunnel takes what comes.
#[test]
fn none_without_a_tunnel() {
    let mut scene = scene();
    scene.lay(Way { kind: Encapsulation::None, v6: false }, 0);
    let big = sized(&Frame::udp(client(false), vip(false)), 3000);
    assert_eq!(scene.bench.send(&big).fate(), Event::Forwarded);
}
