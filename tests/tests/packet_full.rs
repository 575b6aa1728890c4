//! P11 where an insert fails: forwarded by the hash, and counted.

use lb_common::{
    event::Event,
    layout::{Forward, Protocol},
    maps::{FLOWS, PINS, REPLIES},
};
use tests::{
    bench::{Bench, S, socket},
    packet::{ACK, Frame, SYN},
};

const VIP: &str = "203.0.113.10:80";

/// The named map holds one entry, and client 0 has made it.
fn bench(full: &str, forward: Forward) -> Bench {
    let mut bench = Bench::with_room_for_one(full);
    let pool = bench.pool(forward);
    let [a, b] = ["10.0.0.11:0", "10.0.0.12:0"].map(|address| bench.backend(pool, address));
    bench.table(pool, &[a, b]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 60 * S);
    assert_eq!(bench.send(&segment(0, SYN)).fate(), Event::Forwarded);
    bench
}

fn segment(client: u8, flags: u8) -> Frame {
    Frame::tcp(socket(&format!("192.0.2.{client}:1000")), socket(VIP), flags)
}

#[test]
fn p11_a_pin_that_cannot_be_inserted() {
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = bench(PINS, forward);
        for client in 1..50 {
            let outcome = bench.send(&segment(client, SYN));
            let backend = bench.chosen(&outcome);
            assert!(outcome.has(Event::PinInsertFailed), "{outcome}");
            assert!(outcome.has(Event::FlowMade), "{outcome}");
            let mut other = segment(client, SYN);
            other.source.set_port(2000);
            let outcome = bench.send(&other);
            assert_eq!(bench.chosen(&outcome), backend, "the hash gives the same: {outcome}");
        }
        assert_eq!(bench.pins().len(), 1);
        // There is room again: the flow makes its client's pin when it is next noted.
        bench.forget_pins();
        bench.pass(S);
        let outcome = bench.send(&segment(7, SYN));
        assert_eq!(outcome.events(), [Event::Forwarded, Event::PinMade], "{outcome}");
        assert_eq!(bench.pin().backend.id(), bench.chosen(&outcome));
    }
}

#[test]
fn p11_a_flow_that_cannot_be_inserted_follows_its_pin() {
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = bench(FLOWS, forward);
        for client in 1..50 {
            let first = bench.send(&segment(client, SYN));
            assert!(first.has(Event::FlowInsertFailed), "{first}");
            for flags in [ACK, ACK, SYN] {
                let outcome = bench.send(&segment(client, flags));
                assert_eq!(bench.chosen(&outcome), bench.chosen(&first), "{outcome}");
                let [source, want] = [&outcome, &first].map(|one| one.parsed().frame.source);
                assert_eq!(source, want, "the same source port: {outcome}");
                assert!(outcome.has(Event::FlowInsertFailed), "{outcome}");
                assert!(outcome.has(Event::PinFollowed), "{outcome}");
            }
        }
    }
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
