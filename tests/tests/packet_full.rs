//! P11 where an insert fails: forwarded by the hash, and counted.

use lb_common::{
    event::Event,
    layout::{Forward, Protocol},
    maps::{PINS, REPLIES},
};
use lb_userspace::maps::LbMaps as _;
use tests::{
    bench::{Bench, S, socket},
    outcome::Outcome,
    packet::{ACK, Frame, PSH, RST, SYN},
};

const VIP: &str = "203.0.113.10:80";

/// The named map holds one entry, and client 0 has made it.
fn bench(full: &str, forward: Forward) -> Bench {
    set(Bench::with_room_for_one(full), forward)
}

fn set(mut bench: Bench, forward: Forward) -> Bench {
    let pool = bench.pool(forward);
    let [a, b] = ["10.0.0.11:0", "10.0.0.12:0"].map(|address| bench.backend(pool, address));
    bench.table(pool, &[a, b]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 600 * S);
    pin(&mut bench, 0);
    bench
}

/// Sends as much of a flow as it takes to pin that client: the second packet's outcome.
fn pin(bench: &mut Bench, client: u8) -> Outcome {
    let _first = bench.send(&segment(client, ACK));
    let outcome = bench.send(&segment(client, ACK));
    assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
    outcome
}

fn segment(client: u8, flags: u8) -> Frame {
    Frame::tcp(socket(&format!("192.0.2.{client}:1000")), socket(VIP), flags)
}

#[test]
fn p11_a_pin_that_cannot_be_inserted() {
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = bench(PINS, forward);
        for client in 1..50 {
            let outcome = bench.send(&segment(client, ACK));
            let backend = bench.chosen(&outcome);
            assert!(outcome.has(Event::FlowMade), "{outcome}");
            let outcome = bench.send(&segment(client, ACK));
            assert!(outcome.has(Event::PinInsertFailed), "{outcome}");
            let mut other = segment(client, ACK);
            other.source.set_port(2000);
            let outcome = bench.send(&other);
            assert_eq!(bench.chosen(&outcome), backend, "the hash gives the same: {outcome}");
        }
        assert_eq!(bench.pins().len(), 1);
        // There is room again: the flow makes its client's pin when it is next noted.
        bench.forget_pins();
        bench.pass(S);
        let outcome = bench.send(&segment(7, ACK));
        assert_eq!(outcome.events(), [Event::Forwarded, Event::PinMade], "{outcome}");
        assert_eq!(bench.pin().backend.id(), bench.chosen(&outcome));
    }
}

#[test]
fn p11_a_flow_whose_entry_was_evicted_follows_its_pin() {
    const CLIENTS: u8 = 50;
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = set(Bench::with_lines_of_flows(1), forward);
        // Each proves its client, so that it is a flow under way which gives its place.
        let next = |bench: &mut Bench, client, flags| {
            bench.pass(S);
            let outcome = bench.send(&segment(client, flags));
            let _proof = bench.send(&segment(client, ACK));
            outcome
        };
        let firsts: Vec<_> = (1..CLIENTS).map(|client| next(&mut bench, client, ACK)).collect();
        for flags in [ACK, PSH | ACK] {
            for (client, first) in (1..CLIENTS).zip(&firsts) {
                let outcome = next(&mut bench, client, flags);
                assert_eq!(bench.chosen(&outcome), bench.chosen(first), "{outcome}");
                let [source, want] = [&outcome, first].map(|one| one.parsed().frame.source);
                assert_eq!(source, want, "the same source port: {outcome}");
                assert!(outcome.has(Event::FlowMade), "{outcome}");
                assert!(outcome.has(Event::PinFollowed), "{outcome}");
                assert_eq!(bench.flows().len(), bench.flow_entries());
            }
        }
        let made = 1 + 3 * (u64::from(CLIENTS) - 1);
        let evicted = bench.maps.listener_counters(0).expect("counters").events;
        assert_eq!(evicted[Event::FlowEvicted as usize], made - 4, "all but those that are there");
    }
}

#[test]
fn the_flow_that_has_been_idle_for_longest_goes_first() {
    let mut bench = set(Bench::with_lines_of_flows(1), Forward::Dsr);
    for client in 1..4 {
        bench.pass(S);
        let _made = pin(&mut bench, client);
    }
    bench.pass(S);
    let _active = bench.send(&segment(0, ACK));
    let mut clients = std::collections::BTreeSet::from([0, 1, 2, 3]);
    for (new, gone) in [(4, 1), (5, 2), (6, 3), (7, 0), (8, 4)] {
        bench.pass(S);
        let _made = pin(&mut bench, new);
        assert!(clients.remove(&gone) && clients.insert(new));
        let held = bench.flows();
        let held: std::collections::BTreeSet<u8> =
            held.keys().map(|key| key.source.v4()[3]).collect();
        assert_eq!(held, clients);
    }
}

#[test]
fn a_flow_that_is_over_goes_before_one_under_way() {
    let mut bench = set(Bench::with_lines_of_flows(1), Forward::Dsr);
    for client in 1..4 {
        let _made = pin(&mut bench, client);
    }
    let _closed = bench.send(&segment(2, RST));
    bench.pass(10 * S);
    let _new = bench.send(&segment(9, ACK));
    let left: Vec<u8> = bench.flows().keys().map(|key| key.source.v4()[3]).collect();
    assert_eq!(left, [0, 1, 3, 9]);
    let counted = bench.maps.listener_counters(0).expect("counters").events;
    assert_eq!(counted[Event::FlowEvicted as usize], 0);
}

#[test]
fn no_room_for_answers_is_counted() {
    let mut bench = bench(REPLIES, Forward::Nat);
    for client in 1..50 {
        let outcome = bench.send(&segment(client, SYN));
        assert_eq!(outcome.events(), [Event::DropPortsExhausted], "{outcome}");
    }
    assert_eq!((bench.flows().len(), bench.pins().len()), (1, 1), "none of those dropped");
    assert_eq!(bench.send(&segment(0, ACK)).fate(), Event::Forwarded);
}

/// P12: who has not shown that it is real gives its place first, to whoever comes.
#[test]
fn p12_a_provisional_flow_goes_before_one_under_way() {
    let mut bench = set(Bench::with_lines_of_flows(1), Forward::Nat);
    for client in 1..3 {
        let _made = pin(&mut bench, client);
    }
    bench.pass(100 * S);
    for forged in 100..150 {
        bench.pass(S / 16);
        let outcome = bench.send(&segment(forged, if forged % 2 == 0 { SYN } else { ACK }));
        assert!(outcome.has(Event::FlowMade), "{outcome}");
        let left: Vec<u8> = bench.flows().keys().map(|key| key.source.v4()[3]).collect();
        assert_eq!(left, [0, 1, 2, forged]);
    }
    let counted = bench.maps.listener_counters(0).expect("counters").events;
    assert_eq!(counted[Event::FlowEvicted as usize], 0);
    assert_eq!(bench.pins().len(), 3, "no forged packet made a pin");
}
