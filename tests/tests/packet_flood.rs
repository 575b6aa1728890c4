//! New flows are held to a rate: of their network and of all. What is beyond it leaves no trace,
//! and takes nothing from flows under way and from clients with a pin.

use std::net::SocketAddr;

use lb_common::{
    event::Event,
    layout::{Forward, Protocol, Scheduler},
};
use tests::{
    bench::{Bench, S, site::vip, socket},
    outcome::{Outcome, Verdict},
    packet::{ACK, Frame, SYN},
};

const MINUTE: u64 = 60 * S;
const NETWORK_V4: &str = "192.0.2";
const OTHER_V4: &str = "198.51.100";

/// Two backends behind a listener for TCP and UDP.
fn scene(forward: Forward, v6: bool, scheduler: Scheduler, timeout_ns: u64) -> Bench {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let port = if forward == Forward::Nat { 8080 } else { 0 };
    let address = |last: u8| {
        if v6 { format!("[fd00::{last}]:{port}") } else { format!("10.0.0.{last}:{port}") }
    };
    let backends = [11, 12].map(|last| bench.backend(pool, &address(last)));
    bench.scheduler(pool, scheduler);
    bench.table(pool, &backends);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _key = bench.listener(protocol, &vip(forward, v6).to_string(), pool, timeout_ns);
    }
    bench
}

/// Client `last` of that network, from that port.
fn from(network: &str, last: u8, port: u16) -> SocketAddr {
    if network.contains(':') {
        socket(&format!("[{network}::{last}]:{port}"))
    } else {
        socket(&format!("{network}.{last}:{port}"))
    }
}

/// What proves a client: a segment that is no SYN.
fn ack(forward: Forward, source: SocketAddr) -> Frame {
    Frame::tcp(source, vip(forward, source.is_ipv6()), ACK)
}

fn made(outcome: &Outcome) -> bool {
    outcome.has(Event::FlowMade)
}

#[track_caller]
fn check_limited(bench: &mut Bench, frame: &Frame) -> Outcome {
    let before = (bench.flows(), bench.pins(), bench.replies());
    let outcome = bench.send(frame);
    assert!(outcome.has(Event::FlowLimited), "{frame}: {outcome:?}");
    assert_eq!(outcome.fate(), Event::Forwarded);
    assert_eq!((bench.flows(), bench.pins(), bench.replies()), before, "{frame} left something");
    outcome
}

#[track_caller]
fn check_dropped(bench: &mut Bench, frame: &Frame) {
    let before = (bench.flows(), bench.pins(), bench.replies());
    let outcome = bench.send(frame);
    assert_eq!((outcome.verdict, outcome.fate()), (Verdict::Drop, Event::DropFlood), "{frame}");
    assert_eq!((bench.flows(), bench.pins(), bench.replies()), before, "{frame} left something");
}

/// Three a second of a network: the fourth goes by the hash, as the fifth will, and leaves
/// nothing. Other networks are not concerned, and a third of a second later there is one more.
fn check_network(network: &str, other: &str) {
    let forward = Forward::Dsr;
    let mut bench = scene(forward, network.contains(':'), Scheduler::Maglev, MINUTE);
    bench.flood(1_000, 3);
    for last in 1..=3 {
        assert!(made(&bench.send(&ack(forward, from(network, last, 1000)))));
    }
    let fourth = ack(forward, from(network, 4, 1000));
    let there = check_limited(&mut bench, &fourth);
    let again = check_limited(&mut bench, &fourth);
    assert_eq!(bench.chosen(&there), bench.chosen(&again));
    let datagram = Frame::udp(from(network, 5, 1000), vip(forward, fourth.v6()));
    let _outcome = check_limited(&mut bench, &datagram);
    assert!(made(&bench.send(&ack(forward, from(other, 1, 1000)))));

    bench.pass(S / 3 - 1_000_000);
    let _outcome = check_limited(&mut bench, &fourth);
    bench.pass(1_000_000);
    let outcome = bench.send(&fourth);
    assert!(made(&outcome), "{outcome:?}");
    assert_eq!(bench.chosen(&outcome), bench.chosen(&there));
    let _outcome = check_limited(&mut bench, &ack(forward, from(network, 5, 1000)));
}

#[test]
fn a_network_ipv4() {
    check_network(NETWORK_V4, OTHER_V4);
}

/// Networks are of 56 bits: another one differs in the seventh byte.
#[test]
fn a_network_ipv6() {
    check_network("2001:db8:1:1", "2001:db8:1:100");
}

#[test]
fn networks_of_56_bits() {
    let forward = Forward::Dsr;
    let mut bench = scene(forward, true, Scheduler::Maglev, MINUTE);
    bench.flood(1_000, 1);
    assert!(made(&bench.send(&ack(forward, from("2001:db8:1:1", 1, 1000)))));
    let same = ack(forward, from("2001:db8:1:ff", 1, 1000));
    let _outcome = check_limited(&mut bench, &same);
}

/// Where nothing would give the choice again, the packet is dropped: its port, its turn.
#[test]
fn without_a_second_choice_it_is_dropped() {
    for (forward, v6, scheduler) in [
        (Forward::Nat, false, Scheduler::Maglev),
        (Forward::Nat, true, Scheduler::Maglev),
        (Forward::Nat, false, Scheduler::RoundRobin),
        (Forward::Dsr, false, Scheduler::RoundRobin),
        (Forward::Dsr, true, Scheduler::RoundRobin),
    ] {
        for timeout_ns in [0, MINUTE] {
            let network = if v6 { "2001:db8:1:1" } else { NETWORK_V4 };
            let mut bench = scene(forward, v6, scheduler, timeout_ns);
            bench.flood(1_000, 1);
            assert!(made(&bench.send(&ack(forward, from(network, 1, 1000)))));
            let source = from(network, 2, 1000);
            check_dropped(&mut bench, &ack(forward, source));
            check_dropped(&mut bench, &Frame::tcp(source, vip(forward, v6), SYN));
            check_dropped(&mut bench, &Frame::udp(source, vip(forward, v6)));
            bench.pass(S);
            assert!(made(&bench.send(&ack(forward, source))), "{forward:?} {scheduler:?}");
        }
    }
}

/// All together: other networks have no more either; packets of flows under way go on.
#[test]
fn all_networks() {
    for forward in [Forward::Nat, Forward::Dsr] {
        let mut bench = scene(forward, false, Scheduler::Maglev, MINUTE);
        bench.flood(2, 1_000);
        let first = ack(forward, from(NETWORK_V4, 1, 1000));
        assert!(made(&bench.send(&first)));
        assert!(made(&bench.send(&ack(forward, from(OTHER_V4, 1, 1000)))));
        let other = ack(forward, from("203.0.112", 1, 1000));
        if forward == Forward::Nat {
            check_dropped(&mut bench, &other);
        } else {
            let _outcome = check_limited(&mut bench, &other);
        }
        for _ in 0..3 {
            let outcome = bench.send(&first);
            assert_eq!(outcome.fate(), Event::Forwarded, "a flow under way");
            assert!(!made(&outcome) && !outcome.has(Event::FlowLimited), "{outcome:?}");
        }
        bench.pass(S / 2);
        assert!(made(&bench.send(&other)));
    }
}

/// What a network has used up its pinned clients do not miss, nor what all have: they have rates
/// of their own. Beyond those, the pin gives the choice again where nothing is translated, whatever
/// the scheduler.
#[test]
fn clients_with_a_pin() {
    for (forward, scheduler) in [
        (Forward::Nat, Scheduler::Maglev),
        (Forward::Dsr, Scheduler::Maglev),
        (Forward::Dsr, Scheduler::RoundRobin),
    ] {
        for (all, network) in [(100, 3), (3, 100)] {
            let mut bench = scene(forward, false, scheduler, MINUTE);
            let outcome = bench.send(&ack(forward, from(NETWORK_V4, 1, 999)));
            let _outcome = bench.send(&ack(forward, from(NETWORK_V4, 1, 999)));
            assert_eq!(bench.pins().len(), 1);
            let pinned = bench.chosen(&outcome);
            bench.flood(all, network);
            // Its neighbours, forged.
            let mut limited = 0;
            for last in 2..20 {
                let outcome = bench.send(&ack(forward, from(NETWORK_V4, last, 1000)));
                limited += u32::from(!made(&outcome));
            }
            assert_eq!(limited, 15);
            for port in 1000..1003 {
                let outcome = bench.send(&ack(forward, from(NETWORK_V4, 1, port)));
                assert!(made(&outcome), "{forward:?}: {outcome:?}");
                assert_eq!(bench.chosen(&outcome), pinned);
            }
            let beyond = ack(forward, from(NETWORK_V4, 1, 1003));
            if forward == Forward::Nat {
                check_dropped(&mut bench, &beyond);
            } else {
                let outcome = check_limited(&mut bench, &beyond);
                assert_eq!(bench.chosen(&outcome), pinned);
            }
        }
    }
}

/// What leaves nothing anyway takes nothing from the rate: packets for nobody, and bad ones.
#[test]
fn only_what_makes_a_flow_is_counted() {
    let forward = Forward::Dsr;
    let mut bench = scene(forward, false, Scheduler::Maglev, MINUTE);
    bench.flood(1, 1);
    let source = from(NETWORK_V4, 1, 1000);
    for frame in [
        Frame::tcp(source, socket("203.0.113.10:4711"), ACK),
        Frame::tcp(source, vip(forward, false), 0),
        ack(forward, source).ttl(1),
        Frame::tcp(source, vip(forward, false), tests::packet::RST),
    ] {
        let outcome = bench.send(&frame);
        assert!(!made(&outcome) && !outcome.has(Event::FlowLimited), "{frame}: {outcome:?}");
    }
    assert!(made(&bench.send(&ack(forward, source))));
}
