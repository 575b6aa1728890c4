//! Backends' answers by the short way: whatever they meet, it is what the stages would do.
//!
//! Which way an answer took can be told once its entry in `REPLIES` was evicted: the stages know it
//! no more then.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{
    event::Event,
    fingerprint,
    layout::{
        BackendCounters, BackendState, FlowKey, Forward, ON_DOWN_KEEP, Protocol, TcpState, Vip,
        VipKey,
    },
};
use lb_userspace::maps::LbMaps as _;
use tests::{
    bench::{Bench, NAT_SOURCE_V4, S, SEED, START, socket},
    outcome::{Outcome, Verdict},
    packet::{
        ACK, BALANCER_MAC, CLIENT_MAC, FIN, Frame, PSH, QINQ, RST, SYN, VLAN, fix_ip_checksum,
    },
    ports::{rivals, tries},
};

const MS: u64 = S / 1000;
/// Answers are noted this often.
const STEP: u64 = 250 * MS;
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

struct Scene {
    bench: Bench,
    backend: u32,
    keys: [VipKey; 2],
    v6: bool,
}

fn scene(v6: bool) -> Scene {
    lasting(v6, 3600 * S)
}

/// With pins that last so long.
fn lasting(v6: bool, timeout: u64) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let backend = bench.backend(pool, if v6 { "[fd00::11]:8080" } else { "10.0.0.11:8080" });
    bench.table(pool, &[backend]);
    let keys = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| bench.listener(protocol, &vip(v6).to_string(), pool, timeout));
    Scene { bench, backend, keys, v6 }
}

fn vip(v6: bool) -> SocketAddr {
    socket(if v6 { "[2001:db8:f::10]:80" } else { "203.0.113.10:80" })
}

fn client(v6: bool, port: u16) -> SocketAddr {
    let address = if v6 { "2001:db8:1::1" } else { "192.0.2.1" };
    SocketAddr::new(address.parse().expect("an address"), port)
}

impl Scene {
    fn tcp(&self, port: u16, flags: u8) -> Frame {
        Frame::tcp(client(self.v6, port), vip(self.v6), flags)
    }

    fn udp(&self, port: u16) -> Frame {
        Frame::udp(client(self.v6, port), vip(self.v6))
    }

    /// The backend's answer to a flow that this packet begins or belongs to.
    fn answer_to(&mut self, packet: &Frame) -> Frame {
        let outcome = self.bench.send(packet);
        assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
        let forwarded = outcome.parsed().frame;
        forwarded.flagged(ACK).turned().payload(b"an answer").ttl(17)
    }

    /// An answer that has been sent on, so that its way is known.
    fn known(&mut self, packet: &Frame) -> Frame {
        let answer = self.answer_to(packet);
        self.replied(&answer);
        assert!(self.bench.way_of(&answer).is_some(), "its way is known: {answer}");
        answer
    }

    fn replied(&mut self, answer: &Frame) -> Frame {
        let outcome = self.bench.send(answer);
        assert_eq!(outcome.fate(), Event::Replied, "{outcome}");
        outcome.parsed().frame
    }

    /// What is counted of the packets' bytes, for both listeners and the backend.
    fn bytes(&self) -> ([[u64; 2]; 2], BackendCounters) {
        let of_listener = [1, 2].map(|row| {
            let counted = self.bench.maps.listener_counters(row).expect("counters");
            [counted.bytes_in, counted.bytes_out]
        });
        (of_listener, self.bench.maps.backend_counters(self.backend).expect("counters"))
    }

    /// Sends the packet, and says what was counted for it besides events.
    fn counted(&mut self, packet: &Frame) -> (Outcome, Vec<u64>) {
        let flat = |(listeners, backend): ([[u64; 2]; 2], BackendCounters)| {
            let BackendCounters { packets_in, bytes_in, packets_out, bytes_out, flows } = backend;
            let backend = [packets_in, bytes_in, packets_out, bytes_out, flows];
            [&listeners.concat()[..], &backend].concat()
        };
        let before = flat(self.bytes());
        let outcome = self.bench.send(packet);
        let after = flat(self.bytes());
        (outcome, after.into_iter().zip(before).map(|(after, before)| after - before).collect())
    }
}

#[test]
fn the_same_bytes_and_counters_as_by_the_stages() {
    for v6 in [false, true] {
        let mut scene = scene(v6);
        let tcp = scene.tcp(7, ACK);
        let udp = scene.udp(7);
        let mut answers = Vec::new();
        for packet in [tcp, udp] {
            let answer = scene.answer_to(&packet);
            answers.push(answer.clone());
            answers.push(answer.clone().payload(&[0x5a; 1400]).ttl(255));
            answers.push(answer.clone().payload(b"").ttl(2));
            if answer.flags().is_some() {
                answers.push(answer.flagged(PSH | ACK));
                answers.push(answer.tcp_options(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]));
            } else if !v6 {
                answers.push(answer.no_checksum());
            }
        }
        for mut answer in answers {
            for trailer in [0, 9] {
                answer.trailer = vec![0; trailer];
                scene.bench.forget_answers();
                let by_stages = scene.counted(&answer);
                assert!(scene.bench.way_of(&answer).is_some(), "{answer}");
                let replies = scene.bench.replies();
                scene.bench.evict_replies();
                let by_entry = scene.counted(&answer);
                assert_eq!(by_entry, by_stages, "{answer}");

                let (outcome, _) = by_entry;
                assert_eq!(outcome.verdict, Verdict::Tx, "{outcome}");
                assert_eq!(outcome.events(), [Event::Replied], "{outcome}");
                let sent = outcome.parsed().frame;
                assert_eq!((sent.source, sent.destination), (vip(v6), client(v6, 7)));
                assert_eq!((sent.to, sent.from), (CLIENT_MAC, BALANCER_MAC), "{outcome}");
                assert_eq!(sent.ttl, answer.ttl - 1, "{outcome}");

                scene.bench.forget_answers();
                let unknown = scene.bench.send(&answer);
                assert_eq!(unknown.fate(), Event::PassNoListener, "{unknown}");
                for (key, reply) in replies {
                    scene.bench.put_reply(&key, &reply);
                }
            }
        }
    }
}

#[test]
fn what_is_not_plain_goes_through_the_stages() {
    for v6 in [false, true] {
        let mut scene = scene(v6);
        let packets = [scene.tcp(7, ACK), scene.udp(7)];
        for packet in packets {
            let answer = scene.known(&packet);
            let mut others = vec![
                answer.clone().tags(&[(VLAN, 7)]),
                answer.clone().tags(&[(QINQ, 7), (VLAN, 8)]),
                answer.clone().ttl(1),
                Frame { to: [0xff; 6], ..answer.clone() },
            ];
            if v6 {
                others.push(answer.clone().extensions(&[(60, 8)]));
            } else {
                others.push(answer.clone().options(&[1, 1, 1, 0]));
            }
            if answer.flags().is_some() {
                for flags in [SYN | ACK, FIN | ACK, RST, RST | ACK, 0, SYN] {
                    others.push(answer.flagged(flags));
                }
            } else if v6 {
                others.push(answer.clone().no_checksum());
            }
            let mut others: Vec<_> = others.iter().map(Frame::build).collect();
            if !v6 {
                let mut wrong = answer.build();
                wrong[24] ^= 1;
                others.push(wrong);
                let mut fragment = answer.build();
                fragment[20] |= 0x20;
                fix_ip_checksum(&mut fragment, answer.l3());
                others.push(fragment);
            }
            let mut long = answer.build();
            // A UDP length, or a TCP header, that is longer than the packet.
            let at = answer.l4() + if answer.flags().is_some() { 12 } else { 4 };
            long[at] = 0xf0;
            others.push(long);

            scene.bench.evict_replies();
            for other in others {
                assert!(scene.bench.way_of(&answer).is_some(), "{answer}");
                let outcome = scene.bench.run(&other);
                assert!(!outcome.has(Event::Replied), "{outcome}, of a kind of {answer}");
            }
            let plain = scene.bench.send(&answer);
            assert_eq!(plain.fate(), Event::Replied, "{plain}");
            scene.bench.reset();
        }
    }
}

#[test]
fn an_entry_counts_until_answers_are_to_be_noted() {
    let mut scene = scene(false);
    // The first answer's age, and how much of the step an entry of then still counts: what is left
    // of jiffies that are not begun.
    for (age, end) in [(0, STEP), (1, STEP - MS), (100 * MS, STEP), (100 * MS + 1, STEP - MS)] {
        for (at, alive) in [(end - 1, true), (end, false)] {
            scene.bench.reset();
            let packet = scene.tcp(7, ACK);
            let answer = scene.answer_to(&packet);
            scene.bench.at(START + age);
            let _sent = scene.replied(&answer);
            scene.bench.at(START + at);
            scene.bench.evict_replies();
            let outcome = scene.bench.send(&answer);
            let want = if alive { Event::Replied } else { Event::PassNoListener };
            assert_eq!(outcome.fate(), want, "of {age}, at {at}: {outcome}");
        }
    }
}

#[test]
fn answers_are_noted_as_often_as_without() {
    let mut scene = scene(false);
    let packet = scene.tcp(7, ACK);
    let answer = scene.known(&packet);
    let mut noted = 0;
    // Times of all kinds, a multiple of a jiffy or not.
    for step in 0..2_000_u64 {
        let now = step * 1_300_003;
        scene.bench.at(START + now);
        let _sent = scene.replied(&answer);
        if now - noted >= STEP {
            noted = now;
        }
        let reply = scene.bench.replies().into_values().next().expect("a reply");
        assert_eq!(reply.last_seen_ns, START + noted, "at {now}");
    }
}

#[test]
fn a_port_that_goes_to_another_flow_takes_the_way_along() {
    for v6 in [false, true] {
        let mut scene = scene(v6);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let [one, two] = rivals(client(v6, 1), vip(v6), protocol.code());
            let packet = |scene: &Scene, port| match protocol {
                Protocol::Tcp => scene.tcp(port, ACK),
                Protocol::Udp => scene.udp(port),
            };
            let idle = if protocol == Protocol::Tcp { 7440 * S } else { 300 * S };
            // Its entry is evicted, so the port is free at once; or it is over.
            for over in [false, true] {
                scene.bench.reset();
                let first = packet(&scene, one);
                let answer = scene.known(&first);
                if over {
                    scene.bench.pass(idle + 2 * S);
                } else {
                    scene.bench.evict_replies();
                }
                let second = packet(&scene, two);
                let same = scene.answer_to(&second);
                assert_eq!(same.destination, answer.destination, "the same port");
                assert_eq!(scene.bench.way_of(&answer), None, "as soon as the port is another's");
                for _ in 0..2 {
                    assert_eq!(scene.replied(&same).destination, client(v6, two));
                }
                let way = scene.bench.way_of(&same).expect("a way");
                assert_eq!(u16::from_be(way.client_port_be), two);
            }
        }
    }
}

#[test]
fn a_backend_that_serves_no_flows_is_asked_about_each_time() {
    type Change<'a> = (&'a str, Event, &'a dyn Fn(&mut Scene));
    let set = |state: BackendState| move |scene: &mut Scene| scene.bench.state(1, state);
    let [draining, evacuating, down] =
        [BackendState::Draining, BackendState::Evacuating, BackendState::Down].map(set);
    let changes: [Change<'_>; 6] = [
        ("draining", Event::Replied, &draining),
        ("evacuating", Event::Replied, &evacuating),
        ("down", Event::PassStaleReply, &down),
        ("down, and flows go on", Event::Replied, &|scene| {
            scene.bench.change_backend(1, |backend| {
                backend.state = BackendState::Down.code();
                backend.flags = ON_DOWN_KEEP;
            });
        }),
        ("back", Event::PassStaleReply, &|scene| scene.bench.back(1)),
        ("back, and flows went on", Event::Replied, &|scene| {
            scene.bench.change_backend(1, |backend| backend.generation += 1);
        }),
    ];
    for v6 in [false, true] {
        let mut scene = scene(v6);
        let ready = scene.bench.record(scene.backend);
        for (what, want, change) in &changes {
            let answers = [scene.tcp(7, ACK), scene.udp(7)].map(|packet| scene.known(&packet));
            change(&mut scene);
            for answer in answers {
                assert!(scene.bench.way_of(&answer).is_some(), "{what}: {answer}");
                let outcome = scene.bench.send(&answer);
                assert_eq!(outcome.fate(), *want, "{what}: {outcome}");
            }
            scene.bench.change_backend(1, |backend| *backend = ready);
            scene.bench.reset();
        }
    }
}

#[test]
fn answers_come_from_the_address_that_the_client_asked() {
    for v6 in [false, true] {
        let mut scene = scene(v6);
        let [tcp, _] = scene.keys;
        let first = scene.tcp(7, ACK);
        let old = scene.known(&first);
        // The listener moves to another address, and keeps its row.
        let vip = scene.bench.vip(tcp);
        scene.bench.maps.remove_vip(&tcp).expect("VIP removed");
        assert_eq!(scene.replied(&old).source, self::vip(v6), "by the entry");
        scene.bench.pass(STEP);
        assert_eq!(scene.replied(&old).source, self::vip(v6), "by the stages");
        assert_eq!(scene.bench.way_of(&old), None, "of no listener's flow");

        let address = if v6 { "[2001:db8:f::11]:81" } else { "203.0.113.11:81" };
        let elsewhere = listen(&mut scene.bench, address, &vip);
        let packet = Frame::tcp(client(v6, 7), elsewhere, ACK);
        let new = scene.known(&packet);
        for _ in 0..2 {
            for (answer, from) in [(&old, self::vip(v6)), (&new, elsewhere)] {
                assert_eq!(scene.replied(answer).source, from);
            }
        }
        assert!(scene.bench.way_of(&new).is_some() && scene.bench.way_of(&old).is_none());

        // And back, while what is known of the other address would still count.
        scene
            .bench
            .maps
            .remove_vip(&VipKey { port_be: 81_u16.to_be(), ..key(elsewhere) })
            .expect("gone");
        let _same = listen(&mut scene.bench, &self::vip(v6).to_string(), &vip);
        assert_eq!(scene.replied(&old).source, self::vip(v6));
        assert!(scene.bench.way_of(&old).is_some() && scene.bench.way_of(&new).is_some());
        for (answer, from) in [(&new, elsewhere), (&old, self::vip(v6))] {
            assert_eq!(scene.replied(answer).source, from);
        }
    }
}

fn key(address: SocketAddr) -> VipKey {
    VipKey {
        address: address.ip().into(),
        port_be: address.port().to_be(),
        protocol: Protocol::Tcp.code(),
        pad: 0,
    }
}

/// A VIP of a listener that has a row.
fn listen(bench: &mut Bench, address: &str, vip: &Vip) -> SocketAddr {
    let address = socket(address);
    bench.maps.set_vip(&key(address), vip).expect("VIP written");
    address
}

#[test]
fn a_client_behind_another_router_is_answered_there_once_that_is_noted() {
    // Packets are noted each quarter of a second, and of flows the time is known to the tick.
    let mut scene = lasting(false, S);
    scene.bench.at(START + 62 * MS);
    let packet = scene.tcp(7, ACK);
    let _proof = scene.bench.send(&packet);
    let answer = scene.known(&packet);
    let moved = Frame { from: OTHER_MAC, ..packet };
    for (now, to) in [(249, CLIENT_MAC), (250, OTHER_MAC)] {
        scene.bench.at(START + now * MS);
        let _sent = scene.bench.send(&moved);
        assert_eq!(scene.bench.way_of(&answer).is_some(), to == CLIENT_MAC, "at {now}");
        for _ in 0..2 {
            assert_eq!(scene.replied(&answer).to, to, "at {now}");
        }
        assert!(scene.bench.way_of(&answer).is_some(), "at {now}");
    }
    // By tags, which the short way knows nothing of.
    scene.bench.pass(S);
    let _sent = scene.bench.send(&moved.tags(&[(VLAN, 7)]));
    for _ in 0..2 {
        assert_eq!(scene.replied(&answer).tags, [(VLAN, 7)]);
    }
    assert_eq!(scene.bench.way_of(&answer), None);
}

#[test]
fn a_state_that_changes_takes_the_way_away() {
    use TcpState::{BackendClosing, ClientClosing, Established, Reset};
    let state = |scene: &Scene| {
        let flow = scene.bench.flows().into_values().next().expect("a flow").state;
        let reply = scene.bench.replies().into_values().next().expect("a reply").state;
        assert_eq!(flow, reply, "both directions know");
        TcpState::from_code(reply).expect("a state")
    };
    let mut scene = scene(false);
    for (flags, changed, after) in
        [(RST, Reset, Established), (FIN | ACK, ClientClosing, ClientClosing)]
    {
        scene.bench.reset();
        let packet = scene.tcp(7, ACK);
        let answer = scene.known(&packet);
        let _sent = scene.bench.send(&packet.flagged(flags));
        assert_eq!(state(&scene), changed);
        assert_eq!(scene.bench.way_of(&answer), None, "{changed:?}");
        for _ in 0..2 {
            let _sent = scene.replied(&answer);
            assert_eq!(state(&scene), after, "as the stages note it");
        }
        assert_eq!(scene.bench.way_of(&answer).is_some(), after == Established);
    }
    for (flags, changed, after) in
        [(RST, Reset, Established), (FIN | ACK, BackendClosing, BackendClosing)]
    {
        scene.bench.reset();
        let packet = scene.tcp(7, ACK);
        let answer = scene.known(&packet);
        let _sent = scene.replied(&answer.flagged(flags));
        assert_eq!(state(&scene), changed);
        assert_eq!(scene.bench.way_of(&answer), None, "{changed:?}");
        for _ in 0..2 {
            let _sent = scene.replied(&answer);
            assert_eq!(state(&scene), after, "as the stages note it");
        }
        assert_eq!(scene.bench.way_of(&answer).is_some(), after == Established);
    }
    // One that is opening has no way yet.
    scene.bench.reset();
    let syn = scene.tcp(7, SYN);
    let answer = scene.answer_to(&syn);
    let _sent = scene.replied(&answer.flagged(SYN | ACK));
    let _sent = scene.replied(&answer);
    assert_eq!(scene.bench.way_of(&answer), None);
}

/// Three flows whose answers' entries belong into the same two lines.
#[test]
fn who_finds_no_place_is_answered_all_the_same() {
    let mut scene = scene(false);
    let keys = fingerprint::keys(SEED);
    let mut by_line = BTreeMap::<u32, Vec<u16>>::new();
    let ports = (1..).find_map(|port: u16| {
        let nat_port = tries(client(false, port), vip(false), 6)[0];
        let answer = FlowKey {
            source: socket("10.0.0.11:8080").ip().into(),
            destination: SocketAddr::new(NAT_SOURCE_V4.into(), nat_port).ip().into(),
            source_port_be: 8080_u16.to_be(),
            destination_port_be: nat_port.to_be(),
            protocol: 6,
            pad: [0; 3],
        };
        let line = fingerprint::of_flow(&keys, &answer).line(scene.bench.answer_elements());
        let ports = by_line.entry(line).or_default();
        ports.push(port);
        (ports.len() == 3).then(|| ports.clone())
    });
    let ports = ports.expect("three");
    let packets: Vec<_> = ports.iter().map(|port| scene.tcp(*port, ACK)).collect();
    let answers: Vec<_> = packets.iter().map(|packet| scene.answer_to(packet)).collect();
    let known = |scene: &Scene| -> Vec<_> {
        answers.iter().map(|answer| scene.bench.way_of(answer).is_some()).collect()
    };
    let all = |scene: &mut Scene, order: [usize; 3]| {
        for at in order {
            assert_eq!(scene.replied(&answers[at]).destination.port(), ports[at]);
        }
    };
    all(&mut scene, [0, 1, 2]);
    all(&mut scene, [2, 1, 0]);
    assert_eq!(known(&scene), [true, true, false], "who came first");
    scene.bench.pass(STEP);
    all(&mut scene, [2, 0, 1]);
    all(&mut scene, [0, 1, 2]);
    assert_eq!(known(&scene), [true, false, true], "who came first once those count no more");
    // One of them ends, and its place is free.
    let _sent = scene.replied(&answers[2].flagged(RST));
    all(&mut scene, [1, 0, 2]);
    assert_eq!(known(&scene), [true, true, false]);
}

#[test]
fn another_program_begins_with_none() {
    let mut scene = scene(false);
    let packet = scene.tcp(7, ACK);
    let answer = scene.known(&packet);
    scene.bench.reload();
    assert_eq!(scene.bench.way_of(&answer), None);
    for _ in 0..2 {
        let _sent = scene.replied(&answer);
    }
    assert!(scene.bench.way_of(&answer).is_some());
}
