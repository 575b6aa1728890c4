//! Errors about translated packets go to the flow's client.

use lb_common::{
    event::Event,
    layout::{BackendState, Forward},
};
use tests::{
    bench::{
        NAT_SOURCE_V4, NAT_SOURCE_V6, S,
        site::{backend_of, site, vip},
    },
    packet::{BALANCER_MAC, CLIENT_MAC, icmp::Message, ip::Ip},
};

use crate::scene::{check_bytes, flow, inner_router, packets, quotes, send};

fn nat_source(v6: bool) -> std::net::IpAddr {
    if v6 { NAT_SOURCE_V6.into() } else { NAT_SOURCE_V4.into() }
}

#[test]
fn about_every_packet_at_every_length_of_quote() {
    let mut bench = site();
    for v6 in [false, true] {
        for packet in packets(Forward::Nat, v6) {
            bench.reset();
            let flow = flow(&mut bench, &packet);
            let near = Ip { ttl: 50, ..flow.forwarded.clone() };
            let far = Ip { ttl: 50, ..flow.sent.clone() };
            for len in quotes(&near) {
                // From a router, which the client may know of; from the backend, which it may not.
                let senders = [
                    (inner_router(v6), inner_router(v6)),
                    (flow.forwarded.destination, vip(Forward::Nat, v6).ip()),
                ];
                for (from, seen) in senders {
                    let make = |about: &Ip| match len % 3 {
                        0 => Message::unreachable(about, len),
                        _ => Message::too_big(about, 1400, len),
                    };
                    let error = make(&near).packet(from, nat_source(v6));
                    let outcome = send(&mut bench, &error);
                    assert_eq!(outcome.events(), [Event::IcmpReplied], "{error}: {outcome}");
                    let want = Ip {
                        to: CLIENT_MAC,
                        from: BALANCER_MAC,
                        tags: packet.tags.clone(),
                        ttl: error.ttl - 1,
                        ..make(&far).packet(seen, far.source)
                    };
                    check_bytes(&outcome, &want);
                }
            }
        }
    }
}

#[test]
fn while_the_flow_is_under_way() {
    let mut bench = site();
    for v6 in [false, true] {
        bench.reset();
        let near = flow(&mut bench, &packets(Forward::Nat, v6)[1]).forwarded;
        let error = Message::unreachable(&near, 100).packet(near.destination, near.source);
        bench.pass(300 * S - 1);
        assert_eq!(send(&mut bench, &error).events(), [Event::IcmpReplied]);
        bench.pass(1);
        assert_eq!(send(&mut bench, &error).events(), [Event::PassIcmpError]);

        bench.reset();
        let near = flow(&mut bench, &packets(Forward::Nat, v6)[1]).forwarded;
        let error = Message::unreachable(&near, 100).packet(near.destination, near.source);
        let id = backend_of(Forward::Nat, v6);
        bench.state(id, BackendState::Down);
        assert_eq!(send(&mut bench, &error).events(), [Event::PassIcmpError]);
        bench.state(id, BackendState::Ready);
        assert_eq!(send(&mut bench, &error).events(), [Event::IcmpReplied]);
        bench.forget_replies();
        assert_eq!(send(&mut bench, &error).events(), [Event::PassIcmpError]);
    }
}

/// A port outside those of flows is the kernel's.
#[test]
fn errors_about_the_balancers_own_packets_go_up() {
    let mut bench = site();
    for v6 in [false, true] {
        let mut near = flow(&mut bench, &packets(Forward::Nat, v6)[1]).forwarded;
        for port in [22_u16, 1023, 32_768, 60_000] {
            near.payload[..2].copy_from_slice(&port.to_be_bytes());
            let error = Message::unreachable(&near, 100).packet(near.destination, near.source);
            assert_eq!(send(&mut bench, &error).events(), [Event::PassIcmpError], "{port}");
        }
    }
}
