//! The backends' program (`holdfast decap`): what it takes out of tunnels, and what it leaves alone.

use std::net::IpAddr;

use lb_common::decap::DecapEvent;
use lb_userspace::{api::Prefix, decap::Rules};
use tests::{
    decap::Decap,
    packet::{
        Frame, QINQ, SYN, VLAN, fix_ip_checksum,
        icmp::{Message, as_ip},
        ip::{Ip, Part},
        tunnel::{GUE_PORT, wrap},
    },
};

const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8:f::10"];
const CLIENTS: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
const OUTER_V4: [&str; 2] = ["10.255.1.2", "10.0.0.11"];
const OUTER_V6: [&str; 2] = ["fd00:ff::2", "fd00::11"];
const PORT: u16 = 50_000;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn rules() -> Rules {
    Rules {
        addresses: vec![ip(OUTER_V4[1]), ip(OUTER_V6[1])],
        vips: VIPS.map(ip).to_vec(),
        from: Vec::new(),
        port: GUE_PORT,
    }
}

fn outer(v6: bool) -> Ip {
    let [source, destination] = if v6 { OUTER_V6 } else { OUTER_V4 }.map(ip);
    Ip { ttl: 64, ..Ip::new(source, destination, 0, &[]) }
}

fn frame(v6: bool, tcp: bool) -> Frame {
    let [client, vip] = [CLIENTS, VIPS].map(|pair| ip(pair[usize::from(v6)]));
    let (client, vip) = ((client, 40_000).into(), (vip, 443).into());
    if tcp { Frame::tcp(client, vip, SYN) } else { Frame::udp(client, vip) }
}

/// Every packet in every kind of tunnel.
fn all() -> Vec<(Ip, Option<u16>, Ip)> {
    let mut all = Vec::new();
    for outer_v6 in [false, true] {
        for gue in [None, Some(PORT)] {
            for v6 in [false, true] {
                for tcp in [false, true] {
                    all.push((outer(outer_v6), gue, as_ip(&frame(v6, tcp))));
                }
            }
        }
    }
    all
}

#[track_caller]
fn check_out(decap: &mut Decap, tunnel: &Ip, inner: &Ip) {
    let came = decap.run(&tunnel.build());
    assert_eq!(came.event, DecapEvent::Decapsulated, "{inner} in {tunnel}");
    let want = Ip {
        to: tunnel.to,
        from: tunnel.from,
        tags: tunnel.tags.clone(),
        trailer: tunnel.trailer.clone(),
        ..inner.clone()
    };
    assert_eq!(came.bytes, want.build(), "{inner} in {tunnel}");
}

#[track_caller]
fn check(decap: &mut Decap, bytes: &[u8], want: DecapEvent) {
    let came = decap.run(bytes);
    assert_eq!(came.event, want, "{bytes:02x?}");
}

#[test]
fn every_kind_family_and_protocol_with_any_tags() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        for tags in [&[][..], &[(VLAN, 0x2064)], &[(QINQ, 5), (VLAN, 0xe006)]] {
            for trailer in [vec![], vec![0xee; 9]] {
                let tunnel = Ip { trailer, ..wrap(&outer.clone().tags(tags), gue, &inner) };
                check_out(&mut decap, &tunnel, &inner);
            }
        }
    }
}

#[test]
fn options_fragments_errors_and_pings_in_them() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, plain) in all() {
        let part = Part { id: 5, offset: 1400, more: true };
        let later = Ip { payload: vec![7; 800], ..plain.clone() };
        let mut inners = vec![later.as_part(part)];
        if plain.source.is_ipv4() {
            inners.push(Ip { options: vec![1; 40], ..plain.clone() });
        } else {
            inners.push(Ip { extensions: vec![(60, vec![1, 4, 0, 0, 0, 0])], ..plain.clone() });
        }
        let about = Ip { source: plain.destination, destination: plain.source, ..plain.clone() };
        inners.push(Message::too_big(&about, 1400, 48).packet(plain.source, plain.destination));
        inners.push(
            Message::echo(plain.source.is_ipv6(), b"x").packet(plain.source, plain.destination),
        );
        for inner in inners {
            check_out(&mut decap, &wrap(&outer, gue, &inner), &inner);
        }
    }
}

/// RFC 6040, 4.2, and the checksum that follows from it.
#[test]
fn congestion_marks() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        for class in [0x00, 0xb8, 0x48] {
            for (mark, around, want) in [
                (0, 0, Some(0)),
                (0, 1, Some(0)),
                (0, 2, Some(0)),
                (0, 3, None),
                (1, 0, Some(1)),
                (1, 2, Some(1)),
                (1, 3, Some(3)),
                (2, 0, Some(2)),
                (2, 1, Some(1)),
                (2, 2, Some(2)),
                (2, 3, Some(3)),
                (3, 0, Some(3)),
                (3, 3, Some(3)),
            ] {
                let inner = Ip { tos: class | mark, ..inner.clone() };
                let outer = Ip { tos: 0x28 | around, ..outer.clone() };
                let tunnel = wrap(&outer, gue, &inner);
                match want {
                    Some(mark) => {
                        let inner = Ip { tos: class | mark, ..inner };
                        check_out(&mut decap, &tunnel, &inner);
                    }
                    None => check(&mut decap, &tunnel.build(), DecapEvent::DropCongestion),
                }
            }
        }
    }
}

#[test]
fn hops_used_up_in_the_tunnel() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        let tunnel = |ttl| wrap(&outer, gue, &Ip { ttl, ..inner.clone() });
        check(&mut decap, &tunnel(0).build(), DecapEvent::DropTtlExceeded);
        check_out(&mut decap, &tunnel(1), &Ip { ttl: 1, ..inner.clone() });
    }
}

#[test]
fn addresses_that_were_not_named() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        let (v6, inner_v6) = (outer.source.is_ipv6(), inner.source.is_ipv6());
        // A VIP is no outer address, nor an outer address a VIP.
        for other in if v6 { ["fd00::12", VIPS[1]] } else { ["10.0.0.12", VIPS[0]] } {
            let outer = Ip { destination: ip(other), ..outer.clone() };
            let bytes = wrap(&outer, gue, &inner).build();
            check(&mut decap, &bytes, DecapEvent::PassNotHere);
        }
        for other in if inner_v6 { ["fd00::12", OUTER_V6[1]] } else { ["10.0.0.12", OUTER_V4[1]] } {
            let inner = Ip { destination: ip(other), ..inner.clone() };
            check(&mut decap, &wrap(&outer, gue, &inner).build(), DecapEvent::PassNoVip);
        }
    }
}

#[test]
fn only_from_the_balancers() {
    let from = ["10.255.0.0/16", "10.0.0.1", "fd00:ff::/64"].map(|text| text.parse().expect(text));
    let from: Vec<Prefix> = from.to_vec();
    let mut decap = Decap::new(&Rules { from, ..rules() });
    for (outer, gue, inner) in all() {
        let mut check_from = |source: &str, good: bool| {
            let tunnel = wrap(&Ip { source: ip(source), ..outer.clone() }, gue, &inner);
            if good {
                check_out(&mut decap, &tunnel, &inner);
            } else {
                check(&mut decap, &tunnel.build(), DecapEvent::PassFrom);
            }
        };
        if outer.source.is_ipv6() {
            check_from("fd00:ff::9", true);
            check_from("fd00:fe::9", false);
            check_from("fd00::1", false);
        } else {
            check_from("10.255.9.9", true);
            check_from("10.0.0.1", true);
            check_from("10.0.0.2", false);
            check_from("10.254.255.255", false);
        }
    }
}

#[test]
fn what_is_in_no_tunnel() {
    let mut decap = Decap::new(&rules());
    for v6 in [false, true] {
        for tcp in [false, true] {
            // To a VIP, and to the outer address itself.
            let plain = frame(v6, tcp);
            check(&mut decap, &plain.build(), DecapEvent::PassNoTunnel);
            let mut own = plain;
            own.destination.set_ip(outer(v6).destination);
            check(&mut decap, &own.build(), DecapEvent::PassNoTunnel);
        }
        for protocol in [0, 1, 2, 6, 47, 50, 58, 94, 132] {
            let packet = Ip { protocol, payload: vec![0; 40], ..outer(v6) };
            check(&mut decap, &packet.build(), DecapEvent::PassNoTunnel);
        }
        // Another port.
        let mut gue = wrap(&outer(v6), Some(PORT), &as_ip(&frame(v6, true)));
        gue.payload[3] ^= 1;
        check(&mut decap, &gue.build(), DecapEvent::PassNoTunnel);
    }
    let mut arp = vec![0xff; 14];
    arp[12..14].copy_from_slice(&[8, 6]);
    arp.extend([0; 46]);
    check(&mut decap, &arp, DecapEvent::PassNoTunnel);
    check(&mut decap, &[0; 14], DecapEvent::PassNoTunnel);
}

#[test]
fn wrong_outer_headers() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        let good = wrap(&outer, gue, &inner);
        if !outer.source.is_ipv6() {
            let part = Part { id: 1, offset: 0, more: true };
            check(&mut decap, &good.clone().as_part(part).build(), DecapEvent::PassFragment);
            let part = Part { id: 1, offset: 64, more: false };
            check(&mut decap, &good.clone().as_part(part).build(), DecapEvent::PassFragment);
            let options = Ip { options: vec![1; 4], ..good.clone() };
            check(&mut decap, &options.build(), DecapEvent::PassBadHeader);
            let mut sum = good.build();
            sum[24] ^= 1;
            check(&mut decap, &sum, DecapEvent::PassBadHeader);
        }
        let mut version = good.build();
        version[14] ^= 0x10;
        check(&mut decap, &version, DecapEvent::PassBadHeader);
        if gue.is_some() {
            let mut checksum = good.clone();
            checksum.payload[6] = 1;
            check(&mut decap, &checksum.build(), DecapEvent::PassChecksum);
            // Variant 0 begins with two zero bits, and nothing has the others.
            for first in [0x00, 0x05, 0x55, 0x75, 0xf5] {
                let mut other = good.clone();
                other.payload[8] = first;
                check(&mut decap, &other.build(), DecapEvent::PassBadHeader);
            }
            let mut length = good.clone();
            length.payload[4..6].copy_from_slice(&7_u16.to_be_bytes());
            check(&mut decap, &length.build(), DecapEvent::PassTruncated);
            let long = u16::try_from(good.payload.len()).expect("short") + 1;
            length.payload[4..6].copy_from_slice(&long.to_be_bytes());
            check(&mut decap, &length.build(), DecapEvent::PassTruncated);
        } else {
            // The protocol is that of the other family.
            let protocol = 45 - good.protocol;
            let came = decap.run(&Ip { protocol, ..good.clone() }.build()).event;
            let wrong = [DecapEvent::PassBadHeader, DecapEvent::PassTruncated];
            assert!(wrong.contains(&came), "{came:?}");
        }
    }
}

#[test]
fn wrong_inner_headers() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        let good = wrap(&outer, gue, &inner);
        let at = if gue.is_some() { 8 } else { 0 };
        let len_at = at + if inner.source.is_ipv6() { 4 } else { 2 };
        let mut long = good.clone();
        let [high, low] = [long.payload[len_at], long.payload[len_at + 1]];
        let more = u16::from_be_bytes([high, low]) + 1;
        long.payload[len_at..len_at + 2].copy_from_slice(&more.to_be_bytes());
        check(&mut decap, &long.build(), DecapEvent::PassTruncated);
        if !inner.source.is_ipv6() {
            for (at, value) in [(at, 0x44), (at + 3, 19)] {
                let mut bad = good.clone();
                bad.payload[at] = value;
                check(&mut decap, &bad.build(), DecapEvent::PassBadHeader);
            }
        }
        // A mapped address is not the listener's of IPv4.
        if inner.source.is_ipv6() {
            let mapped = Ip { destination: ip("::ffff:203.0.113.10"), ..inner.clone() };
            check(&mut decap, &wrap(&outer, gue, &mapped).build(), DecapEvent::PassBadHeader);
        }
    }
}

#[test]
fn cut_off_at_every_length() {
    let mut decap = Decap::new(&rules());
    for (outer, gue, inner) in all() {
        let whole = wrap(&outer, gue, &inner).build();
        for len in 14..whole.len() {
            check(&mut decap, &whole[..len], DecapEvent::PassTruncated);
        }
    }
}

/// Whatever the bytes, what is passed on is as it was, or a packet to a VIP.
#[test]
fn random_damage() {
    let mut decap = Decap::new(&rules());
    let mut random = fastrand::Rng::with_seed(7);
    let (mut out, mut left) = (0, 0);
    for round in 0..20_000 {
        let (outer, gue, inner) = random.choice(all()).expect("one");
        let mut bytes = wrap(&outer, gue, &inner).build();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(14..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.bool() && !outer.source.is_ipv6() && bytes[14] == 0x45 {
            fix_ip_checksum(&mut bytes, 14);
        }
        let came = decap.run(&bytes);
        if came.event == DecapEvent::Decapsulated {
            let destination: IpAddr = match came.bytes[12..14] {
                [8, 0] => <[u8; 4]>::try_from(&came.bytes[30..34]).expect("four bytes").into(),
                _ => <[u8; 16]>::try_from(&came.bytes[38..54]).expect("sixteen bytes").into(),
            };
            assert!(VIPS.map(ip).contains(&destination), "round {round}: {destination}");
            out += 1;
        } else {
            left += 1;
        }
    }
    assert!(out > 1000 && left > 1000, "{out} out, {left} left");
}

#[test]
fn other_ports_and_no_more_sources_than_fit() {
    let mut decap = Decap::new(&Rules { port: 7000, ..rules() });
    let mut gue = wrap(&outer(false), Some(PORT), &as_ip(&frame(false, true)));
    check(&mut decap, &gue.build(), DecapEvent::PassNoTunnel);
    gue.payload[2..4].copy_from_slice(&7000_u16.to_be_bytes());
    check(&mut decap, &gue.build(), DecapEvent::Decapsulated);
    let from: Vec<Prefix> = (0..9).map(|last| Prefix::host([10, 0, 0, last].into())).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let refused = lb_userspace::decap::load(
        lb_userspace::object::DECAP_OBJECT,
        directory.path(),
        &Rules { from, ..rules() },
    );
    let said = refused.err().expect("refused").to_string();
    assert_eq!(said, "9 prefixes to take packets from: up to 8 are allowed");
}
