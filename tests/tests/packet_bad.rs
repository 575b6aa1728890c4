//! Packets that are wrong, or not for the balancer: never forwarded, always counted.

use std::net::IpAddr;

use lb_common::{
    event::Event,
    layout::{Forward, Protocol},
};
use tests::{
    bench::site::{WAYS, client, site, tcp, udp, vip},
    bench::{Bench, NAT_SOURCE_V4, NAT_SOURCE_V6, socket},
    packet::{ACK, FIN, Frame, PSH, QINQ, RST, SYN, VLAN, fix_ip_checksum, icmp::as_ip},
};

/// A valid packet, changed; the IPv4 header's checksum is mended.
fn check(bench: &mut Bench, packet: &Frame, change: impl FnOnce(&mut Vec<u8>), want: Event) {
    let mut bytes = packet.build();
    change(&mut bytes);
    if !packet.v6() && bytes.len() >= packet.l3() + 20 {
        fix_ip_checksum(&mut bytes, packet.l3());
    }
    let outcome = bench.run(&bytes);
    assert_eq!(outcome.events(), [want], "{packet}, as {bytes:02x?}: {outcome}");
    assert!(bench.flows().is_empty() && bench.pins().is_empty(), "{packet} left a trace");
    assert!(bench.replies().is_empty(), "{packet} left a trace");
}

/// Valid packets of each mode, of that family.
fn valid(v6: bool) -> Vec<Frame> {
    WAYS.iter()
        .filter(|(_, family)| *family == v6)
        .flat_map(|(forward, v6)| [tcp(*forward, *v6, SYN), udp(*forward, *v6)])
        .collect()
}

fn all() -> Vec<Frame> {
    [valid(false), valid(true)].concat()
}

fn put16(at: usize, value: u16) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at..at + 2].copy_from_slice(&value.to_be_bytes())
}

#[test]
fn frames_to_many_go_up() {
    let mut bench = site();
    for packet in all() {
        for group in
            [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [3, 0, 0, 0, 0, 9]]
        {
            let to_group = |bytes: &mut Vec<u8>| bytes[..6].copy_from_slice(&group);
            check(&mut bench, &packet, to_group, Event::PassGroupFrame);
        }
    }
    // A tag is no way around it.
    let tagged = tcp(Forward::Nat, false, SYN).tags(&[(VLAN, 7)]);
    check(&mut bench, &tagged, |bytes| bytes[..6].fill(0xff), Event::PassGroupFrame);
}

/// RFC 8200, 8.1. Over IPv4 a datagram may come without (RFC 768).
#[test]
fn udp_over_ipv6_without_a_checksum() {
    let mut bench = site();
    for (forward, v6) in WAYS.into_iter().filter(|(_, v6)| *v6) {
        let plain = udp(forward, v6).no_checksum();
        check(&mut bench, &plain, |_| {}, Event::DropUdpUnsummed);
        let extended = plain.clone().extensions(&[(60, 8)]);
        check(&mut bench, &extended, |_| {}, Event::DropUdpUnsummed);
        let first = as_ip(&plain.clone().payload(&[7; 64])).fragments(9, 32).swap_remove(0);
        let outcome = bench.run(&first.build());
        assert_eq!(outcome.events(), [Event::DropUdpUnsummed], "a first fragment: {outcome}");
        // Not for a listener: the kernel's.
        let mut other = udp(forward, v6).no_checksum();
        other.destination.set_port(other.destination.port() + 1000);
        check(&mut bench, &other, |_| {}, Event::PassNoListener);
    }
}

#[test]
fn ipv4_headers_that_cannot_be() {
    let mut bench = site();
    for packet in valid(false) {
        let l3 = packet.l3();
        for ihl in 0..5 {
            check(&mut bench, &packet, |bytes| bytes[l3] = 0x40 | ihl, Event::PassBadHeader);
        }
        for version in (0..16).filter(|version| *version != 4) {
            let first = version << 4 | 5;
            check(&mut bench, &packet, |bytes| bytes[l3] = first, Event::PassBadHeader);
        }
        for total_len in 0..20 {
            check(&mut bench, &packet, put16(l3 + 2, total_len), Event::PassBadHeader);
        }
        let whole = u16::try_from(packet.build().len() - l3).expect("short");
        for total_len in [whole + 1, whole + 2, 1500, u16::MAX] {
            check(&mut bench, &packet, put16(l3 + 2, total_len), Event::PassTruncated);
        }
        // Options that reach beyond the packet's end.
        check(&mut bench, &packet, |bytes| bytes[l3] = 0x4f, Event::PassBadHeader);
    }
}

/// An update keeps a checksum as wrong as it was.
#[test]
fn ipv4_headers_with_a_wrong_checksum() {
    let mut bench = site();
    for plain in valid(false) {
        for packet in [plain.clone(), plain.clone().options(&[1; 4]), plain.options(&[1; 40])] {
            let [l3, l4] = [packet.l3(), packet.l4()];
            // Each byte is under the checksum; version, length and fragments are looked at before.
            for at in (l3 + 8..l4).chain([l3 + 1, l3 + 4, l3 + 5]) {
                for bit in [1, 0x80] {
                    let mut bytes = packet.build();
                    bytes[at] ^= bit;
                    let outcome = bench.run(&bytes);
                    assert_eq!(outcome.events(), [Event::PassBadHeader], "{packet}, byte {at}");
                }
            }
        }
    }
    assert!(bench.flows().is_empty() && bench.pins().is_empty() && bench.replies().is_empty());
}

#[test]
fn ipv4_options_that_cannot_be() {
    let mut bench = site();
    let mut refused = |options: &[u8], want: Event| {
        for packet in valid(false) {
            check(&mut bench, &packet.options(options), |_| {}, want);
        }
    };
    // Shorter than kind and length, or longer than all options.
    for length in [0, 1, 5, 255] {
        refused(&[7, length, 4, 0], Event::PassBadHeader);
        refused(&[1, 1, 1, 7, 3, 4, 7, length], Event::PassBadHeader);
    }
    // The last byte begins one: its length stands in the next header.
    refused(&[1, 1, 1, 7], Event::PassBadHeader);
    // Loose and strict source routes, alone and behind others.
    for route in [131, 137] {
        refused(&[route, 7, 4, 192, 0, 2, 9, 0], Event::PassSourceRoute);
        refused(&[1, route, 7, 4, 192, 0, 2, 9], Event::PassSourceRoute);
        refused(&[148, 4, 0, 0, 1, route, 3, 4], Event::PassSourceRoute);
        // One that has been gone to its end too.
        refused(&[route, 3, 4, 0], Event::PassSourceRoute);
        refused(&[route, 1, 4, 0], Event::PassBadHeader);
    }
}

#[test]
fn ipv4_options_that_are_carried() {
    let mut bench = site();
    let route = [131, 7, 4, 192, 0, 2, 9, 0];
    let carried: [&[u8]; 6] = [
        // Router alert, record route, timestamp, one that nobody knows.
        &[148, 4, 0, 0],
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &[68, 8, 5, 0, 0, 0, 0, 0],
        &[0x9e, 4, 9, 9],
        // What stands behind the end says nothing, nor what stands within another.
        &[&[0], &route[..7]].concat(),
        &[&[7, 12, 4, 0], &route[..]].concat(),
    ];
    for options in carried {
        for packet in valid(false) {
            let outcome = bench.send(&packet.clone().options(options));
            assert_eq!(outcome.fate(), Event::Forwarded, "{packet} {options:?}: {outcome}");
            assert_eq!(outcome.parsed().frame.options, options);
        }
    }
}

/// It ends a flow, if there is one; it begins none.
#[test]
fn a_reset_of_no_flow_leaves_no_trace() {
    let mut bench = site();
    for v6 in [false, true] {
        for flags in [RST, RST | ACK, RST | PSH] {
            check(&mut bench, &tcp(Forward::Nat, v6, flags), |_| {}, Event::DropNoFlow);
            // In `dsr` the backend may know it: the flow's entry may have been evicted.
            check(&mut bench, &tcp(Forward::Dsr, v6, flags), |_| {}, Event::Forwarded);
        }
    }
}

#[test]
fn ipv6_headers_that_cannot_be() {
    let mut bench = site();
    for packet in valid(true) {
        let l3 = packet.l3();
        for version in (0..16).filter(|version| *version != 6) {
            check(&mut bench, &packet, |bytes| bytes[l3] = version << 4, Event::PassBadHeader);
        }
        let whole = u16::try_from(packet.build().len() - l3 - 40).expect("short");
        for payload_len in [whole + 1, whole + 2, 1500, u16::MAX] {
            check(&mut bench, &packet, put16(l3 + 4, payload_len), Event::PassTruncated);
        }
        for payload_len in 0..8 {
            check(&mut bench, &packet, put16(l3 + 4, payload_len), Event::PassTruncated);
        }
    }
}

#[test]
fn a_family_that_the_ethertype_does_not_say() {
    let mut bench = site();
    for packet in valid(false) {
        let packet = packet.payload(b"as long as an IPv6 header");
        check(&mut bench, &packet, put16(12, 0x86dd), Event::PassBadHeader);
    }
    for packet in valid(true) {
        let mut bytes = packet.build();
        put16(12, 0x0800)(&mut bytes);
        assert_eq!(bench.run(&bytes).events(), [Event::PassBadHeader]);
    }
    for packet in all() {
        for other in [0x0806, 0x8847, 0x88cc, 0x05dc, 0, 0xffff] {
            check(&mut bench, &packet, put16(12, other), Event::PassNotIp);
        }
    }
}

#[test]
fn three_tags_are_one_too_many() {
    let mut bench = site();
    for packet in all() {
        for tags in [[(VLAN, 1), (VLAN, 2), (VLAN, 3)], [(QINQ, 1), (QINQ, 2), (VLAN, 3)]] {
            check(&mut bench, &packet.clone().tags(&tags), |_| {}, Event::PassNotIp);
        }
    }
}

#[test]
fn tcp_headers_of_impossible_length() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let packet = tcp(forward, v6, SYN);
        let at = packet.l4() + 12;
        for words in 0..5 {
            check(&mut bench, &packet, |bytes| bytes[at] = words << 4, Event::DropBadTcp);
        }
        // Longer than the segment is.
        for words in 6..16 {
            check(&mut bench, &packet, |bytes| bytes[at] = words << 4, Event::DropBadTcp);
        }
        let with_options = packet.tcp_options(&[1; 40]);
        check(&mut bench, &with_options, |bytes| bytes[at] = 4 << 4, Event::DropBadTcp);
    }
}

#[test]
fn tcp_flags_that_no_stack_sends() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for flags in 0..=255 {
            let packet = tcp(forward, v6, flags);
            let [fin, syn, rst, ack] = [FIN, SYN, RST, ACK].map(|flag| flags & flag != 0);
            if syn && (fin || rst) || !(fin || syn || rst || ack) {
                check(&mut bench, &packet, |_| {}, Event::DropBadTcp);
            } else {
                let ends_nothing = rst && forward == Forward::Nat;
                let want = if ends_nothing { Event::DropNoFlow } else { Event::Forwarded };
                assert_eq!(bench.send(&packet).fate(), want, "{packet}");
                bench.forget_flows();
                bench.forget_replies();
                bench.forget_pins();
            }
        }
        check(&mut bench, &tcp(forward, v6, PSH), |_| {}, Event::DropBadTcp);
    }
}

#[test]
fn udp_lengths_that_cannot_be() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let packet = udp(forward, v6);
        let at = packet.l4() + 4;
        let whole = 8 + 5;
        for len in (0..8).chain([whole + 1, whole + 2, 1000, u16::MAX]) {
            check(&mut bench, &packet, put16(at, len), Event::DropBadUdp);
        }
    }
}

#[test]
fn ports_of_zero() {
    let mut bench = site();
    for packet in all() {
        let l4 = packet.l4();
        check(&mut bench, &packet, put16(l4, 0), Event::DropBadSource);
        check(&mut bench, &packet, put16(l4 + 2, 0), Event::PassNoListener);
    }
}

#[test]
fn sources_that_no_client_has() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let v4_sources = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.1"];
        let more_v4 = ["239.1.2.3", "240.0.0.1", "255.255.255.255"];
        let v6_sources = ["::", "::1", "ff02::1", "ff0e::123"];
        let sources: &[&str] = if v6 { &v6_sources } else { &[&v4_sources[..], &more_v4].concat() };
        for packet in [tcp(forward, v6, SYN), tcp(forward, v6, ACK), udp(forward, v6)] {
            for source in sources {
                let mut packet = packet.clone();
                packet.source.set_ip(source.parse().expect("an address"));
                check(&mut bench, &packet, |_| {}, Event::DropBadSource);
            }
            // The listener's own address, from any port.
            for port in [packet.destination.port(), 1, 40_000] {
                let mut packet = packet.clone();
                packet.source = (packet.destination.ip(), port).into();
                check(&mut bench, &packet, |_| {}, Event::DropBadSource);
            }
        }
    }
}

/// From there the backend's answer would be taken for a client's packet to another listener.
#[test]
fn sources_that_are_the_balancers_own() {
    let mut bench = site();
    for (address, protocol) in
        [("203.0.113.77:53", Protocol::Udp), ("[2001:db8::77]:443", Protocol::Tcp)]
    {
        let _key = bench.listener(protocol, address, 1, 0);
    }
    for (forward, v6) in WAYS {
        let own: [IpAddr; 2] = if v6 {
            ["2001:db8::77".parse().expect("an address"), NAT_SOURCE_V6.into()]
        } else {
            ["203.0.113.77".parse().expect("an address"), NAT_SOURCE_V4.into()]
        };
        for packet in [tcp(forward, v6, SYN), tcp(forward, v6, ACK), udp(forward, v6)] {
            for source in own {
                let mut packet = packet.clone();
                packet.source.set_ip(source);
                check(&mut bench, &packet, |_| {}, Event::DropBadSource);
            }
        }
    }
}

/// Backends may be clients of other listeners, and of their own.
#[test]
fn a_backend_is_a_client_like_any_other() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        let mut packet = tcp(forward, v6, SYN);
        packet.source.set_ip(if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, 0x11].into()
        } else {
            [10, 0, 0, 11].into()
        });
        assert_eq!(bench.send(&packet).fate(), Event::Forwarded, "{packet}");
    }
}

/// Else a packet of one family would reach listeners, flows and pins of the other.
#[test]
fn ipv4_addresses_in_ipv6_headers_are_on_no_wire() {
    let mut bench = site();
    let check = |bench: &mut Bench, source: &str, destination: &str| {
        for port in [80, 81, 82] {
            let [source, destination] = [(source, 40_000), (destination, port)]
                .map(|(ip, port)| (ip.parse::<IpAddr>().expect("an address"), port).into());
            for packet in [Frame::tcp(source, destination, SYN), Frame::udp(source, destination)] {
                self::check(bench, &packet, |_| {}, Event::PassBadHeader);
            }
        }
    };
    check(&mut bench, "::ffff:192.0.2.1", "2001:db8:f::10");
    check(&mut bench, "2001:db8:1::1", "::ffff:203.0.113.10");
    check(&mut bench, "::ffff:192.0.2.1", "::ffff:203.0.113.10");
}

/// Of datagrams for nobody here. What becomes of others: see `packet_fragment`.
#[test]
fn fragments_of_others_go_up() {
    let mut bench = site();
    for mut packet in all() {
        packet.destination =
            if packet.v6() { socket("[2001:db8::99]:80") } else { socket("203.0.113.99:80") };
        let whole = as_ip(&packet.payload(&[7; 80]));
        let [first, middle, last] = whole.fragments(7, 40).try_into().expect("three fragments");
        for (one, want) in [
            (first, Event::PassNoListener),
            (middle, Event::PassFragment),
            (last, Event::PassFragment),
        ] {
            assert_eq!(bench.run(&one.build()).events(), [want], "{one}");
        }
    }
    assert!(bench.datagrams().is_empty(), "of others, remembered");
    // The reserved bit, and that a packet is not to be fragmented, say nothing.
    for packet in valid(false) {
        for flags in [0x8000, 0x4000, 0xc000] {
            let mut bytes = packet.build();
            put16(packet.l3() + 6, flags)(&mut bytes);
            fix_ip_checksum(&mut bytes, packet.l3());
            assert_eq!(bench.run(&bytes).fate(), Event::Forwarded, "{packet}");
        }
    }
}

#[test]
fn chains_of_extension_headers_that_are_too_long() {
    let mut bench = site();
    for packet in valid(true) {
        let too_many = packet.clone().extensions(&[(60, 8); 9]);
        check(&mut bench, &too_many, |_| {}, Event::PassExtensionChain);
        let far_too_many = packet.clone().extensions(&[(60, 8); 100]);
        check(&mut bench, &far_too_many, |_| {}, Event::PassExtensionChain);
        let too_long = packet.clone().extensions(&[(0, 520)]);
        check(&mut bench, &too_long, |_| {}, Event::PassExtensionChain);
        let together = packet.clone().extensions(&[(0, 264), (60, 256)]);
        check(&mut bench, &together, |_| {}, Event::PassExtensionChain);
        // A route to go on with: the destination is not the last one.
        let routed = packet.clone().extensions(&[(43, 24)]);
        let segments_left = routed.l3() + 43;
        let on = |bytes: &mut Vec<u8>| bytes[segments_left] = 1;
        check(&mut bench, &routed, on, Event::PassSourceRoute);
        // One header says that it is longer than the packet.
        let one = packet.extensions(&[(0, 8)]);
        let units = one.l3() + 41;
        for (value, want) in [
            (63, Event::PassBadHeader),
            (20, Event::PassBadHeader),
            (64, Event::PassExtensionChain),
            (255, Event::PassExtensionChain),
        ] {
            check(&mut bench, &one, |bytes| bytes[units] = value, want);
        }
    }
}

#[test]
fn a_chain_that_ends_in_what_is_not_carried() {
    let mut bench = site();
    for packet in valid(true) {
        let at = packet.l3() + 6;
        // No next header; ESP; AH; SCTP; IP in IP; what is not given out.
        for next in [59, 50, 51, 132, 41, 4, 253] {
            check(&mut bench, &packet, |bytes| bytes[at] = next, Event::PassNotTcpUdp);
        }
    }
    for packet in valid(false) {
        let at = packet.l3() + 9;
        for next in [2, 4, 41, 47, 50, 51, 132, 0, 44, 58, 255] {
            check(&mut bench, &packet, |bytes| bytes[at] = next, Event::PassNotTcpUdp);
        }
    }
}

/// What becomes of others: see `packet_icmp`.
#[test]
fn icmp_errors_about_nothing_go_up() {
    let mut bench = site();
    for packet in valid(false) {
        let (proto, l4) = (packet.l3() + 9, packet.l4());
        for kind in 0..=255 {
            let error = matches!(kind, 3 | 4 | 5 | 11 | 12);
            let want = if error { Event::PassIcmpError } else { Event::PassNotTcpUdp };
            let change = |bytes: &mut Vec<u8>| {
                bytes[proto] = 1;
                bytes[l4] = kind;
            };
            check(&mut bench, &packet, change, want);
        }
    }
    for packet in valid(true) {
        let (next, l4) = (packet.l3() + 6, packet.l4());
        for kind in 0..=255 {
            let want = if kind < 128 { Event::PassIcmpError } else { Event::PassNotTcpUdp };
            let change = |bytes: &mut Vec<u8>| {
                bytes[next] = 58;
                bytes[l4] = kind;
            };
            check(&mut bench, &packet, change, want);
        }
    }
}

#[test]
fn what_is_for_no_listener_goes_up() {
    let mut bench = site();
    for (forward, v6) in WAYS {
        for mut packet in [tcp(forward, v6, SYN), tcp(forward, v6, ACK), udp(forward, v6)] {
            for port in [79, 82, 8080, 1023, 1024, 20_000, 32_767, 32_768, 65_535] {
                packet.destination.set_port(port);
                check(&mut bench, &packet, |_| {}, Event::PassNoListener);
            }
            packet.destination =
                if v6 { socket("[2001:db8::99]:80") } else { socket("203.0.113.99:80") };
            check(&mut bench, &packet, |_| {}, Event::PassNoListener);
        }
    }
}

#[test]
fn a_listener_of_the_other_protocol_is_none() {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Dsr);
    let backend = bench.backend(pool, "10.0.0.11:0");
    bench.table(pool, &[backend]);
    let address = vip(Forward::Dsr, false).to_string();
    let _key = bench.listener(Protocol::Udp, &address, pool, 0);
    let to = vip(Forward::Dsr, false);
    let segment = Frame::tcp(client(false), to, SYN);
    assert_eq!(bench.send(&segment).events(), [Event::PassNoListener]);
    assert_eq!(bench.send(&Frame::udp(client(false), to)).fate(), Event::Forwarded);
}

#[test]
fn bad_answers_are_dropped_too() {
    let mut bench = site();
    for v6 in [false, true] {
        let forwarded = bench.send(&tcp(Forward::Nat, v6, SYN)).parsed().frame;
        let answer = forwarded.turned();
        let mut bytes = answer.build();
        bytes[answer.l4() + 12] = 4 << 4;
        assert_eq!(bench.run(&bytes).events(), [Event::DropBadTcp]);
        let mut bytes = answer.build();
        bytes[answer.l4() + 13] = SYN | FIN;
        assert_eq!(bench.run(&bytes).events(), [Event::DropBadTcp]);

        let forwarded = bench.send(&udp(Forward::Nat, v6)).parsed().frame;
        let answer = forwarded.turned();
        let mut bytes = answer.build();
        bytes[answer.l4() + 4..answer.l4() + 6].copy_from_slice(&7_u16.to_be_bytes());
        assert_eq!(bench.run(&bytes).events(), [Event::DropBadUdp]);
        // From another port or address of the backend: no answer to anything.
        let mut other = answer.clone();
        other.source.set_port(8081);
        assert_eq!(bench.send(&other).events(), [Event::PassNoListener]);
        let mut other = answer;
        other.source.set_ip(if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, 9].into()
        } else {
            [10, 0, 0, 9].into()
        });
        assert_eq!(bench.send(&other).events(), [Event::PassNoListener]);
    }
}
