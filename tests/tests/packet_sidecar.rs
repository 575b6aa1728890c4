//! Listeners of layer 7: their packets go up unchanged, are counted and leave no trace; only new
//! connections are held to a rate, and layer 4 notices nothing.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    event::Event,
    layout::{Forward, Protocol, Target, VipKey},
};
use lb_userspace::maps::LbMaps as _;
use tests::{
    bench::{
        Bench, S,
        site::{VIP_V4, VIP_V6, client, site, tcp, vip},
        socket,
    },
    outcome::{Outcome, Verdict},
    packet::{
        ACK, FIN, Frame, PSH, QINQ, RST, SYN, VLAN,
        icmp::{Message, as_ip},
        ip::Ip,
    },
};

/// At an address of its own.
const ALONE_V4: &str = "203.0.113.77";
const ALONE_V6: &str = "[2001:db8:f::77]";

fn alone(v6: bool) -> SocketAddr {
    socket(&format!("{}:443", if v6 { ALONE_V6 } else { ALONE_V4 }))
}

/// At the address of layer-4 listeners.
fn shared(v6: bool) -> SocketAddr {
    socket(&format!("{}:443", if v6 { VIP_V6 } else { VIP_V4 }))
}

/// The usual listeners of layer 4, and four of the sidecar's.
fn scene() -> Bench {
    let mut bench = site();
    for v6 in [false, true] {
        for at in [alone(v6), shared(v6)] {
            let _key = bench.sidecar(&at.to_string());
        }
    }
    bench
}

fn key(at: SocketAddr) -> VipKey {
    let (address, port_be) = (at.ip().into(), at.port().to_be());
    VipKey { address, port_be, protocol: Protocol::Tcp.code(), pad: 0 }
}

fn traces(bench: &Bench) -> [usize; 4] {
    [bench.flows().len(), bench.pins().len(), bench.replies().len(), bench.datagrams().len()]
}

fn bytes_in(bench: &Bench, row: u32) -> u64 {
    bench.maps.listener_counters(row).expect("counters read").bytes_in
}

/// Sends a packet to the listener at that address: it goes up, counted there with its bytes, and
/// leaves nothing.
#[track_caller]
fn check_up(bench: &mut Bench, at: SocketAddr, bytes: &[u8], what: &str) {
    let row = bench.vip(key(at)).listener;
    let (before, bytes_before) = (traces(bench), bytes_in(bench, row));
    let outcome = bench.run(bytes);
    assert_eq!(outcome.counted, [(row, Event::PassSidecar)], "{what}: {outcome}");
    assert_eq!(outcome.verdict, Verdict::Pass, "{what}");
    assert_eq!(bytes_in(bench, row) - bytes_before, bytes.len() as u64, "{what}");
    assert_eq!(traces(bench), before, "{what} left something");
}

/// A packet that does not go up: what it came to, and nothing is left of it.
#[track_caller]
fn check_fate(bench: &mut Bench, bytes: &[u8], want: Event) {
    let before = traces(bench);
    let outcome = bench.run(bytes);
    assert_eq!(outcome.events(), [want], "{outcome}");
    assert_eq!(traces(bench), before, "{outcome} left something");
}

#[test]
fn every_segment_goes_up() {
    let mut bench = scene();
    for v6 in [false, true] {
        for at in [alone(v6), shared(v6)] {
            for tags in [&[][..], &[(VLAN, 5)], &[(QINQ, 5), (VLAN, 6)]] {
                // Also what no stack sends: that is for the kernel to say.
                for flags in
                    [SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, FIN, 0, SYN | FIN]
                {
                    for payload in [&[][..], &[1; 99]] {
                        let frame = Frame::tcp(client(v6), at, flags).tags(tags).payload(payload);
                        check_up(&mut bench, at, &frame.build(), &frame.to_string());
                    }
                    // It is here to stay, and need not go any further.
                    for ttl in [0, 1] {
                        let frame = Frame::tcp(client(v6), at, flags).tags(tags).ttl(ttl);
                        check_up(&mut bench, at, &frame.build(), &frame.to_string());
                    }
                }
            }
        }
    }
}

#[test]
fn options_and_wrong_lengths_go_up() {
    let mut bench = scene();
    for v6 in [false, true] {
        for flags in [SYN, ACK] {
            let frame = Frame::tcp(client(v6), alone(v6), flags);
            let frame = if v6 { frame.extensions(&[(0, 8)]) } else { frame.options(&[1; 4]) };
            check_up(&mut bench, alone(v6), &frame.build(), "options");
            let frame = Frame::tcp(client(v6), alone(v6), flags);
            let mut bytes = frame.build();
            bytes[frame.l4() + 12] = 0x40;
            check_up(&mut bench, alone(v6), &bytes, "a data offset of four words");
        }
    }
}

#[test]
fn other_ports_and_protocols_are_for_nobody() {
    let mut bench = scene();
    for v6 in [false, true] {
        for frame in [
            Frame::udp(client(v6), alone(v6)),
            Frame::tcp(client(v6), SocketAddr::new(alone(v6).ip(), 80), SYN),
            Frame::tcp(client(v6), SocketAddr::new(alone(v6).ip(), 80), ACK),
        ] {
            check_fate(&mut bench, &frame.build(), Event::PassNoListener);
        }
    }
}

/// What cannot be a client's address opens nothing; whose connection it may be is the kernel's.
#[test]
fn sources_that_no_client_has() {
    let mut bench = scene();
    for v6 in [false, true] {
        let at = alone(v6);
        let own = SocketAddr::new(shared(v6).ip(), 4711);
        let group = socket(if v6 { "[ff0e::1]:4711" } else { "224.0.0.1:4711" });
        let no_port = SocketAddr::new(client(v6).ip(), 0);
        for source in [own, group, no_port, SocketAddr::new(at.ip(), 4711)] {
            let syn = Frame::tcp(source, at, SYN);
            check_fate(&mut bench, &syn.build(), Event::DropBadSource);
            check_up(&mut bench, at, &syn.flagged(ACK).build(), "in the middle of a connection");
        }
    }
}

/// Three connections a second of a network; what is under way is not concerned.
#[test]
fn a_networks_rate() {
    for (v6, other) in [(false, "198.51.100.7:1"), (true, "[2001:db8:2::7]:1")] {
        let (mut bench, at) = (scene(), alone(v6));
        bench.flood(1_000, 3);
        let syn = |port: u16| Frame::tcp(SocketAddr::new(client(v6).ip(), port), at, SYN);
        for port in 1..=3 {
            check_up(&mut bench, at, &syn(port).build(), "within the rate");
        }
        let row = bench.vip(key(at)).listener;
        let outcome = bench.send(&syn(4));
        assert_eq!(outcome.counted, [(row, Event::DropFlood)], "{outcome}");
        assert_eq!(outcome.verdict, Verdict::Drop);
        for flags in [ACK, ACK | PSH, ACK | FIN, RST, SYN | ACK] {
            check_up(&mut bench, at, &syn(1).flagged(flags).build(), "under way");
        }
        check_up(&mut bench, at, &Frame::tcp(socket(other), at, SYN).build(), "another network");
        bench.pass(S / 3 - 1_000_000);
        check_fate(&mut bench, &syn(4).build(), Event::DropFlood);
        bench.pass(1_000_000);
        check_up(&mut bench, at, &syn(4).build(), "a third of a second later");
        check_fate(&mut bench, &syn(5).build(), Event::DropFlood);
    }
}

/// All that comes without a pin has one rate, whatever the layer.
#[test]
fn layers_share_the_rates() {
    for (all, network) in [(2, 1_000), (1_000, 2)] {
        let (mut bench, at) = (scene(), alone(false));
        let syn = Frame::tcp(client(false), at, SYN);
        let mut flow = tcp(Forward::Nat, false, ACK);
        bench.flood(all, network);
        check_up(&mut bench, at, &syn.build(), "the first");
        assert!(bench.send(&flow).has(Event::FlowMade));
        check_fate(&mut bench, &syn.build(), Event::DropFlood);
        flow.source.set_port(4711);
        // Its client has no pin yet.
        check_fate(&mut bench, &flow.build(), Event::DropFlood);
        bench.pass(S);
        assert!(bench.send(&flow).has(Event::FlowMade));
        // Now it has one, which speaks for it at layer 4 only.
        assert_eq!(bench.send(&flow).fate(), Event::Forwarded);
        assert_eq!(bench.pins().len(), 1);
        check_up(&mut bench, at, &syn.build(), "the second in this second");
        check_fate(&mut bench, &syn.build(), Event::DropFlood);
        flow.source.set_port(4712);
        assert!(bench.send(&flow).has(Event::FlowMade), "a rate of its own");
    }
}

fn fragments(v6: bool, at: SocketAddr, flags: u8, bytes: usize) -> Vec<Ip> {
    as_ip(&Frame::tcp(client(v6), at, flags).payload(&[7; 200])).fragments(7, bytes)
}

#[test]
fn fragments_go_up() {
    let mut bench = scene();
    for v6 in [false, true] {
        let at = alone(v6);
        let all = fragments(v6, at, ACK, 64);
        // In any order: no listener of layer 4 wants them.
        for one in all.iter().skip(1).chain(&all) {
            if one.part().is_some_and(|part| part.offset == 0) {
                check_up(&mut bench, at, &one.build(), "the first");
            } else {
                check_fate(&mut bench, &one.build(), Event::PassFragment);
            }
        }
    }
}

/// Where layer 4 has listeners too, they follow their first one, as all that is passed there.
#[test]
fn fragments_beside_layer_4() {
    for v6 in [false, true] {
        let (mut bench, at) = (scene(), shared(v6));
        let all = fragments(v6, at, ACK, 64);
        check_fate(&mut bench, &all[1].build(), Event::DropFragmentEarly);
        let first = bench.run(&all[0].build());
        assert_eq!(first.events(), [Event::PassSidecar], "{first}");
        for one in &all[1..] {
            check_fate(&mut bench, &one.build(), Event::PassFragment);
        }
        assert_eq!(traces(&bench), [0, 0, 0, 1]);
    }
}

/// Nor does anything open a connection past the rate.
#[test]
fn fragments_are_held_to_the_rate() {
    let mut bench = scene();
    bench.flood(1_000, 1);
    for v6 in [false, true] {
        let first = |bytes| fragments(v6, alone(v6), SYN, bytes)[0].build();
        check_up(&mut bench, alone(v6), &first(64), "within the rate");
        check_fate(&mut bench, &first(64), Event::DropFlood);
        // The flags are in the next one.
        check_fate(&mut bench, &first(8), Event::DropBadFragment);
    }
}

/// An error about what the sidecar has sent, quoted so far.
fn error(about: &Frame, quoted: usize, from: IpAddr) -> Ip {
    let about = as_ip(about);
    Message::too_big(&about, 1400, quoted).packet(from, about.source)
}

#[test]
fn icmp() {
    for (v6, from) in [(false, "198.51.100.77"), (true, "2001:db8:77::1")] {
        let mut bench = scene();
        let from: IpAddr = from.parse().expect("an address");
        for at in [alone(v6), shared(v6)] {
            let answer = Frame::tcp(at, client(v6), ACK).payload(&[7; 80]);
            for (ttl, tags) in [(64, &[][..]), (1, &[(VLAN, 5)])] {
                let error = Ip { ttl, ..error(&answer, 68, from).tags(tags) };
                check_up(&mut bench, at, &error.build(), "an error");
            }
            // About what somebody else has sent.
            let mut others = error(&answer, 68, from);
            others.destination = client(v6).ip();
            check_fate(&mut bench, &others.build(), Event::PassIcmpError);
            let request = Message::echo(v6, b"ping").packet(client(v6).ip(), at.ip());
            let outcome = bench.run(&request.build());
            assert_eq!(outcome.events(), [Event::EchoAnswered], "{outcome}");
            assert_eq!(outcome.verdict, Verdict::Tx);
        }
    }
}

/// What a packet to layer 4 comes to, with the sidecar's listeners there and without.
#[test]
fn layer_4_notices_nothing() {
    let run = |mut bench: Bench| -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (forward, v6) in tests::bench::site::WAYS {
            for flags in [SYN, ACK, ACK | PSH, ACK | FIN, RST] {
                let outcome = bench.send(&tcp(forward, v6, flags));
                assert!(!outcome.has(Event::PassSidecar), "{outcome}");
                if outcome.fate() == Event::Forwarded {
                    let answer = outcome.parsed().frame.turned().flagged(ACK);
                    outcomes.push(bench.send(&answer));
                }
                outcomes.push(outcome);
            }
            let datagram = Frame::udp(client(v6), vip(forward, v6));
            outcomes.extend([bench.send(&datagram), bench.send(&datagram)]);
        }
        outcomes
    };
    assert_eq!(run(scene()), run(site()));
}

/// A listener becomes the sidecar's: its flows' packets go up too. When it is layer 4's again, those
/// that are in time go on where they were.
#[test]
fn a_listener_changes_sides() {
    for (forward, v6) in tests::bench::site::WAYS {
        let mut bench = site();
        let packet = tcp(forward, v6, ACK);
        let [first, second] = [bench.send(&packet), bench.send(&packet)];
        assert_eq!(second.fate(), Event::Forwarded, "{second}");
        let at = key(vip(forward, v6));
        let there = traces(&bench);
        bench.change_vip(at, |vip| vip.target = Target::Sidecar.code());
        for flags in [ACK, SYN, ACK | FIN, RST] {
            check_up(&mut bench, vip(forward, v6), &packet.flagged(flags).build(), "changed");
        }
        bench.change_vip(at, |vip| vip.target = Target::Pool.code());
        let again = bench.send(&packet);
        assert_eq!(again.bytes, first.bytes, "{again}");
        assert_eq!(traces(&bench), there);
    }
}
