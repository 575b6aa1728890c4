//! Errors about packets to clients go to the flow's backend.

use lb_common::{
    event::Event,
    layout::{BackendState, Forward, Protocol},
};
use tests::{
    bench::{
        Bench, S, backend_mac, hop,
        site::{VIP_V4, VIP_V6, WAYS, backend_of, client, site, vip},
        socket,
    },
    packet::{BALANCER_MAC, Frame, icmp::Message, ip::Ip},
};

use crate::scene::{check_bytes, flow, packets, quotes, router, send};

#[test]
fn about_every_packet_at_every_length_of_quote() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let id = backend_of(forward, v6);
        for packet in packets(forward, v6) {
            let flow = flow(&mut bench, &packet);
            let far = Ip { ttl: 50, ..flow.replied.clone() };
            let near = Ip { ttl: 50, ..flow.answered.clone() };
            for len in quotes(&far) {
                let make = |about: &Ip| match len % 3 {
                    0 => Message::unreachable(about, len),
                    _ => Message::too_big(about, 1400, len),
                };
                let error = make(&far).packet(router(v6), vip(forward, v6).ip());
                let outcome = send(&mut bench, &error);
                assert_eq!(outcome.events(), [Event::IcmpForwarded], "{error}: {outcome}");
                let want = if forward == Forward::Nat {
                    make(&near).packet(near.destination, near.source)
                } else {
                    error.clone()
                };
                let sent =
                    Ip { to: backend_mac(id), from: BALANCER_MAC, ttl: error.ttl - 1, ..want };
                check_bytes(&outcome, &sent);
            }
        }
    }
}

#[test]
fn by_every_way_in_and_out() {
    let mut bench = site();
    let tags: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 7)], &[(0x88a8, 5), (0x8100, 6)]];
    for (forward, v6) in WAYS {
        let id = backend_of(forward, v6);
        for out in tags {
            bench.change_backend(id, |backend| backend.hop = hop(id, 2, out));
            for tags in tags {
                let flow = flow(&mut bench, &packets(forward, v6)[0]);
                let error = Message::too_big(&flow.replied, 1280, 200)
                    .packet(router(v6), vip(forward, v6).ip())
                    .tags(tags);
                let mut variants = vec![error.clone()];
                if v6 {
                    let padding = vec![1, 4, 0, 0, 0, 0];
                    variants.push(Ip { extensions: vec![(0, padding)], ..error });
                } else {
                    variants.push(Ip { options: vec![1; 40], ..error });
                }
                for error in variants {
                    let outcome = send(&mut bench, &error);
                    assert_eq!(outcome.fate(), Event::IcmpForwarded, "{error}: {outcome}");
                    let sent = outcome.ip();
                    assert_eq!((sent.to, &sent.tags[..]), (backend_mac(id), out), "{outcome}");
                    let kept = (&sent.options, &sent.extensions);
                    assert_eq!(kept, (&error.options, &error.extensions), "{outcome}");
                }
            }
        }
    }
}

/// Three backends, each with a third of the clients.
fn three(forward: Forward, v6: bool) -> (Bench, [u32; 3]) {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let addresses = if v6 {
        ["[fd00::11]:0", "[fd00::12]:0", "[fd00::13]:0"]
    } else {
        ["10.0.0.11:0", "10.0.0.12:0", "10.0.0.13:0"]
    };
    let ids = addresses.map(|address| bench.backend(pool, address));
    bench.table(pool, &ids);
    let address = format!("{}:80", if v6 { VIP_V6 } else { VIP_V4 });
    let _key = bench.listener(Protocol::Udp, &address, pool, 60 * S);
    (bench, ids)
}

/// The flow's backend; else the pin's; else the hash's.
#[test]
fn flow_then_pin_then_hash() {
    for v6 in [false, true] {
        let (mut bench, ids) = three(Forward::Dsr, v6);
        let at = socket(&format!("{}:80", if v6 { VIP_V6 } else { VIP_V4 }));
        let packet = Frame::udp(client(v6), at);
        let about = flow(&mut bench, &packet).replied;
        let error = Message::unreachable(&about, 100).packet(router(v6), at.ip());
        let check = |bench: &mut Bench, id: u32, why: &str| {
            let outcome = send(bench, &error);
            assert_eq!(outcome.fate(), Event::IcmpForwarded, "{why}: {outcome}");
            assert_eq!(outcome.ip().to, backend_mac(id), "{why}: {outcome}");
        };
        let first = bench.flows().into_values().next().expect("a flow").backend.id();
        let other = if first == ids[0] { ids[1] } else { ids[0] };
        bench.table(1, &[other]);
        check(&mut bench, first, "the flow's");
        bench.forget_pins();
        check(&mut bench, first, "the flow's, without a pin");
        bench.state(first, BackendState::Evacuating);
        check(&mut bench, first, "the flow's, which evacuates");
        bench.state(first, BackendState::Ready);

        bench.reset();
        bench.table(1, &[first]);
        for _ in 0..2 {
            assert_eq!(bench.send(&packet).fate(), Event::Forwarded);
        }
        bench.table(1, &[other]);
        bench.forget_flows();
        check(&mut bench, first, "the pin's");
        bench.pass(60 * S - 1);
        check(&mut bench, first, "the pin's, still");
        bench.pass(1);
        check(&mut bench, other, "the hash's: the pin is over");
        bench.forget_pins();
        check(&mut bench, other, "the hash's");
        bench.table(1, &[]);
        let outcome = send(&mut bench, &error);
        assert_eq!(outcome.fate(), Event::DropNoBackend, "{outcome}");
    }
}

/// Without its flow's entry nobody knows what the backend would call it.
#[test]
fn a_translated_flow_must_be_known() {
    for v6 in [false, true] {
        let (mut bench, _) = three(Forward::Nat, v6);
        let at = socket(&format!("{}:80", if v6 { VIP_V6 } else { VIP_V4 }));
        let about = flow(&mut bench, &Frame::udp(client(v6), at)).replied;
        let error = Message::too_big(&about, 1280, 100).packet(router(v6), at.ip());
        let check = |bench: &mut Bench, want: Event| {
            let outcome = send(bench, &error);
            assert_eq!(outcome.events(), [want], "{outcome}");
        };
        check(&mut bench, Event::IcmpForwarded);
        bench.pass(300 * S - 1);
        check(&mut bench, Event::IcmpForwarded);
        bench.pass(1);
        check(&mut bench, Event::PassIcmpError);
        bench.reset();
        check(&mut bench, Event::PassIcmpError);
    }
}

#[test]
fn a_backend_that_is_gone_gets_none() {
    for v6 in [false, true] {
        let (mut bench, ids) = three(Forward::Nat, v6);
        let at = socket(&format!("{}:80", if v6 { VIP_V6 } else { VIP_V4 }));
        let about = flow(&mut bench, &Frame::udp(client(v6), at)).replied;
        let error = Message::too_big(&about, 1280, 100).packet(router(v6), at.ip());
        for id in ids {
            bench.state(id, BackendState::Down);
        }
        assert_eq!(send(&mut bench, &error).events(), [Event::PassIcmpError]);
    }
}
