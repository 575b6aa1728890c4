//! What a pin is of (P1).

use lb_common::{
    address::Address,
    event::Event,
    layout::{Forward, PinKey, Protocol},
};
use tests::{
    bench::{S, socket},
    packet::{Frame, SYN},
};

use crate::scene::{Scene, VIP_V6, scene};

#[test]
fn p1_a_pin_is_of_one_listener() {
    let mut scene = Scene::pinned(60 * S);
    assert_eq!(scene.connect("192.0.2.1"), scene.a, "the same listener");
    assert_eq!(scene.datagram("192.0.2.1"), scene.b, "another listener");
    assert_eq!(scene.connect("192.0.2.2"), scene.b, "another client");
    assert_eq!(scene.bench.pins().len(), 3);
}

#[test]
fn p1_a_group_shares_pins_over_ports_and_protocols() {
    let mut scene = scene(60 * S);
    let (tcp, udp) = (scene.tcp, scene.udp);
    let other = scene.bench.listener(Protocol::Tcp, "203.0.113.10:443", scene.pool, 60 * S);
    for key in [tcp, udp, other] {
        scene.bench.change_vip(key, |vip| vip.scope = 9);
    }
    assert_eq!(scene.datagram("192.0.2.1"), scene.a);
    scene.table_to_b();
    assert_eq!(scene.connect("192.0.2.1"), scene.a);
    let to_other = Frame::tcp(socket("192.0.2.1:5"), socket("203.0.113.10:443"), SYN);
    let outcome = scene.bench.send(&to_other);
    assert!(outcome.has(Event::PinFollowed), "{outcome}");
    assert_eq!(scene.bench.chosen(&outcome), scene.a);
    assert_eq!(scene.bench.pins().len(), 1);
}

#[test]
fn p1_a_prefix_is_pinned_as_one_client() {
    let check = |bits: u8, first: &str, same: &[&str], other: &[&str]| {
        let v6 = first.contains(':');
        let mut scene = scene(60 * S);
        let key = if v6 {
            let pool = scene.bench.pool(Forward::Dsr);
            scene.pool = pool;
            scene.a = scene.bench.backend(pool, "[fd00::11]:0");
            scene.b = scene.bench.backend(pool, "[fd00::12]:0");
            let a = scene.a;
            scene.bench.table(pool, &[a]);
            scene.bench.listener(Protocol::Tcp, VIP_V6, pool, 60 * S)
        } else {
            scene.tcp
        };
        let mask = Address::mask(if v6 { bits } else { 96 + bits });
        scene.bench.change_vip(key, |vip| vip.client_mask = mask);
        assert_eq!(scene.connect(first), scene.a);
        scene.table_to_b();
        for client in same {
            assert_eq!(scene.connect(client), scene.a, "{client} is in {first}/{bits}");
        }
        for client in other {
            assert_eq!(scene.connect(client), scene.b, "{client} is not in {first}/{bits}");
        }
    };
    check(32, "192.0.2.128", &["192.0.2.128"], &["192.0.2.129", "192.0.2.127", "64.0.2.128"]);
    check(31, "192.0.2.128", &["192.0.2.129"], &["192.0.2.130", "192.0.2.127"]);
    check(24, "192.0.2.128", &["192.0.2.0", "192.0.2.255"], &["192.0.3.0", "192.0.1.255"]);
    check(8, "10.1.2.3", &["10.255.255.255", "10.0.0.1"], &["11.0.0.1", "9.255.255.255"]);
    check(
        128,
        "2001:db8::8000",
        &["2001:db8::8000"],
        &["2001:db8::8001", "2001:db8::7fff", "2001:db8:1::8000"],
    );
    check(
        64,
        "2001:db8:0:8::1",
        &["2001:db8:0:8:ffff:ffff:ffff:ffff", "2001:db8:0:8::"],
        &["2001:db8:0:9::1", "2001:db8:0:7:ffff::"],
    );
    check(56, "2001:db8:0:800::1", &["2001:db8:0:8ff::1"], &["2001:db8:0:900::1"]);
    check(48, "2001:db8:8::1", &["2001:db8:8:ffff::1"], &["2001:db8:9::1", "2001:db8:7::1"]);
}

#[test]
fn p1_the_pin_is_keyed_by_the_masked_address() {
    let mut scene = scene(60 * S);
    let key = scene.tcp;
    scene.bench.change_vip(key, |vip| vip.client_mask = Address::mask(96 + 24));
    let _a = scene.connect("192.0.2.77");
    let scope = scene.bench.vip(key).scope;
    let client = Address::from_v4([192, 0, 2, 0]);
    let pins: Vec<_> = scene.bench.pins().into_keys().collect();
    assert_eq!(pins, [PinKey { client, scope }]);
}
