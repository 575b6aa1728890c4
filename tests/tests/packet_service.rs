//! Flows and backends' states, rule by rule of the persistence contract: P6 and P9.
//!
//! As in `packet_pins`: clients are pinned to A, then the pool's table is all B.

use std::net::SocketAddr;

use lb_common::{
    event::Event,
    layout::{BackendRef, BackendState, Forward, ON_DOWN_KEEP, Protocol, VipKey},
    pin::refresh_step_ns,
};
use tests::{
    bench::{Bench, S, START, socket},
    outcome::{Outcome, Verdict},
    packet::{ACK, FIN, Frame, PSH, QINQ, RST, SYN, Transport, VLAN},
};

const VIP: [&str; 2] = ["203.0.113.10:80", "[2001:db8:f::10]:80"];
const CLIENT: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];

/// One client with a TCP flow under way and a UDP flow, both on A and pinned; the table is all B.
struct Scene {
    bench: Bench,
    pool: u32,
    keys: [VipKey; 2],
    a: u32,
    b: u32,
    v6: bool,
    port: u16,
}

fn scene(forward: Forward, v6: bool) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let [a, b] = if v6 { ["[fd00::11]:0", "[fd00::12]:0"] } else { ["10.0.0.11:0", "10.0.0.12:0"] }
        .map(|address| bench.backend(pool, address));
    let keys = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| bench.listener(protocol, VIP[usize::from(v6)], pool, 60 * S));
    let mut scene = Scene { bench, pool, keys, a, b, v6, port: 1000 };
    scene.again();
    scene
}

impl Scene {
    fn again(&mut self) {
        self.bench.reset();
        let (a, b) = (self.a, self.b);
        for id in [a, b] {
            self.bench.change_backend(id, |backend| {
                backend.state = BackendState::Ready.code();
                backend.generation = 1;
                backend.flows_since = 1;
                backend.flags = 0;
            });
        }
        self.bench.table(self.pool, &[a]);
        for packet in [self.segment(1, SYN), self.segment(1, ACK), self.datagram(1)] {
            assert_eq!(self.to(&packet), a);
        }
        self.bench.table(self.pool, &[b]);
    }

    /// A TCP segment from that port of the client's.
    fn segment(&self, port: u16, flags: u8) -> Frame {
        Frame::tcp(self.client(port), socket(VIP[usize::from(self.v6)]), flags)
    }

    /// A UDP datagram likewise.
    fn datagram(&self, port: u16) -> Frame {
        Frame::udp(self.client(port), socket(VIP[usize::from(self.v6)]))
    }

    fn client(&self, port: u16) -> SocketAddr {
        (CLIENT[usize::from(self.v6)].parse::<std::net::IpAddr>().expect("an address"), port).into()
    }

    /// The backend that the packet gets.
    fn to(&mut self, packet: &Frame) -> u32 {
        let outcome = self.bench.send(packet);
        self.bench.chosen(&outcome)
    }

    /// The backends that a new TCP flow and a new UDP flow of the pinned client get.
    fn new_flows(&mut self) -> [u32; 2] {
        self.port += 1;
        let packets = [self.segment(self.port, SYN), self.datagram(self.port)];
        packets.map(|packet| self.to(&packet))
    }

    /// A new client's.
    fn new_client(&mut self) -> u32 {
        let mut packet = self.segment(7, SYN);
        let other = if self.v6 { "2001:db8:2::2" } else { "198.51.100.2" };
        packet.source.set_ip(other.parse().expect("an address"));
        self.to(&packet)
    }
}

const SHAPES: [(Forward, bool); 4] =
    [(Forward::Dsr, false), (Forward::Dsr, true), (Forward::Nat, false), (Forward::Nat, true)];

#[test]
fn p6_a_flow_stays_whatever_happens_to_pin_weights_pool_or_table() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (pool, a, b) = (scene.pool, scene.a, scene.b);
        let changes: [(&str, &dyn Fn(&mut Scene)); 9] = [
            ("the table was swapped", &|_| {}),
            ("and again", &|scene| scene.bench.table(pool, &[b, b, b])),
            ("the table is empty", &|scene| scene.bench.table(pool, &[])),
            ("the pin is gone", &|scene| scene.bench.forget_pins()),
            ("the pin leads to B", &|scene| {
                scene.bench.forget_pins();
                scene.bench.table(pool, &[b]);
                let _pinned_anew = scene.new_flows();
            }),
            ("the pin is over", &|scene| scene.bench.pass(100 * S)),
            ("the timeout is shorter", &|scene| {
                for key in scene.keys {
                    scene.bench.change_vip(key, |vip| {
                        vip.timeout_ns = S;
                        vip.refresh_ns = refresh_step_ns(S);
                    });
                }
            }),
            ("no persistence any more", &|scene| {
                for key in scene.keys {
                    scene.bench.change_vip(key, |vip| vip.scope = 0);
                }
            }),
            ("a sweep is under way", &|scene| scene.bench.reclaim_before(u64::MAX)),
        ];
        for (what, change) in changes {
            change(&mut scene);
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                let outcome = scene.bench.send(&packet);
                assert_eq!(scene.bench.chosen(&outcome), a, "{forward:?}, {what}: {outcome}");
                assert!(!outcome.has(Event::FlowMade), "{what}: {outcome}");
            }
        }
    }
}

#[test]
fn p6_a_lost_flow_follows_the_pin_and_then_the_hash() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        for packet in [scene.segment(1, ACK), scene.datagram(1)] {
            scene.bench.forget_flows();
            assert_eq!(scene.to(&packet), a, "the pin: {packet}");
        }
        scene.bench.forget_pins();
        for packet in [scene.segment(1, ACK), scene.datagram(1)] {
            scene.bench.forget_flows();
            assert_eq!(scene.to(&packet), b, "the hash: {packet}");
        }
    }
}

#[test]
fn p9_what_each_state_does_to_pins_and_flows() {
    use BackendState::{Draining, Evacuating, Ready};
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        for (state, pinned) in [(Ready, true), (Draining, true), (Evacuating, false)] {
            scene.again();
            scene.bench.state(a, state);
            let case = format!("{forward:?}, {state:?}");
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                assert_eq!(scene.to(&packet), a, "{case}: running flows go on");
            }
            let want = if pinned { a } else { b };
            assert_eq!(scene.new_flows(), [want; 2], "{case}: pinned clients");
            assert_eq!(scene.new_client(), b, "{case}: new clients go by the table");
            scene.bench.state(a, Ready);
            assert_eq!(scene.new_flows(), [want; 2], "{case}: and when it is ready again");
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                assert_eq!(scene.to(&packet), a, "{case}: running flows go on still");
            }
        }
    }
}

#[test]
fn p9_draining_pins_are_refreshed_and_end_by_their_timeout() {
    let mut scene = scene(Forward::Dsr, false);
    let (a, b) = (scene.a, scene.b);
    scene.bench.state(a, BackendState::Draining);
    for _ in 0..3 {
        scene.bench.pass(60 * S - 1);
        assert_eq!(scene.new_flows(), [a, a]);
    }
    scene.bench.pass(60 * S);
    assert_eq!(scene.new_flows(), [b, b]);
}

#[test]
fn p9_down_voids_pins_at_once_and_for_good() {
    for (forward, v6) in SHAPES {
        for flags in [0, ON_DOWN_KEEP] {
            let mut scene = scene(forward, v6);
            let (a, b) = (scene.a, scene.b);
            scene.bench.change_backend(a, |backend| {
                backend.state = BackendState::Down.code();
                backend.flags = flags;
            });
            assert_eq!(scene.new_flows(), [b, b], "at once");
            // Another client, not heard of while it was down.
            let again = |scene: &mut Scene| {
                scene.again();
                scene.bench.state(a, BackendState::Down);
                scene.bench.back(a);
            };
            again(&mut scene);
            assert_eq!(scene.new_flows(), [b, b], "for good: it is in another life");
            again(&mut scene);
            scene.bench.table(scene.pool, &[a]);
            assert_eq!(scene.new_flows(), [a, a], "pinned anew, to its new life");
            scene.bench.table(scene.pool, &[b]);
            assert_eq!(scene.new_flows(), [a, a]);
            let pins = scene.bench.pins();
            assert!(pins.values().all(|pin| pin.backend == BackendRef::new(a, 2)), "{pins:?}");
        }
    }
}

#[test]
fn p9_down_ends_udp_flows() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Down);
        let packet = scene.datagram(1);
        let outcome = scene.bench.send(&packet);
        assert_eq!(scene.bench.chosen(&outcome), b, "{outcome}");
        assert!(outcome.has(Event::FlowRenewed), "{outcome}");
    }
}

#[test]
fn p9_keep_lets_flows_go_on_through_down_and_up() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        let both = [scene.segment(1, PSH | ACK), scene.datagram(1)];
        scene.bench.change_backend(a, |backend| {
            backend.state = BackendState::Down.code();
            backend.flags = ON_DOWN_KEEP;
        });
        assert_eq!(both.clone().map(|packet| scene.to(&packet)), [a, a], "down");
        // Back: a new generation for pins, the old flows honoured.
        scene.bench.change_backend(a, |backend| {
            backend.state = BackendState::Ready.code();
            backend.generation = 2;
        });
        assert_eq!(both.clone().map(|packet| scene.to(&packet)), [a, a], "back");
        assert_eq!(scene.new_flows(), [b, b]);
        // And once more without it.
        scene.bench.change_backend(a, |backend| {
            backend.flags = 0;
            backend.generation = 3;
            backend.flows_since = 3;
        });
        let outcome = scene.bench.send(&both[0]);
        assert_eq!(outcome.fate(), Event::ResetSent, "{outcome}");
    }
}

#[test]
fn p9_a_syn_on_a_gone_backend_begins_a_new_flow() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Down);
        let syn = scene.segment(1, SYN);
        assert_eq!(scene.to(&syn), b, "the client's next attempt, from the same port");
        let ack = scene.segment(1, ACK);
        assert_eq!(scene.to(&ack), b);
    }
}

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

#[test]
fn p9_a_removed_backend_is_as_down() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Unset);
        let outcome = scene.bench.send(&scene.segment(1, ACK));
        assert_eq!(outcome.fate(), Event::ResetSent, "{outcome}");
        assert_eq!(scene.new_flows(), [b, b]);
    }
}

#[test]
fn p9_answers_of_a_gone_backend_are_not_for_the_client() {
    for v6 in [false, true] {
        let mut scene = scene(Forward::Nat, v6);
        let a = scene.a;
        let forwarded = scene.bench.send(&scene.segment(1, ACK)).parsed().frame;
        let answer = forwarded.turned();
        assert_eq!(scene.bench.send(&answer).fate(), Event::Replied);
        for state in [BackendState::Draining, BackendState::Evacuating] {
            scene.bench.state(a, state);
            assert_eq!(scene.bench.send(&answer).fate(), Event::Replied, "{state:?}");
        }
        scene.bench.state(a, BackendState::Down);
        assert_eq!(scene.bench.send(&answer).events(), [Event::PassStaleReply]);
        scene.bench.back(a);
        assert_eq!(scene.bench.send(&answer).events(), [Event::PassStaleReply], "a new life");
    }
}
