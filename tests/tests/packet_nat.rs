//! Source ports of translated flows: kept, found again, taken over, used up; and the states of a
//! flow by which that is judged.

use std::net::SocketAddr;

use lb_common::{
    event::Event,
    layout::{FlowKey, Forward, Protocol, TcpState},
    nat::TRIES,
};
use tests::{
    bench::{Bench, NAT_SOURCE_V4, S, START, socket},
    outcome::Outcome,
    packet::{ACK, FIN, Frame, RST, SYN},
    ports,
};

const VIP: &str = "203.0.113.10:80";
const CLIENT: &str = "192.0.2.1";
const MARGIN: u64 = 2 * S;

fn bench() -> Bench {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let backend = bench.backend(pool, "10.0.0.11:8080");
    bench.table(pool, &[backend]);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _key = bench.listener(protocol, VIP, pool, 3600 * S);
    }
    bench
}

fn tcp(port: u16, flags: u8) -> Frame {
    Frame::tcp(client(port), socket(VIP), flags)
}

fn udp(port: u16) -> Frame {
    Frame::udp(client(port), socket(VIP))
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.parse().expect("an address"), port)
}

/// The backend's answer to what was sent from that port of the balancer's.
fn answer(to_port: u16, flags: Option<u8>) -> Frame {
    let [from, to] = [socket("10.0.0.11:8080"), SocketAddr::new(NAT_SOURCE_V4.into(), to_port)];
    match flags {
        Some(flags) => Frame::tcp(from, to, flags),
        None => Frame::udp(from, to),
    }
}

/// The source port that a forwarded packet got.
fn port_of(outcome: &Outcome) -> u16 {
    assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
    outcome.parsed().frame.source.port()
}

/// The ports that a flow from that client port tries, in order.
fn tries(port: u16, protocol: u8) -> Vec<u16> {
    ports::tries(client(port), socket(VIP), protocol)
}

/// Two client ports whose flows try the same port first.
fn rivals(protocol: u8) -> [u16; 2] {
    ports::rivals(client(0), socket(VIP), protocol)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Client(u8),
    Backend(u8),
}
use Step::{Backend as B, Client as C};

/// What leads to each state, and how long it may be idle.
const LIVES: [(TcpState, u64, &[Step]); 12] = [
    (TcpState::Opening, 240, &[C(SYN)]),
    (TcpState::Opening, 240, &[C(SYN), B(SYN | ACK)]),
    (TcpState::Established, 7440, &[C(SYN), B(SYN | ACK), C(ACK)]),
    (TcpState::Established, 7440, &[C(ACK)]),
    (TcpState::ClientClosing, 240, &[C(ACK), C(FIN | ACK)]),
    (TcpState::ClientClosing, 240, &[C(ACK), C(FIN | ACK), B(ACK)]),
    (TcpState::BackendClosing, 240, &[C(ACK), B(FIN | ACK), C(ACK)]),
    (TcpState::ClosedByClient, 10, &[C(ACK), C(FIN | ACK), B(FIN | ACK), C(ACK)]),
    (TcpState::ClosedByBackend, 60, &[C(ACK), B(FIN | ACK), C(FIN | ACK), B(ACK)]),
    (TcpState::Reset, 10, &[C(ACK), B(RST)]),
    (TcpState::Reset, 10, &[C(ACK), C(RST | ACK)]),
    (TcpState::Established, 7440, &[C(ACK), B(RST), C(ACK)]),
];

/// Lives that life from the start; the port of the balancer's.
fn live(bench: &mut Bench, port: u16, steps: &[Step]) -> u16 {
    let mut nat_port = None;
    for step in steps {
        match step {
            C(flags) => {
                let outcome = bench.send(&tcp(port, *flags));
                let got = port_of(&outcome);
                assert_eq!(*nat_port.get_or_insert(got), got, "{steps:?}");
            }
            B(flags) => {
                let outcome = bench.send(&answer(nat_port.expect("a port"), Some(*flags)));
                assert_eq!(outcome.fate(), Event::Replied, "{steps:?}: {outcome}");
            }
        }
    }
    nat_port.expect("a client's packet")
}

#[test]
fn both_directions_know_the_state_and_its_idle_time() {
    let mut bench = bench();
    for (state, idle, steps) in LIVES {
        for (age, alive) in [(idle * S - 1, true), (idle * S, false)] {
            bench.reset();
            let nat_port = live(&mut bench, 7, steps);
            let flow = bench.flows().into_values().next().expect("a flow");
            let reply = bench.replies().into_values().next().expect("a reply");
            assert_eq!((flow.state, reply.state), (state.code(), state.code()), "{steps:?}");
            assert_eq!((flow.seen_ns, reply.last_seen_ns), (START, START), "{steps:?}");
            bench.at(START + age);
            let back = bench.send(&answer(nat_port, Some(ACK)));
            let want = if alive { Event::Replied } else { Event::PassStaleReply };
            assert_eq!(back.fate(), want, "{state:?} at {age}: {back}");

            bench.reset();
            let _same = live(&mut bench, 7, steps);
            bench.at(START + age);
            let outcome = bench.send(&tcp(7, ACK));
            assert_eq!(outcome.has(Event::FlowRenewed), !alive, "{state:?} at {age}: {outcome}");
            assert_eq!(port_of(&outcome), nat_port, "the same flow, the same port");
        }
    }
}

#[test]
fn a_datagrams_flow_has_its_idle_time() {
    let mut bench = bench();
    for (age, alive) in [(300 * S - 1, true), (300 * S, false)] {
        bench.reset();
        let nat_port = port_of(&bench.send(&udp(7)));
        bench.at(START + age);
        let back = bench.send(&answer(nat_port, None));
        let want = if alive { Event::Replied } else { Event::PassStaleReply };
        assert_eq!(back.fate(), want, "at {age}: {back}");
        let outcome = bench.send(&udp(7));
        assert_eq!(outcome.has(Event::FlowRenewed), !alive, "at {age}: {outcome}");
    }
}

#[test]
fn a_syn_opens_what_is_closed_or_closing_and_keeps_its_port() {
    let mut bench = bench();
    for (state, _, steps) in LIVES {
        bench.reset();
        let nat_port = live(&mut bench, 7, steps);
        let outcome = bench.send(&tcp(7, SYN));
        let under_way = matches!(state, TcpState::Opening | TcpState::Established);
        assert_eq!(outcome.has(Event::FlowRenewed), !under_way, "{state:?}: {outcome}");
        assert_eq!(port_of(&outcome), nat_port, "{state:?}");
        if !under_way {
            let flow = bench.flows().into_values().next().expect("a flow");
            let reply = bench.replies().into_values().next().expect("a reply");
            let opening = TcpState::Opening.code();
            assert_eq!((flow.state, reply.state), (opening, opening), "{state:?}");
        }
    }
}

#[test]
fn a_flow_whose_entry_was_lost_finds_its_port() {
    let mut bench = bench();
    let packets: [&dyn Fn(u16) -> Frame; 2] = [&|port| tcp(port, ACK), &udp];
    for packet in packets {
        for port in 1..60 {
            let first = port_of(&bench.send(&packet(port)));
            bench.forget_flows();
            let outcome = bench.send(&packet(port));
            assert_eq!(port_of(&outcome), first, "{outcome}");
            assert!(outcome.has(Event::FlowMade) && !outcome.has(Event::ReplyMade), "{outcome}");
            bench.forget_flows();
            bench.forget_replies();
            let outcome = bench.send(&packet(port));
            assert_eq!(port_of(&outcome), first, "both lost: {outcome}");
            bench.reset();
        }
    }
}

#[test]
fn an_answer_restores_the_lost_entry_of_its_flow() {
    let mut bench = bench();
    let nat_port = port_of(&bench.send(&tcp(7, ACK)));
    bench.forget_flows();
    // Answers are noted at most once in a while.
    bench.pass(S / 4);
    let back = bench.send(&answer(nat_port, Some(ACK)));
    assert_eq!(back.events(), [Event::Replied, Event::FlowMade], "{back}");
    let outcome = bench.send(&tcp(7, ACK));
    assert_eq!(outcome.events(), [Event::Forwarded], "the flow goes on: {outcome}");
    assert_eq!(port_of(&outcome), nat_port);
}

#[test]
fn a_lost_entry_for_answers_is_made_anew_at_the_same_port() {
    let mut bench = bench();
    let nat_port = port_of(&bench.send(&tcp(7, ACK)));
    assert_eq!(port_of(&bench.send(&tcp(7, ACK))), nat_port);
    bench.forget_replies();
    let lost = bench.send(&answer(nat_port, Some(ACK)));
    assert_eq!(lost.events(), [Event::PassNoListener], "nobody's: {lost}");
    for (age, noted) in [(S - 1, false), (S, true)] {
        bench.at(START + age);
        let outcome = bench.send(&tcp(7, ACK));
        assert_eq!(port_of(&outcome), nat_port);
        assert_eq!(outcome.has(Event::ReplyMade), noted, "{age}: {outcome}");
    }
    let back = bench.send(&answer(nat_port, Some(ACK)));
    assert_eq!(back.parsed().frame.destination, client(7), "{back}");
}

#[test]
fn a_port_is_reused_only_after_its_flow_is_over_and_the_margin() {
    let mut bench = bench();
    let [one, two] = rivals(6);
    for (state, idle, steps) in LIVES {
        let free = idle * S + MARGIN;
        for (age, over) in [(0, false), (free - 1, false), (free, true), (free + 1, true)] {
            bench.reset();
            let port = live(&mut bench, one, steps);
            bench.at(START + age);
            let case = format!("{state:?} at {age}");
            let outcome = bench.send(&tcp(two, SYN));
            let got = port_of(&outcome);
            assert_eq!(got == port, over, "{case}: {outcome}");
            assert_eq!(outcome.has(Event::ReplyTakenOver), over, "{case}: {outcome}");
            assert_eq!(outcome.has(Event::ReplyMade), !over, "{case}: {outcome}");
            assert_eq!(got, tries(two, 6)[usize::from(!over)], "{case}: the next try");
            let back = bench.send(&answer(got, Some(SYN | ACK)));
            assert_eq!(back.parsed().frame.destination, client(two), "{case}: {back}");
            if over {
                // The first client comes again: another port, and its answers are its own.
                let outcome = bench.send(&tcp(one, SYN));
                let other = port_of(&outcome);
                assert_ne!(other, port, "{case}: {outcome}");
                let back = bench.send(&answer(other, Some(SYN | ACK)));
                assert_eq!(back.parsed().frame.destination, client(one), "{case}: {back}");
            }
        }
    }
}

#[test]
fn datagrams_reuse_ports_likewise() {
    let mut bench = bench();
    let [one, two] = rivals(17);
    for (age, over) in [(302 * S - 1, false), (302 * S, true)] {
        bench.reset();
        let port = port_of(&bench.send(&udp(one)));
        bench.at(START + age);
        let outcome = bench.send(&udp(two));
        assert_eq!(port_of(&outcome) == port, over, "{age}: {outcome}");
        assert_eq!(outcome.has(Event::ReplyTakenOver), over, "{age}: {outcome}");
    }
}

#[test]
fn tcp_and_udp_have_ports_of_their_own() {
    let mut bench = bench();
    for port in 1..200 {
        let of_tcp = port_of(&bench.send(&tcp(port, SYN)));
        let of_udp = port_of(&bench.send(&udp(port)));
        assert_eq!((of_tcp, of_udp), (tries(port, 6)[0], tries(port, 17)[0]));
        let back = bench.send(&answer(of_udp, None));
        assert_eq!(back.fate(), Event::Replied, "{back}");
        let other = bench.send(&answer(of_udp, Some(ACK)));
        assert_eq!(other.fate(), Event::PassNoListener, "{other}");
        bench.reset();
    }
}

#[test]
fn p7_a_port_being_reclaimed_is_left_alone() {
    let mut bench = bench();
    let [one, two] = rivals(6);
    let port = live(&mut bench, one, &[C(SYN)]);
    bench.pass(240 * S + MARGIN);
    let before = bench.replies();
    bench.reclaim_before(START + 1);
    assert_ne!(port_of(&bench.send(&tcp(two, SYN))), port, "another flow");
    assert_ne!(port_of(&bench.send(&tcp(one, SYN))), port, "its own flow");
    let after = bench.replies();
    assert!(before.iter().all(|(key, reply)| after.get(key) == Some(reply)), "it was changed");
    bench.reclaim_before(START);
    assert_eq!(port_of(&bench.send(&tcp(two + 1, SYN))), tries(two + 1, 6)[0]);
}

#[test]
fn ports_used_up_are_counted_and_the_last_free_one_is_found() {
    let mut bench = bench();
    let _sample = bench.send(&tcp(1, SYN));
    let (key, reply) = bench.replies().into_iter().next().expect("a reply");
    bench.reset();
    for free in [None, Some(TRIES - 1), Some(17), Some(0)] {
        for (attempt, port) in (0..TRIES).zip(tries(7, 6)) {
            if Some(attempt) != free {
                let key = FlowKey { destination_port_be: port.to_be(), ..key };
                bench.put_reply(&key, &reply);
            }
        }
        let outcome = bench.send(&tcp(7, SYN));
        match free {
            None => {
                assert_eq!(outcome.fate(), Event::DropPortsExhausted, "{outcome}");
                assert!(bench.flows().is_empty(), "a flow without a port");
            }
            Some(attempt) => {
                assert_eq!(port_of(&outcome), tries(7, 6)[attempt as usize], "{outcome}");
            }
        }
        bench.reset();
    }
}

#[test]
fn no_two_flows_under_way_share_a_port() {
    let mut bench = bench();
    let mut owners = std::collections::BTreeMap::new();
    for port in 1..=400 {
        let got = port_of(&bench.send(&tcp(port, ACK)));
        assert_eq!(owners.insert(got, port), None, "port {got} twice");
    }
    for (nat_port, port) in owners {
        let back = bench.send(&answer(nat_port, Some(ACK)));
        assert_eq!(back.parsed().frame.destination, client(port), "{back}");
    }
}

/// A flow whose entry for answers was evicted, and its port given to another meanwhile, does not
/// take the other's answers.
#[test]
fn a_port_that_went_to_another_flow_stays_its() {
    let mut bench = bench();
    let [one, two] = rivals(6);
    let port = live(&mut bench, one, &[C(ACK)]);
    bench.forget_replies();
    assert_eq!(live(&mut bench, two, &[C(ACK)]), port, "evicted, so free");
    for age in [S, 2 * S, 30 * S] {
        bench.at(START + age);
        let sent = bench.send(&tcp(one, ACK));
        let moved = sent.parsed().frame.source.port();
        assert_ne!(moved, port, "the first flow gets a port of its own again: {sent}");
        for (to, whose) in [(port, two), (moved, one)] {
            let back = bench.send(&answer(to, Some(ACK)));
            assert_eq!(back.parsed().frame.destination, client(whose), "{back}");
        }
    }
}

/// The balancer's one address may have listeners too: answers to a listener's port would be taken
/// for its clients' packets.
#[test]
fn a_listeners_port_is_no_source_port() {
    for (protocol, sent) in [(Protocol::Tcp, tcp(7, SYN)), (Protocol::Udp, udp(7))] {
        let tries = tries(7, protocol.code());
        let mut bench = bench();
        let pool = bench.pool(Forward::Nat);
        for port in &tries[..3] {
            let address = SocketAddr::new(NAT_SOURCE_V4.into(), *port).to_string();
            let _key = bench.listener(protocol, &address, pool, 0);
        }
        assert_eq!(port_of(&bench.send(&sent)), tries[3], "{protocol:?}");
    }
}
