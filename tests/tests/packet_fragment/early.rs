//! Fragments that come before their datagram's first one.

use lb_common::{
    event::Event,
    layout::{Forward, Protocol},
};
use tests::{
    bench::{
        Bench, S,
        site::{VIP_V4, VIP_V6, client},
        socket,
    },
    packet::Frame,
};

use crate::scene::{fragments, long, send_all, together};

/// Three backends behind UDP listeners at these ports, each with pins of its own for so long, or
/// all with the same scope.
fn bench(forward: Forward, v6: bool, ports: &[u16], timeout_ns: u64, shared: bool) -> Bench {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let addresses = if v6 {
        ["[fd00::11]:0", "[fd00::12]:0", "[fd00::13]:0"]
    } else {
        ["10.0.0.11:0", "10.0.0.12:0", "10.0.0.13:0"]
    };
    let ids = addresses.map(|address| bench.backend(pool, address));
    bench.table(pool, &ids);
    for port in ports {
        let key = bench.listener(Protocol::Udp, &vip(v6, *port).to_string(), pool, timeout_ns);
        if shared {
            bench.change_vip(key, |vip| vip.scope = 1);
            bench.own(key.address, |own| own.udp_port_be = 80_u16.to_be());
        }
    }
    bench
}

fn vip(v6: bool, port: u16) -> std::net::SocketAddr {
    socket(&format!("{}:{port}", if v6 { VIP_V6 } else { VIP_V4 }))
}

fn packet(v6: bool) -> Frame {
    long(&Frame::udp(client(v6), vip(v6, 80)))
}

/// By the pin, else by the hash, which is where the first goes too; nothing is made by them.
#[test]
fn a_client_that_has_one_backend() {
    for v6 in [false, true] {
        for (ports, shared) in [(&[80][..], false), (&[80, 81, 443], true)] {
            let mut bench = bench(Forward::Dsr, v6, ports, 60 * S, shared);
            let all = fragments(&packet(v6), 7);
            let late = send_all(&mut bench, &all[1..], Event::Forwarded);
            for one in &late {
                assert_eq!(one.events(), [Event::Forwarded, Event::FragmentPlaced], "{one}");
            }
            let left = (bench.flows().len(), bench.pins().len(), bench.datagrams().len());
            assert_eq!(left, (0, 0, 0), "made by a fragment without ports");
            let by_hash = bench.chosen(&late[0]);
            let first = send_all(&mut bench, &all[..1], Event::Forwarded);
            assert_eq!(bench.chosen(&first[0]), by_hash);
            let (got, _) = together(&[first, late].concat());
            assert_eq!(got.payload, packet(v6).payload);

            // Pinned, and then the hash says something else.
            let _second = send_all(&mut bench, &all[..1], Event::Forwarded);
            bench.table(1, &[1 + by_hash % 3]);
            for one in send_all(&mut bench, &fragments(&packet(v6), 8)[1..], Event::Forwarded) {
                assert_eq!(bench.chosen(&one), by_hash, "{one}");
            }
            let pin = bench.pin();
            bench.pass(60 * S - 1);
            for one in send_all(&mut bench, &fragments(&packet(v6), 9)[1..], Event::Forwarded) {
                assert_eq!(bench.chosen(&one), by_hash, "{one}");
            }
            assert_eq!(bench.pin(), pin, "refreshed by a fragment without ports");
            bench.pass(1);
            for one in send_all(&mut bench, &fragments(&packet(v6), 10)[1..], Event::Forwarded) {
                assert_ne!(bench.chosen(&one), by_hash, "{one}");
            }
        }
    }
}

/// Where ports have a say, and where packets are translated, the first alone knows the way.
#[test]
fn a_client_that_may_have_several() {
    for v6 in [false, true] {
        for (forward, ports, timeout_ns) in [
            (Forward::Dsr, &[80][..], 0),
            (Forward::Dsr, &[80, 81], 60 * S),
            (Forward::Nat, &[80], 60 * S),
            (Forward::Nat, &[80], 0),
        ] {
            let mut bench = bench(forward, v6, ports, timeout_ns, false);
            let all = fragments(&packet(v6), 7);
            send_all(&mut bench, &all[1..3], Event::DropFragmentEarly);
            send_all(&mut bench, &all[..1], Event::Forwarded);
            send_all(&mut bench, &all[3..], Event::Forwarded);
        }
    }
}

#[test]
fn of_a_protocol_without_listeners() {
    for v6 in [false, true] {
        let mut bench = bench(Forward::Dsr, v6, &[80], 60 * S, false);
        let mut tcp = Frame::tcp(client(v6), vip(v6, 80), 16);
        tcp.payload = vec![7; 4_000];
        let all = fragments(&tcp, 7);
        send_all(&mut bench, &all[1..], Event::PassFragment);
        send_all(&mut bench, &all[..1], Event::PassNoListener);
    }
}

#[test]
fn where_there_is_no_backend() {
    for v6 in [false, true] {
        let mut bench = bench(Forward::Dsr, v6, &[80], 60 * S, false);
        bench.table(1, &[]);
        send_all(&mut bench, &fragments(&packet(v6), 7), Event::DropNoBackend);
    }
}
