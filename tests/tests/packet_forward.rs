//! Packets sent on: each mode, family, protocol and shape of header; answers sent back.

use lb_common::{
    event::Event,
    layout::{Forward, Protocol},
    nat::{FIRST_PORT, LAST_PORT},
};
use tests::{
    bench::site::{CLIENT_V4, CLIENT_V6, backend_of, site},
    bench::{Bench, NAT_SOURCE_V4, NAT_SOURCE_V6, S, backend_mac, hop, socket},
    outcome::Verdict,
    packet::{ACK, BALANCER_MAC, CLIENT_MAC, FIN, Frame, PSH, QINQ, SYN, Transport, VLAN},
};

const VIP_V4: &str = "203.0.113.10:80";
const VIP_V6: &str = "[2001:db8:f::10]:80";

struct Scene {
    bench: Bench,
    next_client: u16,
}

fn scene() -> Scene {
    Scene { bench: site(), next_client: 40_000 }
}

#[derive(Clone, Copy, Debug)]
struct Out {
    forward: Forward,
    interface: u32,
    tags: &'static [(u16, u16)],
}

impl Scene {
    /// Sends the packet as the first of a new flow by that way; and, where the balancer sees
    /// them, the backend's answer.
    fn check(&mut self, out: Out, mut packet: Frame) {
        self.next_client += 1;
        packet.source.set_port(self.next_client);
        packet.destination.set_port(if out.forward == Forward::Nat { 80 } else { 81 });
        let id = backend_of(out.forward, packet.v6());
        self.bench.change_backend(id, |backend| backend.hop = hop(id, out.interface, out.tags));
        let case = format!("{out:?}: {packet}");

        let outcome = self.bench.send(&packet);
        assert_eq!(outcome.fate(), Event::Forwarded, "{case}: {outcome}");
        let want = if out.interface == 1 { Verdict::Tx } else { Verdict::Redirect };
        assert_eq!(outcome.verdict, want, "{case}");
        let got = outcome.parsed().frame;
        let mut want = Frame {
            to: backend_mac(id),
            from: BALANCER_MAC,
            tags: out.tags.to_vec(),
            ttl: packet.ttl - 1,
            ..packet.clone()
        };
        if out.forward == Forward::Nat {
            assert!((FIRST_PORT..=LAST_PORT).contains(&got.source.port()), "{case}: {got}");
            want.source = (nat_source(packet.v6()), got.source.port()).into();
            want.destination =
                socket(if packet.v6() { "[fd00::11]:8080" } else { "10.0.0.11:8080" });
            assert!(outcome.has(Event::ReplyMade), "{case}: {outcome}");
        }
        // All bytes: what is not named above must not change, and checksums must be as if made
        // from nothing.
        assert_eq!(outcome.bytes, want.build(), "{case}:\n want {want}\n  got {got}");
        // P12: of a SYN nothing is kept where the hash chooses again.
        let made = [Event::FlowMade, Event::SynSent].map(|event| outcome.has(event));
        let opening = out.forward != Forward::Nat && packet.flags() == Some(SYN);
        assert_eq!(made, [!opening, opening], "{case}: {outcome}");
        let (listener, _) = outcome.counted[0];
        assert!(listener > 0 && outcome.counted.iter().all(|(row, _)| *row == listener), "{case}");

        if out.forward == Forward::Nat {
            self.check_answer(&packet, &want, &case);
        }
    }

    fn check_answer(&mut self, packet: &Frame, forwarded: &Frame, case: &str) {
        let mut answer = forwarded.clone().turned().payload(b"an answer").ttl(17);
        answer.to = BALANCER_MAC;
        answer.from = forwarded.to;
        if let Transport::Tcp { flags, .. } = &mut answer.transport {
            *flags = SYN | ACK;
        }
        let outcome = self.bench.send(&answer);
        assert_eq!(outcome.events(), [Event::Replied], "{case}: {outcome}");
        assert_eq!(outcome.verdict, Verdict::Tx, "{case}: back by where the client's came in");
        let want = Frame {
            to: packet.from,
            from: packet.to,
            tags: packet.tags.clone(),
            ttl: 16,
            source: packet.destination,
            destination: packet.source,
            ..answer.clone()
        };
        let got = outcome.parsed().frame;
        assert_eq!(outcome.bytes, want.build(), "{case}:\n want {want}\n  got {got}");
    }
}

fn nat_source(v6: bool) -> std::net::IpAddr {
    if v6 { NAT_SOURCE_V6.into() } else { NAT_SOURCE_V4.into() }
}

fn plain() -> Vec<Frame> {
    let [c4, v4, c6, v6] = [CLIENT_V4, VIP_V4, CLIENT_V6, VIP_V6].map(socket);
    vec![Frame::tcp(c4, v4, SYN), Frame::tcp(c6, v6, SYN), Frame::udp(c4, v4), Frame::udp(c6, v6)]
}

const TAGS: [&[(u16, u16)]; 5] = [
    &[],
    &[(VLAN, 0x2064)],
    &[(QINQ, 7)],
    &[(QINQ, 0x0005), (VLAN, 0xe006)],
    &[(VLAN, 1), (VLAN, 2)],
];

const WAYS: [(Forward, u32); 4] =
    [(Forward::Nat, 1), (Forward::Nat, 2), (Forward::Dsr, 1), (Forward::Dsr, 2)];

#[test]
fn every_mode_family_protocol_and_number_of_tags_in_and_out() {
    let mut scene = scene();
    for (forward, interface) in WAYS {
        for tags in TAGS {
            for tags_in in TAGS {
                for packet in plain() {
                    scene.check(Out { forward, interface, tags }, packet.tags(tags_in));
                }
            }
        }
    }
}

#[test]
fn every_length_of_payload() {
    let mut scene = scene();
    for forward in [Forward::Nat, Forward::Dsr] {
        for packet in plain() {
            for len in (0..40).chain([535, 536, 1399, 1400, 3400]) {
                let payload: Vec<u8> = (0..len).map(|i: u16| (i * 7 % 251) as u8).collect();
                let out = Out { forward, interface: 1, tags: &[] };
                scene.check(out, packet.clone().payload(&payload));
            }
        }
    }
}

#[test]
fn ipv4_options_and_tcp_options_of_every_length() {
    let mut scene = scene();
    let [client, vip] = [CLIENT_V4, VIP_V4].map(socket);
    for forward in [Forward::Nat, Forward::Dsr] {
        let out = Out { forward, interface: 1, tags: &[(VLAN, 3)] };
        for words in 0..=10 {
            // No operation (RFC 791; RFC 9293, 3.2).
            let options = vec![1; words * 4];
            let tcp = Frame::tcp(client, vip, SYN);
            scene.check(out, tcp.clone().options(&options));
            scene.check(out, tcp.clone().tcp_options(&options));
            scene.check(out, tcp.tcp_options(&options).options(&options).payload(b"fast open"));
            scene.check(out, Frame::udp(client, vip).options(&options));
        }
    }
}

#[test]
fn ipv6_extension_headers() {
    let mut scene = scene();
    let [client, vip] = [CLIENT_V6, VIP_V6].map(socket);
    let chains: [&[(u8, usize)]; 8] = [
        &[(0, 8)],
        &[(60, 16)],
        &[(43, 24)],
        &[(0, 8), (60, 8), (43, 40), (60, 24)],
        &[(135, 8)],
        &[(139, 8), (140, 8)],
        &[(60, 8); 8],
        &[(0, 512)],
    ];
    for forward in [Forward::Nat, Forward::Dsr] {
        for tags in TAGS {
            let out = Out { forward, interface: 2, tags };
            for chain in chains {
                let tcp = Frame::tcp(client, vip, SYN).tcp_options(&[1; 40]);
                scene.check(out, tcp.extensions(chain).tags(TAGS[3]));
                scene.check(out, Frame::udp(client, vip).extensions(chain));
            }
        }
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut scene = scene();
    let [client, vip] = [CLIENT_V4, VIP_V4].map(socket);
    for forward in [Forward::Nat, Forward::Dsr] {
        let out = Out { forward, interface: 1, tags: &[] };
        scene.check(out, Frame::udp(client, vip).no_checksum());
    }
}

#[test]
fn bytes_after_the_ip_packet_are_kept_and_not_summed_up() {
    let mut scene = scene();
    for forward in [Forward::Nat, Forward::Dsr] {
        let out = Out { forward, interface: 1, tags: &[] };
        for packet in plain() {
            scene.check(out, Frame { trailer: vec![0; 6], ..packet.clone() });
            scene.check(out, Frame { trailer: vec![0xff; 7], ..packet.clone() });
            if packet.protocol() == 17 {
                // UDP options (RFC 9868).
                scene.check(out, Frame { surplus: vec![0, 1, 2, 3], ..packet.clone() });
            }
        }
    }
}

#[test]
fn a_hop_fewer_and_none_left() {
    let mut scene = scene();
    for forward in [Forward::Nat, Forward::Dsr] {
        for packet in plain() {
            for ttl in [255, 3, 2] {
                scene.check(Out { forward, interface: 1, tags: &[] }, packet.clone().ttl(ttl));
            }
            for ttl in [1, 0] {
                let mut packet = packet.clone().ttl(ttl);
                packet.destination.set_port(if forward == Forward::Nat { 80 } else { 81 });
                let outcome = scene.bench.send(&packet);
                assert_eq!(outcome.fate(), Event::DropTtlExceeded, "{packet}: {outcome}");
            }
        }
    }
}

#[test]
fn an_answer_with_no_hop_left_is_dropped() {
    let mut scene = scene();
    let [client, vip] = [CLIENT_V4, VIP_V4].map(socket);
    let forwarded = scene.bench.send(&Frame::udp(client, vip)).parsed().frame;
    let outcome = scene.bench.send(&forwarded.turned().ttl(1));
    assert_eq!(outcome.events(), [Event::DropTtlExceeded], "{outcome}");
}

#[test]
fn a_backend_without_a_port_gets_the_listeners() {
    for (vip, address) in [(VIP_V4, "10.0.0.12:0"), (VIP_V6, "[fd00::12]:0")] {
        let mut bench = Bench::new();
        let pool = bench.pool(Forward::Nat);
        let backend = bench.backend(pool, address);
        bench.table(pool, &[backend]);
        let _key = bench.listener(Protocol::Tcp, vip, pool, 60 * S);
        let vip = socket(vip);
        let client = socket(if vip.is_ipv4() { CLIENT_V4 } else { CLIENT_V6 });
        let packet = Frame::tcp(client, vip, SYN);
        let forwarded = bench.send(&packet).parsed().frame;
        assert_eq!(forwarded.destination, (socket(address).ip(), 80).into(), "{forwarded}");
        let answer = bench.send(&forwarded.turned());
        assert_eq!(answer.fate(), Event::Replied);
        assert_eq!(answer.parsed().frame.source, vip, "{answer}");
    }
}

#[test]
fn several_nat_sources_share_the_flows() {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let backend = bench.backend(pool, "10.0.0.11:8080");
    bench.table(pool, &[backend]);
    let _key = bench.listener(Protocol::Udp, VIP_V4, pool, 60 * S);
    let sources: Vec<std::net::IpAddr> = (251..=254).map(|last| [10, 0, 0, last].into()).collect();
    for count in 1..=4_usize {
        bench.change_backend(backend, |backend| {
            backend.nat_source_mask = (1 << count) - 1;
            for (to, source) in backend.nat_sources.iter_mut().zip(&sources) {
                *to = (*source).into();
            }
        });
        bench.forget_flows();
        bench.forget_replies();
        let mut used = std::collections::BTreeMap::new();
        for port in 1000..1200 {
            let client = (std::net::Ipv4Addr::new(192, 0, 2, 7), port).into();
            let forwarded = bench.send(&Frame::udp(client, socket(VIP_V4))).parsed().frame;
            *used.entry(forwarded.source.ip()).or_insert(0) += 1;
            let answer = bench.send(&forwarded.turned());
            assert_eq!(answer.fate(), Event::Replied, "{answer}");
            assert_eq!(answer.parsed().frame.destination, client, "{answer}");
        }
        assert_eq!(used.keys().copied().collect::<Vec<_>>(), sources[..count], "{used:?}");
        let fair = 200 / count / 2;
        assert!(used.values().all(|flows| *flows > fair), "of {count}: {used:?}");
    }
}

#[test]
fn answers_go_where_the_clients_last_packet_came_from() {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let backend = bench.backend(pool, "10.0.0.11:8080");
    bench.table(pool, &[backend]);
    let _key = bench.listener(Protocol::Tcp, VIP_V4, pool, 60 * S);
    let [client, vip] = [CLIENT_V4, VIP_V4].map(socket);
    let forwarded = bench.send(&Frame::tcp(client, vip, SYN)).parsed().frame;
    // Another router, another VLAN; noted when the flow next is: its state changes.
    let other = [2, 0, 0, 0, 9, 9];
    let moved = Frame { from: other, ..Frame::tcp(client, vip, ACK).tags(&[(VLAN, 9)]) };
    assert_eq!(bench.send(&moved).parsed().frame.source, forwarded.source);
    let answer = bench.send(&forwarded.turned());
    let frame = answer.parsed().frame;
    assert_eq!((frame.to, &frame.tags[..]), (other, &[(VLAN, 9)][..]), "{answer}");
    assert_ne!(frame.to, CLIENT_MAC);
}

#[test]
fn a_connection_from_its_first_packet_to_its_last() {
    let mut scene = scene();
    for (forward, port) in [(Forward::Nat, 80), (Forward::Dsr, 81)] {
        let [client, mut vip] = [CLIENT_V4, VIP_V4].map(socket);
        vip.set_port(port);
        let mut previous = None;
        for (flags, payload) in
            [(SYN, ""), (ACK, ""), (PSH | ACK, "GET /"), (ACK, ""), (FIN | ACK, ""), (ACK, "")]
        {
            let packet = Frame::tcp(client, vip, flags).payload(payload.as_bytes());
            let outcome = scene.bench.send(&packet);
            let got = outcome.parsed().frame;
            assert_eq!(got.payload, payload.as_bytes());
            let way = (scene.bench.chosen(&outcome), got.source, got.destination);
            assert_eq!(*previous.get_or_insert(way), way, "{forward:?}: {outcome}");
            let answer = got.turned();
            let back = scene.bench.send(&answer);
            let want = if forward == Forward::Nat { Event::Replied } else { Event::PassNoListener };
            assert_eq!(back.fate(), want, "{back}");
        }
    }
}
