//! What a flow outlasts (P6), and what each state of a backend does (P9).

use lb_common::{
    event::Event,
    layout::{BackendRef, BackendState, Forward, ON_DOWN_KEEP},
    pin::refresh_step_ns,
};
use tests::{
    bench::S,
    packet::{ACK, PSH, SYN},
};

use crate::scene::{SHAPES, Scene, scene};

/// What happened, and what to do for it.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Scene));

#[test]
fn p6_a_flow_stays_whatever_happens_to_pin_weights_pool_or_table() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (pool, a, b) = (scene.pool, scene.a, scene.b);
        let changes: [Change<'_>; 9] = [
            ("the table was swapped", &|_| {}),
            ("and again", &|scene| scene.bench.table(pool, &[b, b, b])),
            ("the table is empty", &|scene| scene.bench.table(pool, &[])),
            ("the pin is gone", &|scene| scene.bench.forget_pins()),
            ("the pin leads to B", &|scene| {
                scene.bench.forget_pins();
                scene.bench.table(pool, &[b]);
                let _pinned_anew = scene.new_flows();
            }),
            ("the pin is over", &|scene| scene.bench.pass(100 * S)),
            ("the timeout is shorter", &|scene| {
                for key in scene.keys {
                    scene.bench.change_vip(key, |vip| {
                        vip.timeout_ns = S;
                        vip.refresh_ns = refresh_step_ns(S);
                    });
                }
            }),
            ("no persistence any more", &|scene| {
                for key in scene.keys {
                    scene.bench.change_vip(key, |vip| vip.scope = 0);
                }
            }),
            ("a sweep is under way", &|scene| scene.bench.reclaim_before(u64::MAX)),
        ];
        for (what, change) in changes {
            change(&mut scene);
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                let outcome = scene.bench.send(&packet);
                assert_eq!(scene.bench.chosen(&outcome), a, "{forward:?}, {what}: {outcome}");
                assert!(!outcome.has(Event::FlowMade), "{what}: {outcome}");
            }
        }
    }
}

#[test]
fn p6_a_lost_flow_follows_the_pin_and_then_the_hash() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        for packet in [scene.segment(1, ACK), scene.datagram(1)] {
            scene.bench.forget_flows();
            assert_eq!(scene.to(&packet), a, "the pin: {packet}");
        }
        scene.bench.forget_pins();
        for packet in [scene.segment(1, ACK), scene.datagram(1)] {
            scene.bench.forget_flows();
            assert_eq!(scene.to(&packet), b, "the hash: {packet}");
        }
    }
}

#[test]
fn p9_what_each_state_does_to_pins_and_flows() {
    use BackendState::{Draining, Evacuating, Ready};
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        for (state, pinned) in [(Ready, true), (Draining, true), (Evacuating, false)] {
            scene.again();
            scene.bench.state(a, state);
            let case = format!("{forward:?}, {state:?}");
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                assert_eq!(scene.to(&packet), a, "{case}: running flows go on");
            }
            let want = if pinned { a } else { b };
            assert_eq!(scene.new_flows(), [want; 2], "{case}: pinned clients");
            assert_eq!(scene.new_client(), b, "{case}: new clients go by the table");
            scene.bench.state(a, Ready);
            assert_eq!(scene.new_flows(), [want; 2], "{case}: and when it is ready again");
            for packet in [scene.segment(1, PSH | ACK), scene.datagram(1)] {
                assert_eq!(scene.to(&packet), a, "{case}: running flows go on still");
            }
        }
    }
}

#[test]
fn p9_draining_pins_are_refreshed_and_end_by_their_timeout() {
    let mut scene = scene(Forward::Dsr, false);
    let (a, b) = (scene.a, scene.b);
    scene.bench.state(a, BackendState::Draining);
    for _ in 0..3 {
        scene.bench.pass(60 * S - 1);
        assert_eq!(scene.new_flows(), [a, a]);
    }
    scene.bench.pass(60 * S);
    assert_eq!(scene.new_flows(), [b, b]);
}

#[test]
fn p9_down_voids_pins_at_once_and_for_good() {
    for (forward, v6) in SHAPES {
        for flags in [0, ON_DOWN_KEEP] {
            let mut scene = scene(forward, v6);
            let (a, b) = (scene.a, scene.b);
            scene.bench.change_backend(a, |backend| {
                backend.state = BackendState::Down.code();
                backend.flags = flags;
            });
            assert_eq!(scene.new_flows(), [b, b], "at once");
            // Another client, not heard of while it was down.
            let again = |scene: &mut Scene| {
                scene.again();
                scene.bench.state(a, BackendState::Down);
                scene.bench.back(a);
            };
            again(&mut scene);
            assert_eq!(scene.new_flows(), [b, b], "for good: it is in another life");
            again(&mut scene);
            scene.bench.table(scene.pool, &[a]);
            assert_eq!(scene.new_flows(), [a, a], "pinned anew, to its new life");
            scene.bench.table(scene.pool, &[b]);
            assert_eq!(scene.new_flows(), [a, a]);
            let pins = scene.bench.pins();
            assert!(pins.values().all(|pin| pin.backend == BackendRef::new(a, 2)), "{pins:?}");
        }
    }
}

#[test]
fn p9_down_ends_udp_flows() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Down);
        let packet = scene.datagram(1);
        let outcome = scene.bench.send(&packet);
        assert_eq!(scene.bench.chosen(&outcome), b, "{outcome}");
        assert!(outcome.has(Event::FlowRenewed), "{outcome}");
    }
}

#[test]
fn p9_keep_lets_flows_go_on_through_down_and_up() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        let both = [scene.segment(1, PSH | ACK), scene.datagram(1)];
        scene.bench.change_backend(a, |backend| {
            backend.state = BackendState::Down.code();
            backend.flags = ON_DOWN_KEEP;
        });
        assert_eq!(both.clone().map(|packet| scene.to(&packet)), [a, a], "down");
        // Back: a new generation for pins, the old flows honoured.
        scene.bench.change_backend(a, |backend| {
            backend.state = BackendState::Ready.code();
            backend.generation = 2;
        });
        assert_eq!(both.clone().map(|packet| scene.to(&packet)), [a, a], "back");
        assert_eq!(scene.new_flows(), [b, b]);
        // And once more without it.
        scene.bench.change_backend(a, |backend| {
            backend.flags = 0;
            backend.generation = 3;
            backend.flows_since = 3;
        });
        let outcome = scene.bench.send(&both[0]);
        assert_eq!(outcome.fate(), Event::ResetSent, "{outcome}");
    }
}

#[test]
fn p9_a_syn_on_a_gone_backend_begins_a_new_flow() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Down);
        let syn = scene.segment(1, SYN);
        assert_eq!(scene.to(&syn), b, "the client's next attempt, from the same port");
        let ack = scene.segment(1, ACK);
        assert_eq!(scene.to(&ack), b);
    }
}

#[test]
fn p9_a_removed_backend_is_as_down() {
    for (forward, v6) in SHAPES {
        let mut scene = scene(forward, v6);
        let (a, b) = (scene.a, scene.b);
        scene.bench.state(a, BackendState::Unset);
        let outcome = scene.bench.send(&scene.segment(1, ACK));
        assert_eq!(outcome.fate(), Event::ResetSent, "{outcome}");
        assert_eq!(scene.new_flows(), [b, b]);
    }
}

#[test]
fn p9_answers_of_a_gone_backend_are_not_for_the_client() {
    for v6 in [false, true] {
        let mut scene = scene(Forward::Nat, v6);
        let a = scene.a;
        let forwarded = scene.bench.send(&scene.segment(1, ACK)).parsed().frame;
        let answer = forwarded.turned();
        assert_eq!(scene.bench.send(&answer).fate(), Event::Replied);
        for state in [BackendState::Draining, BackendState::Evacuating] {
            scene.bench.state(a, state);
            assert_eq!(scene.bench.send(&answer).fate(), Event::Replied, "{state:?}");
        }
        scene.bench.state(a, BackendState::Down);
        assert_eq!(scene.bench.send(&answer).events(), [Event::PassStaleReply]);
        scene.bench.back(a);
        assert_eq!(scene.bench.send(&answer).events(), [Event::PassStaleReply], "a new life");
    }
}
