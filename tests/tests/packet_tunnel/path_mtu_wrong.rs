//! Errors of which nothing is learned: cut off, forged, about something else.

use std::{collections::BTreeMap, env};

use fastrand::Rng;
use lb_common::{
    event::{Event, EventKind},
    layout::{BackendState, Encapsulation},
};
use tests::{
    bench::{SHORTEST, site::client},
    packet::{
        Frame, fix_ip_checksum,
        icmp::{self, Message},
        ip::Ip,
        tunnel::{GUE_PORT, unwrap, wrap},
    },
};

use crate::{
    path_mtu::error,
    scene::{Scene, WAYS, Way, ip, packets, scene, vip},
};

impl Scene {
    /// Checks that an error is passed up and that nothing is learned from it.
    #[track_caller]
    fn check_ignored(&mut self, way: Way, packet: &Frame, error: &Ip) {
        let outcome = self.report(error);
        assert_eq!(outcome.events(), [Event::PassIcmpError], "{way:?}, {error}: {outcome}");
        self.check_room(packet, 1500 - way.overhead());
    }

    /// A packet of a flow, and the one around it.
    fn sent(&mut self, way: Way, packet: &Frame) -> (Frame, Ip) {
        self.lay_anew(way);
        let packet = self.fresh(packet.clone().payload(&[5; 30]));
        let outer = self.wrapped(&packet);
        (packet, outer)
    }
}

#[test]
fn outer_headers_of_others() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            let (packet, outer) = scene.sent(way, &packet);
            let elsewhere = ip(if way.v6 { "fd00::99" } else { "10.0.0.99" });
            let inner = unwrap(&outer).expect("a tunnel").ip;
            let port = u16::from_be_bytes([outer.payload[0], outer.payload[1]]);
            let mut others = vec![
                Ip { source: elsewhere, ..outer.clone() },
                Ip { destination: elsewhere, ..outer.clone() },
                Ip { protocol: 47, ..outer.clone() },
                Ip { protocol: if packet.v6() { 4 } else { 41 }, ..outer.clone() },
            ];
            if way.kind == Encapsulation::Gue {
                others.push(wrap(&outer, Some(port ^ 1), &inner));
                others.push(wrap(&outer, None, &inner));
                let mut wrong = outer.clone();
                wrong.payload[2..4].copy_from_slice(&(GUE_PORT + 1).to_be_bytes());
                others.push(wrong);
            } else {
                others.push(wrap(&outer, Some(50_000), &inner));
            }
            for other in others {
                scene.check_ignored(way, &packet, &error(&other, 1400));
            }
            // About somebody else's packet than who gets it.
            let good = error(&outer, 1400);
            let message = icmp::parse(&good).expect("a message").message;
            let misdirected = message.packet(good.source, elsewhere);
            scene.check_ignored(way, &packet, &misdirected);
        }
    }
}

#[test]
fn inner_packets_of_others() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            let (packet, outer) = scene.sent(way, &packet);
            let inner = unwrap(&outer).expect("a tunnel").ip;
            let elsewhere = ip(if packet.v6() { "2001:db8::99" } else { "203.0.113.99" });
            let port = (way.kind == Encapsulation::Gue)
                .then(|| u16::from_be_bytes([outer.payload[0], outer.payload[1]]));
            // To no listener; of a protocol that none has.
            let mut others = vec![
                Ip { destination: elsewhere, ..inner.clone() },
                Ip { protocol: 47, ..inner.clone() },
            ];
            let mut unknown = inner.clone();
            unknown.payload[2..4].copy_from_slice(&9_u16.to_be_bytes());
            others.push(unknown);
            if port.is_some() {
                // Another flow's, which goes by another port.
                let mut other = inner.clone();
                other.payload[0] ^= 1;
                others.push(other);
            }
            for other in others {
                scene.check_ignored(way, &packet, &error(&wrap(&outer, port, &other), 1400));
            }
        }
    }
}

/// Nothing was on its way to a backend that is gone.
#[test]
fn backends_that_are_gone() {
    let mut scene = scene();
    for way in WAYS {
        let (packet, outer) = scene.sent(way, &packets()[1]);
        scene.bench.state(scene.backend, BackendState::Down);
        let record = scene.bench.record(scene.backend);
        scene.bench.table(record.pool, &[]);
        let outcome = scene.report(&error(&outer, 1400));
        assert_eq!(outcome.events(), [Event::PassIcmpError], "{outcome}");
        scene.bench.table(record.pool, &[scene.backend]);
        scene.bench.state(scene.backend, BackendState::Ready);
        scene.check_room(&packet, 1500 - way.overhead());
        // One that has no tunnel any more.
        let bare = Way { kind: Encapsulation::None, ..way };
        scene.lay(bare, 1500);
        let outcome = scene.report(&error(&outer, 1400));
        assert_eq!(outcome.events(), [Event::PassIcmpError], "{outcome}");
    }
}

/// Health checks say whether a backend is there.
#[test]
fn what_else_routers_in_a_tunnel_say() {
    let mut scene = scene();
    for way in WAYS {
        let (packet, outer) = scene.sent(way, &packets()[1]);
        let good = error(&outer, 1400);
        let message = icmp::parse(&good).expect("a message").message;
        let others: &[(u8, u8)] = if way.v6 {
            &[(1, 0), (1, 3), (1, 4), (3, 0), (4, 1)]
        } else {
            &[(3, 0), (3, 1), (3, 3), (3, 5), (3, 13), (11, 0), (12, 0), (4, 0), (5, 1)]
        };
        for (kind, code) in others.iter().copied() {
            let other = Message { kind, code, ..message.clone() };
            scene.check_ignored(way, &packet, &other.packet(good.source, good.destination));
        }
        let outcome = scene.report(&good);
        assert_eq!(outcome.events(), [Event::PassPathMtu], "{outcome}");
    }
}

/// Where the quote ends, with and without more bytes behind it, which are not the packet's.
#[test]
fn quotes_that_are_too_short() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            let (packet, outer) = scene.sent(way, &packet);
            let enough = way.overhead() + if packet.v6() { 48 } else { 28 };
            for len in 0..enough + 3 {
                for trailer in [0, 80] {
                    let short = Message::too_big(&outer, 1400, len);
                    let good = error(&outer, 1400);
                    let mut short = short.packet(good.source, good.destination);
                    short.trailer = vec![0; trailer];
                    if len >= enough {
                        let outcome = scene.report(&short);
                        assert_eq!(outcome.events(), [Event::PassPathMtu], "{len}: {outcome}");
                        continue;
                    }
                    let outcome = scene.report(&short);
                    assert_eq!(outcome.events(), [Event::PassIcmpError], "{len}: {outcome}");
                }
                if len + 1 == enough {
                    scene.check_room(&packet, 1500 - way.overhead());
                }
            }
        }
    }
}

#[test]
fn cut_off_at_every_length() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            let (packet, outer) = scene.sent(way, &packet);
            let whole = error(&outer, 1400).build();
            for len in SHORTEST..whole.len() {
                let outcome = scene.bench.run(&whole[..len]);
                assert_eq!(outcome.events(), [Event::PassTruncated], "{len} bytes: {outcome}");
            }
            scene.check_room(&packet, 1500 - way.overhead());
        }
    }
}

/// With bytes changed at random: each is passed up or dropped, and what every host takes fits
/// whatever they say.
#[test]
fn random_mutations() {
    const RUNS: u32 = 20_000;
    const SEED: u64 = 0x7061_7468_6d74_7521;
    let given = env::var("HOLDFAST_RANDOM_SEED").ok().map(|text| text.parse().expect("a number"));
    let mut rng = Rng::with_seed(given.unwrap_or(SEED));
    let mut scene = scene();
    let mut fates = BTreeMap::<Event, u32>::new();
    for way in WAYS {
        let all = packets();
        scene.lay_anew(way);
        let errors: Vec<Ip> = all
            .iter()
            .map(|packet| {
                let packet = scene.fresh(packet.clone().payload(&[5; 30]));
                error(&scene.wrapped(&packet), 1400)
            })
            .collect();
        for _ in 0..RUNS / 4 {
            let error = &errors[rng.usize(..errors.len())];
            let mut bytes = error.build();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(14..bytes.len().min(14 + 170));
                match rng.u8(..4) {
                    0 => bytes[at] ^= 1 << rng.u8(..8),
                    1 => bytes[at] = rng.u8(..),
                    2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
                    _ => bytes.truncate(at.max(34)),
                }
            }
            if error.source.is_ipv4() && rng.bool() && bytes[14] & 15 >= 5 {
                fix_ip_checksum(&mut bytes, 14);
            }
            let outcome = scene.bench.run(&bytes);
            let fate = outcome.fate();
            assert_ne!(fate.kind(), EventKind::Sent, "{outcome}");
            *fates.entry(fate).or_default() += 1;
        }
        for v6 in [false, true] {
            let packet = scene.fresh(Frame::udp(client(v6), vip(v6)));
            let least = if v6 { 1280 } else { 576 };
            let outcome = scene.bench.send(&crate::too_big::sized(&packet, least));
            assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
        }
    }
    for event in [Event::PassPathMtu, Event::PassIcmpError, Event::PassTruncated] {
        assert!(fates.contains_key(&event), "{event:?} was never met: {fates:?}");
    }
}
