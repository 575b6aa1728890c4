//! Long datagrams, and their way through the balancer in fragments.

use lb_common::event::Event;
use tests::{
    bench::Bench,
    outcome::Outcome,
    packet::{Frame, icmp::as_ip, ip::Ip, parse},
};

/// A datagram of eight thousand bytes.
pub(crate) fn long(packet: &Frame) -> Frame {
    let payload: Vec<u8> = (0..8_000_u16).map(|i| (i % 251) as u8).collect();
    packet.clone().payload(&payload)
}

/// As an Ethernet carries it.
pub(crate) fn fragments(packet: &Frame, id: u32) -> Vec<Ip> {
    let bytes = if packet.v6() { 1448 } else { 1480 };
    as_ip(packet).fragments(id, bytes)
}

/// Sends them all, in that order; each must come to `fate`.
#[track_caller]
pub(crate) fn send_all(bench: &mut Bench, fragments: &[Ip], fate: Event) -> Vec<Outcome> {
    let send = |one: &Ip| {
        let outcome = bench.run(&one.build());
        assert_eq!(outcome.fate(), fate, "{one}: {outcome}");
        outcome
    };
    fragments.iter().map(send).collect()
}

/// The datagram that these make, with its checksums right, and its identification.
#[track_caller]
pub(crate) fn together(outcomes: &[Outcome]) -> (Frame, u32) {
    let fragments: Vec<Ip> = outcomes.iter().map(Outcome::ip).collect();
    let id = fragments[0].part().expect("a fragment").id;
    let whole = Ip::whole(&fragments);
    let parsed = parse(&whole.build()).unwrap_or_else(|error| panic!("{error}: {whole}"));
    assert!(parsed.ip_sum_right && parsed.transport_sum_right, "{whole}: wrong checksum");
    (parsed.frame, id)
}
