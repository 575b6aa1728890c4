//! The two lines that a flow can be in: which it gets, and that it does not stay in the other one.

use lb_common::{
    event::Event,
    fingerprint,
    layout::{FlowKey, Forward, Protocol, TcpState},
};
use tests::{
    bench::{Bench, S, SEED, socket},
    packet::{ACK, Frame, RST},
};

const VIP: &str = "203.0.113.10:80";

fn bench(forward: Forward) -> Bench {
    let mut bench = Bench::with_lines_of_flows(2);
    let pool = bench.pool(forward);
    let [a, b] = ["10.0.0.11:0", "10.0.0.12:0"].map(|address| bench.backend(pool, address));
    bench.table(pool, &[a, b]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 600 * S);
    bench
}

fn segment(port: u16, flags: u8) -> Frame {
    Frame::tcp(socket(&format!("192.0.2.1:{port}")), socket(VIP), flags)
}

/// Ports of flows whose first line is 0 and whose other one is 1.
fn ports() -> impl Iterator<Item = u16> {
    let keys = fingerprint::keys(SEED);
    (1000..u16::MAX).filter(move |port| {
        let (from, to) = (socket(&format!("192.0.2.1:{port}")), socket(VIP));
        let flow = FlowKey {
            source: from.ip().into(),
            destination: to.ip().into(),
            source_port_be: from.port().to_be(),
            destination_port_be: to.port().to_be(),
            protocol: Protocol::Tcp.code(),
            pad: [0; 3],
        };
        fingerprint::of_flow(&keys, &flow).lines(2) == [0, 1]
    })
}

/// Sends a packet of a flow that is known.
fn go_on(bench: &mut Bench, port: u16, flags: u8) {
    let outcome = bench.send(&segment(port, flags));
    assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
    // There are as few entries for answers as for flows: some are made anew.
    let known = |event: &Event| matches!(event, Event::Forwarded | Event::ReplyMade);
    assert!(outcome.events().iter().all(known), "{outcome}");
}

/// Four flows in the first line, and one that found it full; the ports.
fn five_flows(bench: &mut Bench) -> [u16; 5] {
    let ports: Vec<u16> = ports().take(5).collect();
    for port in &ports {
        let _unproven = bench.send(&segment(*port, ACK));
        let _proof = bench.send(&segment(*port, ACK));
    }
    assert_eq!(bench.flow_places(), [0, 0, 0, 0, 1]);
    ports.try_into().expect("five")
}

#[test]
fn a_flow_comes_forward_when_there_is_room() {
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = bench(forward);
        let [first, .., last] = five_flows(&mut bench);
        go_on(&mut bench, first, RST);
        // Not over yet: a packet may be on its way.
        bench.pass(9 * S);
        go_on(&mut bench, last, ACK);
        assert_eq!(bench.flow_places(), [0, 0, 0, 0, 1]);
        bench.pass(2 * S);
        let before = bench.flows();
        go_on(&mut bench, last, ACK);
        assert_eq!(bench.flow_places(), [0; 4]);
        let noted = bench.now();
        let moved = bench.flows();
        let (key, held) = moved
            .iter()
            .find(|(key, _)| u16::from_be(key.source_port_be) == last)
            .expect("the flow that was in the other line");
        assert_eq!((held.backend, held.port), (before[key].backend, before[key].port));
        assert!(held.seen_ns + S / 8 > noted, "it is noted where it is now");
        // It is found there, and its state changes there.
        go_on(&mut bench, last, ACK);
        bench.pass(2 * S);
        go_on(&mut bench, last, ACK);
        go_on(&mut bench, last, RST);
        assert_eq!(bench.flows()[key].state, TcpState::Reset.code());
    }
}

#[test]
fn nobody_under_way_is_driven_out_for_it() {
    let mut bench = bench(Forward::Dsr);
    let ports = five_flows(&mut bench);
    for _ in 0..5 {
        bench.pass(2 * S);
        for port in ports {
            go_on(&mut bench, port, ACK);
        }
        assert_eq!(bench.flow_places(), [0, 0, 0, 0, 1]);
    }
}
