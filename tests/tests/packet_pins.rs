//! Pins, rule by rule of the persistence contract: P1, P3, P4, P5, P7, P8, P10, P11, P13.
//!
//! P2 is the configuration's and tested there; P12 and P14 are not in this version; P6 and P9 are
//! in `packet_flows` and `packet_service`.
//!
//! The pool's table names one backend at a time, so that "the hash's choice" can be told from
//! "the pin's": clients are pinned to A, then the table is all B.

use std::net::SocketAddr;

use lb_common::{
    address::Address,
    event::Event,
    layout::{BackendRef, Forward, PinKey, Protocol, Refresh, VipKey},
    pin::refresh_step_ns,
    select::{client_hash, flow_hash},
};
use tests::{
    bench::{Bench, S, SEED, START, socket},
    packet::{ACK, Frame, SYN},
};

const VIP: &str = "203.0.113.10:80";
const VIP_V6: &str = "[2001:db8:f::10]:80";

/// Two backends, a TCP and a UDP listener; the table is all A.
struct Scene {
    bench: Bench,
    pool: u32,
    tcp: VipKey,
    udp: VipKey,
    a: u32,
    b: u32,
    /// Source port of the next new flow.
    port: u16,
}

fn scene(timeout_ns: u64) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Dsr);
    let a = bench.backend(pool, "10.0.0.11:0");
    let b = bench.backend(pool, "10.0.0.12:0");
    bench.table(pool, &[a]);
    let tcp = bench.listener(Protocol::Tcp, VIP, pool, timeout_ns);
    let udp = bench.listener(Protocol::Udp, VIP, pool, timeout_ns);
    Scene { bench, pool, tcp, udp, a, b, port: 1000 }
}

impl Scene {
    /// A new TCP flow from there: the backend that it gets.
    fn connect(&mut self, client: &str) -> u32 {
        let packet = self.syn(client);
        let outcome = self.bench.send(&packet);
        self.bench.chosen(&outcome)
    }

    /// The first packet of a new TCP flow.
    fn syn(&mut self, client: &str) -> Frame {
        self.port += 1;
        let client = SocketAddr::new(client.parse().expect("an address"), self.port);
        Frame::tcp(client, socket(if client.is_ipv4() { VIP } else { VIP_V6 }), SYN)
    }

    /// A new UDP flow from there: the backend that it gets.
    fn datagram(&mut self, client: &str) -> u32 {
        self.port += 1;
        let client = SocketAddr::new(client.parse().expect("an address"), self.port);
        let outcome = self.bench.send(&Frame::udp(client, socket(VIP)));
        self.bench.chosen(&outcome)
    }

    /// A client pinned to A, and the table all B.
    fn pinned(timeout_ns: u64) -> Self {
        let mut scene = scene(timeout_ns);
        assert_eq!(scene.connect("192.0.2.1"), scene.a);
        scene.table_to_b();
        scene
    }

    /// The same over again: a client pinned to A, the table all B, by these listeners' timeout.
    fn pin_again(&mut self, timeout_ns: u64) {
        self.bench.reset();
        let a = self.a;
        self.bench.table(self.pool, &[a]);
        let key = self.tcp;
        self.bench.change_vip(key, |vip| {
            vip.timeout_ns = timeout_ns;
            vip.refresh_ns = refresh_step_ns(timeout_ns);
        });
        assert_eq!(self.connect("192.0.2.1"), a);
        self.table_to_b();
    }

    fn table_to_b(&mut self) {
        self.bench.table(self.pool, &[self.b]);
    }
}

const TIMEOUTS: [u64; 6] = [S, 2 * S, 4 * S, 60 * S, 1800 * S, 3600 * S];

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

#[test]
fn p3_valid_below_the_timeout_and_gone_at_it() {
    let mut scene = Scene::pinned(60 * S);
    for timeout in TIMEOUTS {
        for (age, valid) in
            [(0, true), (1, true), (timeout - 1, true), (timeout, false), (timeout + 1, false)]
        {
            scene.pin_again(timeout);
            scene.bench.pass(age);
            let packet = scene.syn("192.0.2.1");
            let outcome = scene.bench.send(&packet);
            let want = if valid { scene.a } else { scene.b };
            assert_eq!(scene.bench.chosen(&outcome), want, "{age} of {timeout}: {outcome}");
            assert_eq!(outcome.has(Event::PinFollowed), valid, "{age} of {timeout}: {outcome}");
            assert_eq!(outcome.has(Event::PinRenewed), !valid, "{age} of {timeout}: {outcome}");
        }
    }
}

#[test]
fn p3_a_pin_made_anew_is_a_new_pin() {
    let mut scene = Scene::pinned(60 * S);
    let key = scene.tcp;
    scene.bench.change_vip(key, |vip| vip.max_lifetime_ns = 90 * S);
    scene.bench.pass(60 * S);
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
    let pin = scene.bench.pin();
    assert_eq!((pin.created_ns, pin.last_seen_ns), (START + 60 * S, START + 60 * S));
    assert_eq!(pin.backend, BackendRef::new(scene.b, 1));
}

/// A pin's `last_seen`, after the packet.
fn seen_after(scene: &mut Scene, packet: &Frame) -> u64 {
    let _any = scene.bench.send(packet);
    scene.bench.pin().last_seen_ns
}

#[test]
fn p4_who_refreshes_a_pin_and_from_which_age_on() {
    let mut scene = scene(60 * S);
    let mut check = |refresh: Refresh, timeout: u64, new_flow: bool, age: u64, want: bool| {
        scene.bench.reset();
        let key = scene.tcp;
        scene.bench.change_vip(key, |vip| {
            vip.refresh = refresh.code();
            vip.timeout_ns = timeout;
            vip.refresh_ns = refresh_step_ns(timeout);
        });
        let syn = scene.syn("192.0.2.1");
        let first = Frame::tcp(syn.source, syn.destination, ACK);
        assert_eq!(seen_after(&mut scene, &first), START);
        scene.bench.pass(age);
        // The same segment again: it changes no state.
        let packet = if new_flow { scene.syn("192.0.2.1") } else { first };
        let seen = seen_after(&mut scene, &packet);
        let case = format!("{refresh:?}, timeout {timeout}, new flow {new_flow}, age {age}");
        assert_eq!(seen, if want { START + age } else { START }, "{case}");
        assert_eq!(scene.bench.pin().created_ns, START, "{case}");
    };
    for timeout in TIMEOUTS {
        let step = refresh_step_ns(timeout);
        assert!(step <= S && step <= timeout / 4);
        for (age, due) in [(step - 1, false), (step, true), (step + 1, true), (timeout - 1, true)] {
            check(Refresh::Activity, timeout, false, age, due);
            check(Refresh::Activity, timeout, true, age, due);
            check(Refresh::NewConnection, timeout, false, age, false);
            check(Refresh::NewConnection, timeout, true, age, due);
            check(Refresh::Never, timeout, false, age, false);
            check(Refresh::Never, timeout, true, age, false);
        }
    }
}

#[test]
fn p4_an_active_connection_keeps_its_pin() {
    for timeout in TIMEOUTS {
        let mut scene = scene(timeout);
        let packet = scene.syn("192.0.2.1");
        let _first = scene.bench.send(&packet);
        scene.table_to_b();
        // Packets as far apart as the refresh step allows at the least.
        for _ in 0..20 {
            scene.bench.pass(timeout - refresh_step_ns(timeout));
            let _next = scene.bench.send(&packet);
        }
        scene.bench.pass(timeout - 1);
        assert_eq!(scene.connect("192.0.2.1"), scene.a, "timeout {timeout}");
    }
}

#[test]
fn p4_answers_are_activity_too() {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let a = bench.backend(pool, "10.0.0.11:80");
    bench.table(pool, &[a]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 60 * S);
    let client = socket("192.0.2.1:40000");
    let answer = bench.send(&Frame::tcp(client, socket(VIP), SYN)).parsed().frame.turned();
    // Answers that are noted, by the shortest refresh step.
    for (age, seen) in [(S - 1, 0), (S - 1 + S / 4, S - 1 + S / 4), (60 * S, 60 * S)] {
        bench.at(START + age);
        assert_eq!(bench.send(&answer).fate(), Event::Replied);
        assert_eq!(bench.pin().last_seen_ns, START + seen, "{age}");
    }
}

#[test]
fn p4_max_lifetime_bounds_every_mode() {
    for refresh in [Refresh::Activity, Refresh::NewConnection, Refresh::Never] {
        for (age, valid) in [(40 * S - 1, true), (40 * S, false), (40 * S + 1, false)] {
            let mut scene = scene(60 * S);
            let key = scene.tcp;
            scene.bench.change_vip(key, |vip| {
                vip.refresh = refresh.code();
                vip.max_lifetime_ns = 40 * S;
            });
            let packet = scene.syn("192.0.2.1");
            let _first = scene.bench.send(&packet);
            scene.table_to_b();
            scene.bench.at(START + 30 * S);
            let _refreshes = scene.bench.send(&packet);
            assert_eq!(scene.connect("192.0.2.1"), scene.a);
            scene.bench.at(START + age);
            let want = if valid { scene.a } else { scene.b };
            assert_eq!(scene.connect("192.0.2.1"), want, "{refresh:?} at {age}");
        }
    }
}

#[test]
fn p4_a_pin_over_its_time_is_not_refreshed_by_its_flow() {
    let mut scene = scene(60 * S);
    let packet = scene.syn("192.0.2.1");
    let _first = scene.bench.send(&packet);
    scene.table_to_b();
    scene.bench.pass(60 * S);
    assert_eq!(seen_after(&mut scene, &packet), START);
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
}

#[test]
fn p5_a_flow_on_an_old_backend_leaves_the_new_pin_alone() {
    let mut scene = scene(60 * S);
    let old = scene.syn("192.0.2.1");
    let _a = scene.bench.send(&old);
    scene.bench.pass(60 * S);
    scene.table_to_b();
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
    let pin = scene.bench.pin();
    for age in [1, S, 2 * S, 30 * S, 59 * S] {
        scene.bench.at(START + 60 * S + age);
        let outcome = scene.bench.send(&old);
        assert_eq!(scene.bench.chosen(&outcome), scene.a, "P6: the flow stays");
        assert_eq!(scene.bench.pin(), pin, "refreshed, overwritten or deleted at {age}");
    }
    scene.bench.at(START + 120 * S);
    let a = scene.a;
    scene.bench.table(scene.pool, &[a]);
    assert_eq!(scene.connect("192.0.2.1"), scene.a, "the pin ran out in spite of the old flow");
}

#[test]
fn p5_a_flow_of_an_older_life_leaves_the_pin_alone() {
    let mut scene = scene(60 * S);
    let old = scene.syn("192.0.2.1");
    let _a = scene.bench.send(&old);
    let a = scene.a;
    // Down and up again, flows kept (`on_down = "keep"`).
    scene.bench.change_backend(a, |backend| backend.generation += 1);
    assert_eq!(scene.connect("192.0.2.1"), a);
    let pin = scene.bench.pin();
    assert_eq!(pin.backend, BackendRef::new(a, 2));
    scene.bench.pass(30 * S);
    let outcome = scene.bench.send(&old);
    assert_eq!(scene.bench.chosen(&outcome), a);
    assert_eq!(scene.bench.pin(), pin);
}

#[test]
fn p7_what_is_being_reclaimed_is_left_alone() {
    let mut scene = Scene::pinned(60 * S);
    let mut check = |age: u64, mark: u64, want: Event| {
        scene.pin_again(60 * S);
        let before = scene.bench.pin();
        scene.bench.pass(age);
        scene.bench.reclaim_before(mark);
        let packet = scene.syn("192.0.2.1");
        let outcome = scene.bench.send(&packet);
        assert!(outcome.has(want), "age {age}, mark {mark}: {outcome}");
        if want == Event::PinReclaiming {
            assert_eq!(scene.bench.pin(), before, "age {age}, mark {mark}");
            assert_eq!(scene.bench.chosen(&outcome), scene.b, "by the hash");
        }
        // The sweep over, the flow pins its client after all.
        scene.bench.forget_pins();
        scene.bench.reclaim_before(0);
        scene.bench.pass(S);
        let outcome = scene.bench.send(&packet);
        assert_eq!(outcome.has(Event::PinMade), want == Event::PinReclaiming, "{outcome}");
    };
    check(60 * S, START, Event::PinRenewed);
    check(60 * S, START + 1, Event::PinReclaiming);
    check(61 * S, START + 1, Event::PinReclaiming);
    check(60 * S - 1, START + 1, Event::PinFollowed);
    check(60 * S, 0, Event::PinRenewed);
}

#[test]
fn p7_an_expired_pin_is_void_without_any_sweep() {
    let mut scene = Scene::pinned(60 * S);
    scene.bench.pass(60 * S);
    assert_eq!(scene.bench.pins().len(), 1, "nobody has deleted it");
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
}

#[test]
fn p8_the_hash_gives_every_new_client_its_slots_backend() {
    let mut scene = scene(60 * S);
    let table: Vec<u16> = (0..251)
        .map(|slot| u16::try_from(if slot % 3 == 0 { 1 } else { 2 }).expect("1, 2"))
        .collect();
    scene.bench.slots(scene.pool, &table);
    for last in 1..=250 {
        let client = format!("192.0.2.{last}");
        let hash = client_hash(SEED, Address::from_v4([192, 0, 2, last]));
        let want = u32::from(table[usize::try_from(hash % 251).expect("a slot")]);
        assert_eq!(scene.connect(&client), want, "{client}");
    }
}

#[test]
fn p8_a_lost_pin_leads_to_the_same_backend() {
    let mut scene = scene(60 * S);
    scene.bench.table(scene.pool, &[1, 2]);
    let clients: Vec<_> = (1..=100).map(|last| format!("192.0.2.{last}")).collect();
    let before: Vec<_> = clients.iter().map(|client| scene.connect(client)).collect();
    assert!(before.contains(&1) && before.contains(&2));
    scene.bench.forget_pins();
    let evicted: Vec<_> = clients.iter().map(|client| scene.connect(client)).collect();
    assert_eq!(evicted, before);
    scene.bench.pass(60 * S);
    let expired: Vec<_> = clients.iter().map(|client| scene.connect(client)).collect();
    assert_eq!(expired, before);
}

#[test]
fn p8_without_persistence_flows_are_spread_by_their_five_tuple() {
    let mut scene = scene(0);
    let table: Vec<u16> = (0..251).map(|slot| u16::from(slot % 2 == 0) + 1).collect();
    scene.bench.slots(scene.pool, &table);
    let mut on = [0; 3];
    for _ in 0..200 {
        let packet = scene.syn("192.0.2.1");
        let outcome = scene.bench.send(&packet);
        let flow = *scene
            .bench
            .flows()
            .iter()
            .find(|(key, _)| u16::from_be(key.source_port_be) == packet.source.port())
            .expect("its flow")
            .0;
        let slot = usize::try_from(flow_hash(SEED, &flow) % 251).expect("a slot");
        assert_eq!(scene.bench.chosen(&outcome), u32::from(table[slot]), "{packet}");
        on[scene.bench.chosen(&outcome) as usize] += 1;
        let again = scene.bench.send(&packet);
        assert_eq!(scene.bench.chosen(&again), u32::from(table[slot]), "the flow stays");
    }
    assert!(on[1] > 70 && on[2] > 70, "one client's flows are spread: {on:?}");
    assert!(scene.bench.pins().is_empty());
}

#[test]
fn p10_a_changed_timeout_applies_to_pins_that_exist() {
    let mut scene = Scene::pinned(60 * S);
    let mut check = |from: u64, to: u64, age: u64, valid: bool| {
        scene.pin_again(from);
        let key = scene.tcp;
        scene.bench.change_vip(key, |vip| {
            vip.timeout_ns = to;
            vip.refresh_ns = refresh_step_ns(to);
        });
        scene.bench.pass(age);
        let want = if valid { scene.a } else { scene.b };
        assert_eq!(scene.connect("192.0.2.1"), want, "{from} to {to} at {age}");
    };
    // Shorter.
    check(3600 * S, 60 * S, 60 * S - 1, true);
    check(3600 * S, 60 * S, 60 * S, false);
    check(3600 * S, 60 * S, 60 * S + 1, false);
    // Longer: a pin that would be gone is valid still.
    check(60 * S, 3600 * S, 60 * S, true);
    check(60 * S, 3600 * S, 3600 * S - 1, true);
    check(60 * S, 3600 * S, 3600 * S, false);
}

#[test]
fn p10_persistence_turned_off_and_on() {
    let mut scene = Scene::pinned(60 * S);
    let key = scene.tcp;
    let scope = scene.bench.vip(key).scope;
    scene.bench.change_vip(key, |vip| vip.scope = 0);
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
    scene.bench.change_vip(key, |vip| vip.scope = scope);
    assert_eq!(scene.connect("192.0.2.1"), scene.a);
}

#[test]
fn p11_a_full_table_evicts_and_every_client_keeps_its_backend() {
    let mut scene = scene(3600 * S);
    scene.bench.table(scene.pool, &[1, 2]);
    let capacity = scene.bench.capacity();
    let clients: Vec<_> = (0..2 * u32::try_from(capacity).expect("a few"))
        .map(|n| std::net::Ipv4Addr::from(0xc612_0000 + n).to_string())
        .collect();
    let first: Vec<_> = clients.iter().map(|client| scene.connect(client)).collect();
    let held = scene.bench.pins();
    assert!(held.len() <= capacity, "{} of {capacity}", held.len());
    assert!(held.len() > capacity / 2, "an insert evicts few others: {}", held.len());
    let again: Vec<_> = clients.iter().map(|client| scene.connect(client)).collect();
    assert_eq!(again, first, "an evicted client follows the hash to the same backend");
}

#[test]
fn p13_a_program_loaded_anew_goes_on_with_pins_and_flows() {
    let mut scene = scene(60 * S);
    let flow = scene.syn("192.0.2.1");
    let _a = scene.bench.send(&flow);
    scene.table_to_b();
    for _ in 0..3 {
        let before = (scene.bench.pins(), scene.bench.flows());
        scene.bench.reload();
        let after = (scene.bench.pins(), scene.bench.flows());
        assert_eq!(after, before);
        let outcome = scene.bench.send(&flow);
        assert_eq!(scene.bench.chosen(&outcome), scene.a, "the flow stays");
        assert_eq!(outcome.events(), [Event::Forwarded]);
        assert_eq!(scene.connect("192.0.2.1"), scene.a, "the pin holds");
        assert_eq!(scene.connect("192.0.2.9"), scene.b);
        let ack = Frame {
            transport: Frame::tcp(flow.source, flow.destination, ACK).transport,
            ..flow.clone()
        };
        let _ack = scene.bench.send(&ack);
    }
}
