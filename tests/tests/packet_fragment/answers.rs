//! From backends to clients, where answers are translated.

use lb_common::{event::Event, fragment::LIFETIME_NS, layout::Forward};
use tests::{
    bench::{
        Bench, backend_mac,
        site::{backend_of, site, udp},
    },
    packet::{BALANCER_MAC, CLIENT_MAC, Frame, ip::Ip},
};

use crate::scene::{fragments, long, send_all, together};

/// A client's datagram, and the backend's long answer.
fn exchange(bench: &mut Bench, v6: bool) -> (Frame, Frame) {
    let packet = udp(Forward::Nat, v6).tags(&[(0x8100, 9)]);
    let forwarded = bench.send(&packet);
    assert_eq!(forwarded.fate(), Event::Forwarded, "{forwarded}");
    let answer = long(&forwarded.parsed().frame.turned()).ttl(20);
    (packet, answer)
}

#[test]
fn long_answers() {
    let mut bench = site();
    for v6 in [false, true] {
        let (packet, answer) = exchange(&mut bench, v6);
        let outcomes = send_all(&mut bench, &fragments(&answer, 7), Event::Replied);
        let (got, _) = together(&outcomes);
        let want = Frame {
            to: CLIENT_MAC,
            from: BALANCER_MAC,
            tags: packet.tags.clone(),
            source: packet.destination,
            destination: packet.source,
            label: if v6 { answer.label } else { 0 },
            ttl: 19,
            ..answer.clone()
        };
        assert_eq!(got, want, "{got}\n{want}");
        assert_eq!(answer.from, backend_mac(backend_of(Forward::Nat, v6)));
    }
}

#[test]
fn without_the_first_they_go_up() {
    let mut bench = site();
    for v6 in [false, true] {
        let (_, answer) = exchange(&mut bench, v6);
        let all = fragments(&answer, 7);
        // Nobody knows yet that they are not the balancer's own.
        send_all(&mut bench, &all[1..3], Event::PassFragment);
        send_all(&mut bench, &all[..2], Event::Replied);
        bench.pass(LIFETIME_NS);
        send_all(&mut bench, &all[2..], Event::PassFragment);
    }
}

/// Two backends' answers to one client come from one address.
#[test]
fn answers_of_two_flows_with_one_identification() {
    let mut bench = site();
    let (_, answer) = exchange(&mut bench, false);
    let mut other = udp(Forward::Nat, false);
    other.source.set_port(1);
    let forwarded = bench.send(&other).parsed().frame;
    let theirs = fragments(&long(&forwarded.turned()), 8);
    let ours = fragments(&answer, 7);
    let mut outcomes = [Vec::new(), Vec::new()];
    for (one, two) in ours.iter().zip(&theirs) {
        outcomes[0].extend(send_all(&mut bench, std::slice::from_ref(one), Event::Replied));
        outcomes[1].extend(send_all(&mut bench, std::slice::from_ref(two), Event::Replied));
    }
    let [(_, one), (_, two)] = outcomes.each_ref().map(|outcomes| together(outcomes));
    assert_ne!(one, two);
}

/// What is for the balancer itself stays together too, at an address that has listeners.
#[test]
fn the_balancers_own_datagrams_go_up() {
    let mut bench = site();
    for v6 in [false, true] {
        for port in [53, 5353, 40_000] {
            let mut packet = long(&udp(Forward::Dsr, v6));
            packet.destination.set_port(port);
            let all = fragments(&packet, u32::from(port));
            send_all(&mut bench, &all[..1], Event::PassNoListener);
            send_all(&mut bench, &all[1..], Event::PassFragment);
        }
    }
}

#[test]
fn for_nobodys_address_nothing_is_remembered() {
    let mut bench = site();
    for v6 in [false, true] {
        let mut packet = long(&udp(Forward::Dsr, v6));
        packet.destination.set_ip(if v6 {
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99].into()
        } else {
            [203, 0, 113, 99].into()
        });
        let all = fragments(&packet, 3);
        send_all(&mut bench, &all[..1], Event::PassNoListener);
        send_all(&mut bench, &all[1..], Event::PassFragment);
        // However wrong they are.
        let empty = Ip { payload: Vec::new(), ..all[1].clone() };
        send_all(&mut bench, &[empty], Event::PassFragment);
        assert!(bench.datagrams().is_empty());
    }
}
