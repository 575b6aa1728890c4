//! What clients without a valid pin get, and what outlives what (P7, P8, P11, P13).

use lb_common::{
    address::Address,
    event::Event,
    layout::{Forward, Protocol},
    select::{client_hash, flow_hash},
};
use tests::{
    bench::{Bench, S, SEED, START, socket},
    packet::{ACK, Frame, SYN},
};

use crate::scene::{Scene, VIP, scene};

#[test]
fn p7_what_is_being_reclaimed_is_left_alone() {
    let mut scene = Scene::pinned(60 * S);
    let mut check = |age: u64, mark: u64, want: Event| {
        scene.pin_again(60 * S);
        let before = scene.bench.pin();
        scene.bench.pass(age);
        scene.bench.reclaim_before(mark);
        let packet = scene.syn("192.0.2.1").flagged(ACK);
        let [first, second] = [(); 2].map(|()| scene.bench.send(&packet));
        let outcome = if want == Event::PinFollowed { first } else { second };
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
        let packet = scene.syn("192.0.2.1").flagged(ACK);
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
    let flow = scene.pinning("192.0.2.1");
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

/// P12: of a SYN nothing is kept; the second packet after it pins.
#[test]
fn p12_a_syn_makes_neither_pin_nor_flow() {
    let mut scene = scene(60 * S);
    let syn = scene.syn("192.0.2.1");
    for _ in 0..3 {
        let outcome = scene.bench.send(&syn);
        let events = [Event::Forwarded, Event::FlowPlacedByHash, Event::SynSent];
        assert_eq!(outcome.events(), events, "{outcome}");
        assert!(scene.bench.pins().is_empty() && scene.bench.flows().is_empty());
    }
    let outcome = scene.bench.send(&syn.flagged(ACK));
    assert!(outcome.has(Event::FlowMade), "{outcome}");
    assert!(scene.bench.pins().is_empty(), "an acknowledgement can be forged");
    let outcome = scene.bench.send(&syn.flagged(ACK));
    assert_eq!(outcome.events(), [Event::Forwarded, Event::PinMade], "{outcome}");
    assert_eq!(scene.bench.pin().backend.id(), scene.a);
}

/// P12: a datagram shows nothing, a second one of its flow does.
#[test]
fn p12_a_second_datagram_pins() {
    let mut scene = scene(60 * S);
    let datagram = Frame::udp(scene.syn("192.0.2.1").source, socket(VIP));
    let outcome = scene.bench.send(&datagram);
    assert!(outcome.has(Event::FlowMade), "{outcome}");
    assert!(scene.bench.pins().is_empty());
    let outcome = scene.bench.send(&datagram);
    assert_eq!(outcome.events(), [Event::Forwarded, Event::PinMade], "{outcome}");
}

/// P12: where the choice cannot be made again a SYN has an entry, and another SYN proves nothing.
#[test]
fn p12_a_translated_syn_makes_no_pin() {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Nat);
    let a = bench.backend(pool, "10.0.0.11:80");
    bench.table(pool, &[a]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 60 * S);
    let syn = Frame::tcp(socket("192.0.2.1:40000"), socket(VIP), SYN);
    for age in [0, 1, 2] {
        bench.at(START + age * S);
        assert_eq!(bench.send(&syn).fate(), Event::Forwarded);
        assert!(bench.pins().is_empty());
        let flow = bench.flows().into_values().next().expect("a flow");
        assert!(flow.pin_owed && flow.seen_ns == START + age * S, "{flow:?}");
    }
    assert!(bench.send(&syn.flagged(ACK)).has(Event::PinMade));
}
