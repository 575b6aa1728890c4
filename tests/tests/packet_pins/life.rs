//! How long a pin lives, and what refreshes it (P3, P4, P5, P10).

use lb_common::{
    event::Event,
    layout::{BackendRef, Forward, Protocol, Refresh},
    pin::refresh_step_ns,
};
use tests::{
    bench::{Bench, S, START, socket},
    packet::{ACK, Frame, SYN},
};

use crate::scene::{Scene, TIMEOUTS, VIP, scene};

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
            let _second = scene.bench.send(&packet.flagged(ACK));
            let proof = scene.bench.send(&packet.flagged(ACK));
            assert_eq!(proof.has(Event::PinRenewed), !valid, "{age} of {timeout}: {proof}");
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
        let first = syn.flagged(ACK);
        let _not_yet = scene.bench.send(&first);
        assert_eq!(seen_after(&mut scene, &first), START);
        scene.bench.pass(age);
        // The same segment again: it changes no state.
        let packet = if new_flow { scene.syn("192.0.2.1").flagged(ACK) } else { first };
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
        let packet = scene.pinning("192.0.2.1");
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
    let _pinned = bench.send(&Frame::tcp(client, socket(VIP), ACK));
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
            let packet = scene.pinning("192.0.2.1");
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
    let packet = scene.pinning("192.0.2.1");
    scene.table_to_b();
    scene.bench.pass(60 * S);
    assert_eq!(seen_after(&mut scene, &packet), START);
    assert_eq!(scene.connect("192.0.2.1"), scene.b);
}

#[test]
fn p5_a_flow_on_an_old_backend_leaves_the_new_pin_alone() {
    let mut scene = scene(60 * S);
    let old = scene.pinning("192.0.2.1");
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
    let old = scene.pinning("192.0.2.1");
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
