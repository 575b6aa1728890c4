//! A flow through the balancer, and errors about its packets.

use std::net::IpAddr;

use lb_common::{event::Event, layout::Forward};
use tests::{
    bench::Bench,
    bench::site::{tcp, udp},
    outcome::Outcome,
    packet::{
        ACK, Frame,
        icmp::{self, Message, as_ip},
        ip::Ip,
    },
};

/// A router between balancer and clients.
pub(crate) fn router(v6: bool) -> IpAddr {
    address(if v6 { "2001:db8:77::1" } else { "198.51.100.77" })
}

/// One between balancer and backends.
pub(crate) fn inner_router(v6: bool) -> IpAddr {
    address(if v6 { "fd00:77::1" } else { "10.77.0.1" })
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A packet each way, as it was before and after the balancer.
pub(crate) struct Flow {
    /// From the client.
    pub(crate) sent: Ip,
    /// To the backend.
    pub(crate) forwarded: Ip,
    /// From the backend.
    pub(crate) answered: Ip,
    /// To the client.
    pub(crate) replied: Ip,
}

/// First packets of each protocol, long enough that a quote can be short.
pub(crate) fn packets(forward: Forward, v6: bool) -> [Frame; 3] {
    let payload = [7; 80];
    [
        tcp(forward, v6, ACK).tcp_options(&[1; 8]).payload(&payload),
        udp(forward, v6).payload(&payload),
        udp(forward, v6).payload(&payload).tags(&[(0x8100, 5)]),
    ]
}

/// Makes a flow of that packet; in `dsr` the answer goes past the balancer.
pub(crate) fn flow(bench: &mut Bench, packet: &Frame) -> Flow {
    let forwarded = bench.send(packet);
    assert_eq!(forwarded.fate(), Event::Forwarded, "{forwarded}");
    let forwarded = forwarded.parsed().frame;
    let answered = forwarded.clone().turned().payload(&[9; 90]).ttl(64);
    let replied = if forwarded.destination == packet.destination {
        answered.clone().ttl(63)
    } else {
        let replied = bench.send(&answered);
        assert_eq!(replied.fate(), Event::Replied, "{replied}");
        replied.parsed().frame
    };
    let [sent, forwarded, answered, replied] = [packet, &forwarded, &answered, &replied].map(as_ip);
    Flow { sent, forwarded, answered, replied }
}

/// The shortest quote that says which flow it is of.
pub(crate) fn shortest(v6: bool) -> usize {
    if v6 { 48 } else { 28 }
}

/// Quotes of lengths that are enough, one by one where headers are; but for the one that cuts
/// TCP's checksum in two, which nobody can mend.
pub(crate) fn quotes(about: &Ip) -> impl Iterator<Item = usize> + use<> {
    let header = shortest(about.source.is_ipv6()) - 8;
    let l4_len = about.payload.len();
    let tcp = about.protocol == 6;
    let lengths = (8..30).chain((30..l4_len).step_by(11)).chain([l4_len]);
    lengths.filter(move |len| !(tcp && *len == 17)).map(move |len| header + len)
}

/// Sends an error, and checks that it leaves nothing behind.
pub(crate) fn send(bench: &mut Bench, error: &Ip) -> Outcome {
    let all = |bench: &Bench| (bench.flows(), bench.pins(), bench.replies(), bench.datagrams());
    let before = all(bench);
    let outcome = bench.run(&error.build());
    assert_eq!(all(bench), before, "{error} left a trace");
    outcome
}

/// Checks that the packet sent is `want`, all bytes of it.
#[track_caller]
pub(crate) fn check_bytes(outcome: &Outcome, want: &Ip) {
    let got = outcome.ip();
    assert_eq!(outcome.bytes, want.build(), "\n want {want}\n  got {got}\n{outcome}");
}

/// The message in the packet sent, and whether its checksum is right.
pub(crate) fn message(outcome: &Outcome) -> (Message, bool) {
    let parsed = icmp::parse(&outcome.ip()).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    (parsed.message, parsed.sum_right)
}
