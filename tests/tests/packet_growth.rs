//! The flow table while more of it comes into use: every flow is found before it is moved, and
//! after.

use std::collections::BTreeSet;

use lb_common::{
    event::Event,
    flow::IdleTimes,
    layout::{FlowSpace, Forward, Protocol},
    lines::REGIONS,
    ticks,
};
use lb_userspace::{maps::LbMaps as _, sessions::growth};
use tests::{
    bench::{Bench, S, socket},
    packet::{ACK, FIN, Frame},
};

const VIP: &str = "203.0.113.10:80";

fn bench(forward: Forward) -> Bench {
    let mut bench = Bench::with_regions();
    let pool = bench.pool(forward);
    let [a, b] = ["10.0.0.11:0", "10.0.0.12:0"].map(|address| bench.backend(pool, address));
    bench.table(pool, &[a, b]);
    let _key = bench.listener(Protocol::Tcp, VIP, pool, 600 * S);
    bench
}

fn segment(flow: u16, flags: u8) -> Frame {
    let [high, low] = flow.to_be_bytes();
    Frame::tcp(socket(&format!("192.0.{high}.{low}:1000")), socket(VIP), flags)
}

/// Sends as much as it takes to prove the client.
fn open(bench: &mut Bench, flows: std::ops::Range<u16>) {
    for flow in flows {
        for _ in 0..2 {
            let outcome = bench.send(&segment(flow, ACK));
            assert_eq!(outcome.fate(), Event::Forwarded, "{outcome}");
        }
    }
}

/// Every one of them is known.
fn check_known(bench: &mut Bench, flows: std::ops::Range<u16>) {
    for flow in flows {
        let outcome = bench.send(&segment(flow, ACK));
        assert_eq!(outcome.events(), [Event::Forwarded], "flow {flow}: {outcome}");
    }
}

#[test]
fn flows_are_found_where_they_were_and_where_they_belong() {
    for forward in [Forward::Dsr, Forward::Nat] {
        let mut bench = bench(forward);
        let mut space = bench.maps.flow_space().expect("read");
        let mut flows = 0..0;
        while space.regions() < REGIONS {
            open(&mut bench, flows.end..flows.end + 100);
            flows.end += 100;
            let before = bench.flows();
            assert_eq!(before.len(), usize::from(flows.end));

            space = space.doubled();
            bench.maps.set_flow_space(&space).expect("written");
            check_known(&mut bench, flows.clone());
            assert_eq!(bench.flows(), before, "nothing is moved by packets");
            open(&mut bench, flows.end..flows.end + 20);
            flows.end += 20;

            bench.maps.move_flows().expect("moved");
            let moved = bench.flows();
            assert_eq!(moved.len(), usize::from(flows.end));
            assert!(before.iter().all(|(key, held)| moved.get(key) == Some(held)));
            space = space.settled();
            bench.maps.set_flow_space(&space).expect("written");
            check_known(&mut bench, flows.clone());
            // Noted where they are now.
            bench.pass(2 * S);
            check_known(&mut bench, flows.clone());
            assert!(bench.flows().values().all(|held| held.seen_ns + S > bench.now()));
            assert_eq!(bench.flows().len(), usize::from(flows.end));
        }
        let places = bench.flow_places();
        let regions: BTreeSet<u32> =
            places.iter().map(|line| line / (131_072 / 2 / REGIONS)).collect();
        assert_eq!(regions, (0..REGIONS).collect(), "flows are in all regions");
        let evicted = bench.maps.listener_counters(0).expect("counters").events;
        assert_eq!(evicted[Event::FlowEvicted as usize], 0);
    }
}

#[test]
fn what_a_flow_has_come_to_moves_with_it() {
    let mut bench = bench(Forward::Nat);
    open(&mut bench, 0..64);
    let space = bench.maps.flow_space().expect("read").doubled();
    bench.maps.set_flow_space(&space).expect("written");
    for flow in 0..64 {
        let outcome = bench.send(&segment(flow, FIN | ACK));
        assert_eq!(outcome.events(), [Event::Forwarded], "{outcome}");
    }
    let closing = bench.flows();
    bench.maps.move_flows().expect("moved");
    assert_eq!(bench.flows(), closing);
    // To move what is moved changes nothing.
    let places = bench.flow_places();
    bench.maps.move_flows().expect("moved");
    assert_eq!(bench.flow_places(), places);
    bench.maps.set_flow_space(&space.settled()).expect("written");
    bench.maps.move_flows().expect("moved");
    assert_eq!((bench.flow_places(), bench.flows()), (places, closing));
}

#[test]
fn a_program_that_is_loaded_anew_knows_what_is_in_use() {
    let mut bench = bench(Forward::Dsr);
    let space = bench.maps.flow_space().expect("read").doubled();
    bench.maps.set_flow_space(&space).expect("written");
    open(&mut bench, 0..50);
    bench.reload();
    assert_eq!(bench.maps.flow_space().expect("read"), space);
    check_known(&mut bench, 0..50);
}

#[test]
fn the_agent_puts_more_in_use_when_flows_are_crowded() {
    const IDLE: IdleTimes = IdleTimes {
        tcp_established_ns: 600 * S,
        tcp_transitory_ns: 600 * S,
        tcp_time_wait_ns: 600 * S,
        stateless_ns: 600 * S,
    };
    let mut bench = bench(Forward::Dsr);
    // The agent goes by the kernel's clock.
    bench.at(u64::from(bench.maps.now_ticks()) * ticks::TEST_NS);
    // Of 16,384 places; few enough that none has to give way.
    open(&mut bench, 0..9_000);
    assert_eq!(growth::grow(&mut bench.maps, &IDLE, REGIONS).expect("read"), None);
    open(&mut bench, 9_000..11_500);
    let grown = growth::grow(&mut bench.maps, &IDLE, REGIONS).expect("written");
    assert_eq!(grown.map(FlowSpace::regions), Some(2));
    assert_eq!(growth::grow(&mut bench.maps, &IDLE, REGIONS).expect("read"), None);
    check_known(&mut bench, 0..11_500);
    let evicted = bench.maps.listener_counters(0).expect("counters").events;
    assert_eq!(evicted[Event::FlowEvicted as usize], 0);
}
