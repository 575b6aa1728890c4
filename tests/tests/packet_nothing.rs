//! Where something is missing: a backend, a next hop, a NAT source. Counted by its name, and
//! nothing is left behind that would outlast it.

use lb_common::{
    event::Event,
    features::Features,
    layout::{BackendState, Forward},
};
use tests::{
    bench::site::{WAYS, backend_of, fill, site, tcp, udp},
    bench::{Bench, hop},
    packet::{ACK, SYN},
};

/// Every kind of first packet to each pool is dropped so; after `mend` the same go through.
fn check(
    want: Event,
    mut break_it: impl FnMut(&mut Bench, u32),
    mut mend: impl FnMut(&mut Bench, u32),
    ways: &[(Forward, bool)],
) {
    let mut bench = site();
    for (forward, v6) in ways {
        // In `site` pools and backends have the same numbers.
        let id = backend_of(*forward, *v6);
        let packets = [tcp(*forward, *v6, SYN), tcp(*forward, *v6, ACK), udp(*forward, *v6)];
        break_it(&mut bench, id);
        for packet in &packets {
            let outcome = bench.send(packet);
            assert_eq!(outcome.fate(), want, "{packet}: {outcome}");
            assert!(outcome.counted.iter().all(|(row, _)| *row > 0), "the listener's: {outcome}");
        }
        let left = (bench.pins().len(), bench.flows().len(), bench.replies().len());
        assert_eq!(left, (0, 0, 0), "pins, flows and answers of packets that were dropped");
        mend(&mut bench, id);
        for packet in &packets {
            let outcome = bench.send(packet);
            assert_eq!(outcome.fate(), Event::Forwarded, "mended, {packet}: {outcome}");
        }
        bench.reset();
    }
}

#[test]
fn no_table() {
    check(
        Event::DropNoBackend,
        |bench, id| bench.table(id, &[]),
        |bench, id| bench.table(id, &[id]),
        &WAYS,
    );
}

#[test]
fn an_empty_slot() {
    check(
        Event::DropNoBackend,
        |bench, id| bench.slots(id, &[0; 251]),
        |bench, id| bench.table(id, &[id]),
        &WAYS,
    );
}

#[test]
fn no_next_hop() {
    check(
        Event::DropNoNextHop,
        |bench, id| bench.change_backend(id, |backend| backend.hop.interface = 0),
        |bench, id| bench.change_backend(id, |backend| backend.hop = hop(id, 1, &[])),
        &WAYS,
    );
}

#[test]
fn no_nat_source() {
    check(
        Event::DropNoSource,
        |bench, id| bench.change_backend(id, |backend| backend.nat_source_mask = 0),
        |bench, id| bench.change_backend(id, |backend| backend.nat_source_mask = 1),
        &WAYS[..2],
    );
}

#[test]
fn dsr_needs_no_nat_source() {
    let mut bench = site();
    for v6 in [false, true] {
        let id = backend_of(Forward::Dsr, v6);
        bench.change_backend(id, |backend| backend.nat_source_mask = 0);
        assert_eq!(bench.send(&udp(Forward::Dsr, v6)).fate(), Event::Forwarded);
    }
}

#[test]
fn a_next_hop_lost_stops_a_running_flow_and_found_lets_it_go_on() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let id = backend_of(forward, v6);
        let packet = udp(forward, v6);
        let first = bench.send(&packet);
        bench.change_backend(id, |backend| backend.hop.interface = 0);
        assert_eq!(bench.send(&packet).events(), [Event::DropNoNextHop]);
        bench.change_backend(id, |backend| backend.hop = hop(id, 1, &[]));
        assert_eq!(bench.send(&packet).bytes, first.bytes, "the same source port, too");
    }
}

#[test]
fn no_backend_for_new_clients_while_pinned_ones_go_on() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let id = backend_of(forward, v6);
        let mut packet = tcp(forward, v6, SYN);
        for flags in [SYN, ACK, ACK] {
            assert_eq!(bench.send(&packet.flagged(flags)).fate(), Event::Forwarded);
        }
        bench.state(id, BackendState::Draining);
        bench.table(id, &[]);
        packet.source.set_port(2);
        assert_eq!(bench.send(&packet).fate(), Event::Forwarded, "a pinned client's new flow");
        packet.source.set_ip(if v6 {
            [0x2001, 0xdb8, 2, 0, 0, 0, 0, 2].into()
        } else {
            [198, 51, 100, 2].into()
        });
        assert_eq!(bench.send(&packet).events(), [Event::DropNoBackend], "a new client");
    }
}

/// What no listener needs is not in the program, and its packets go up.
#[test]
fn what_the_program_was_not_loaded_for() {
    let families = [(false, Features::V4), (true, Features::V6)];
    let protocols = [(true, Features::TCP), (false, Features::UDP)];
    let all = || families.into_iter().flat_map(|family| protocols.map(|one| (family, one)));
    for ((_, family), (_, protocol)) in all() {
        let loaded = family.with(protocol);
        let mut bench = fill(Bench::loaded_for(loaded));
        for ((v6, of_family), (is_tcp, of_protocol)) in all() {
            let packet = if is_tcp { tcp(Forward::Dsr, v6, ACK) } else { udp(Forward::Dsr, v6) };
            let outcome = bench.send(&packet);
            let known = loaded.have(of_family.with(of_protocol));
            let want = if known { Event::Forwarded } else { Event::PassNoListener };
            assert_eq!(outcome.fate(), want, "{outcome}");
        }
    }
}
