//! Tunnels: what an outer header holds, what fits behind it, and what is left of it when it is
//! taken off.
//!
//! IP in IP by RFC 2003 (4 in 4), RFC 2473 (6 in 6, 4 in 6) and RFC 4213 (6 in 4); GUE as
//! draft-ietf-intarea-gue-09 has it, in variant 1: a UDP header, then the packet. Congestion
//! marks by RFC 6040.

use crate::{
    address::Address,
    layout::{Encapsulation, Tunnel},
    rate::Rate,
};

/// IP protocol number of an IPv4 packet in another.
pub const IPIP: u8 = 4;
/// IP protocol number of an IPv6 packet in another.
pub const IPV6: u8 = 41;
/// The port of GUE that IANA has registered.
pub const GUE_PORT: u16 = 6080;
/// TTL or hop limit of an outer header: the tunnel is one hop to the packet in it.
pub const TTL: u8 = 64;

/// Length of an outer IPv4 header.
const IPV4_LEN: u16 = 20;
/// Length of an outer IPv6 header.
const IPV6_LEN: u16 = 40;
/// Length of a UDP header.
const UDP_LEN: u16 = 8;

/// The smallest MTU on the way to a backend: what is in any tunnel may then have the 1280 bytes
/// that IPv6 takes for granted (RFC 8200, 5).
pub const SMALLEST_MTU: u16 = 1328;

/// How many bytes a tunnel adds; `v6`: its outer header is IPv6.
#[inline(always)]
#[must_use]
pub const fn overhead(kind: Encapsulation, v6: bool) -> u16 {
    let ip = if v6 { IPV6_LEN } else { IPV4_LEN };
    match kind {
        Encapsulation::None => 0,
        Encapsulation::IpIp => ip,
        Encapsulation::Gue => ip.wrapping_add(UDP_LEN),
    }
}

/// The largest IP packet that a tunnel carries, in bytes; `v6` as in [`overhead`].
#[inline(always)]
#[must_use]
pub const fn largest(tunnel: &Tunnel, v6: bool) -> u16 {
    let overhead = match Encapsulation::from_code(tunnel.kind) {
        Some(kind) => overhead(kind, v6),
        None => 0,
    };
    tunnel.mtu.saturating_sub(overhead)
}

/// What a flow is spread by, of its fingerprint's tag: all 64 bits depend on it (Knuth, "The Art of
/// Computer Programming", 6.4: multiplicative hashing).
#[inline(always)]
#[must_use]
pub const fn flow_hash(tag: u64) -> u64 {
    let mixed = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// The outer source address of a flow with that hash: what spreads a backend's flows over its
/// receive queues.
#[inline(always)]
#[must_use]
pub const fn source(tunnel: &Tunnel, flow_hash: u64) -> Address {
    let [a, b, c, d] = tunnel.source.words_be;
    let [e, f, g, h] = tunnel.spread.words_be;
    let (high, low) = ((flow_hash >> 32) as u32, flow_hash as u32);
    Address { words_be: [a | (e & low), b | (f & high), c | (g & low), d | (h & high)] }
}

/// GUE: the source port of a flow with that hash, network byte order; 49152 to 65535.
#[inline(always)]
#[must_use]
pub const fn gue_port_be(flow_hash: u64) -> u16 {
    (flow_hash as u16 | 0xc000).to_be()
}

/// The first word of an outer IPv6 header, as it stands in the packet: version, traffic class,
/// and a flow label by the flow's hash (RFC 6438).
#[inline(always)]
#[must_use]
pub const fn ipv6_first(class: u8, flow_hash: u64) -> [u8; 4] {
    let label = (flow_hash >> 12) as u32 & 0xf_ffff;
    (6 << 28 | (class as u32) << 20 | label).to_be_bytes()
}

/// A traffic class, from the first two bytes of an IPv6 header.
#[inline(always)]
#[must_use]
pub const fn class_of(first: [u8; 2]) -> u8 {
    let [high, low] = first;
    high << 4 | low >> 4
}

/// Those two bytes with another traffic class.
#[inline(always)]
#[must_use]
pub const fn with_class(first: [u8; 2], class: u8) -> [u8; 2] {
    let [high, low] = first;
    [(high & 0xf0) | class >> 4, class << 4 | (low & 0xf)]
}

/// Type of service or traffic class of a packet that comes out of a tunnel (RFC 6040, 4.2): the
/// inner one, with the congestion mark of the outer one. `None`: the packet is to be dropped,
/// since its sender would not understand the mark.
#[inline(always)]
#[must_use]
pub const fn class_out(inner: u8, outer: u8) -> Option<u8> {
    const ECN: u8 = 3;
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => None,
        (_, CE) => Some(inner | CE),
        (ECT_0, ECT_1) => Some((inner & !ECN) | ECT_1),
        _ => Some(inner),
    }
}

/// How often a client is told that its packets are too big: 8 at once, then as many a second.
/// One bucket serves all clients whose addresses have the same hash; [`BUCKETS`] of them bound
/// the answers to all together to 32,768 a second.
pub const TOO_BIG_RATE: Rate = Rate::new(125_000_000, 8);

/// How many buckets there are; a power of two.
pub const BUCKETS: u32 = 4096;

/// The bucket of a client, by the hash of its address.
#[inline(always)]
#[must_use]
pub const fn bucket(client_hash: u64) -> u32 {
    client_hash as u32 % BUCKETS
}

/// The bits of a client's address that make its bucket: a network of IPv6 is one client.
#[inline(always)]
#[must_use]
pub const fn client_mask(v6: bool) -> Address {
    Address { words_be: if v6 { [!0, !0, 0, 0] } else { [!0; 4] } }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use super::*;

    fn ip(text: &str) -> Address {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn tunnel(source: &str, spread: &str, mtu: u16, kind: Encapsulation) -> Tunnel {
        let (source, spread) = (ip(source), ip(spread));
        // The prefix of a mapped address is no part of what is spread.
        let words_be = if source.is_v4() { [0, 0, 0, spread.words_be[3]] } else { spread.words_be };
        let spread = Address { words_be };
        Tunnel { source, spread, mtu, port_be: 0, kind: kind.code(), pad: [0; 3] }
    }

    #[test]
    fn what_fits() {
        use Encapsulation::{Gue, IpIp, None};
        let check = |kind, v6, want| {
            let tunnel = tunnel("10.0.0.1", "0.0.0.0", 1500, kind);
            assert_eq!(largest(&tunnel, v6), want, "{kind:?} {v6}");
        };
        check(None, false, 1500);
        check(IpIp, false, 1480);
        check(IpIp, true, 1460);
        check(Gue, false, 1472);
        check(Gue, true, 1452);
        let small = tunnel("10.0.0.1", "0.0.0.0", SMALLEST_MTU, Gue);
        assert_eq!(largest(&small, true), 1280);
        let tiny = tunnel("10.0.0.1", "0.0.0.0", 30, Gue);
        assert_eq!(largest(&tiny, true), 0);
    }

    #[test]
    fn sources_stay_in_their_prefix_and_differ() {
        let check = |base: &str, spread: &str, least: usize| {
            let tunnel = tunnel(base, spread, 1500, Encapsulation::IpIp);
            let mut seen = BTreeSet::new();
            for n in 0..1000_u64 {
                let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
                let got = source(&tunnel, hash);
                let inverse = Address { words_be: tunnel.spread.words_be.map(|word| !word) };
                assert_eq!(got.masked(inverse), tunnel.source, "{base} {spread}");
                assert_eq!(got.is_v4(), tunnel.source.is_v4());
                let _new = seen.insert(got);
            }
            assert!(seen.len() >= least, "{} sources of {base} {spread}", seen.len());
        };
        check("10.255.0.0", "0.0.255.255", 900);
        check("10.255.0.0", "0.0.0.255", 200);
        check("10.255.0.1", "0.0.0.0", 1);
        check("fd00:ff::", "::ffff:ffff:ffff:ffff", 900);
        check("fd00:ff::", "::ffff", 900);
    }

    #[test]
    fn ports_and_labels() {
        for hash in [0, u64::MAX, 0x1234_5678_9abc_def0] {
            assert!(u16::from_be(gue_port_be(hash)) >= 49_152);
            let first = ipv6_first(0xa5, hash);
            assert_eq!(first[0] >> 4, 6);
            assert_eq!(class_of([first[0], first[1]]), 0xa5);
        }
        assert_ne!(ipv6_first(0, 1 << 20), ipv6_first(0, 2 << 20));
    }

    #[test]
    fn classes_in_ipv6() {
        for class in 0..=255 {
            let bytes = with_class([0x61, 0x2f], class);
            assert_eq!(class_of(bytes), class);
            assert_eq!([bytes[0] & 0xf0, bytes[1] & 0xf], [0x60, 0xf]);
        }
    }

    /// The table of RFC 6040, 4.2; `None`: drop.
    #[test]
    fn congestion_marks() {
        let (not, one, zero, ce) = (0, 1, 2, 3);
        let table = [
            (not, [Some(not), Some(not), Some(not), None]),
            (zero, [Some(zero), Some(zero), Some(one), Some(ce)]),
            (one, [Some(one), Some(one), Some(one), Some(ce)]),
            (ce, [Some(ce), Some(ce), Some(ce), Some(ce)]),
        ];
        for (inner, row) in table {
            for (outer, want) in [not, zero, one, ce].into_iter().zip(row) {
                for (class, other) in [(0, 0), (0xb8, 0), (0, 0xfc), (0x48, 0x20)] {
                    let got = class_out(class | inner, other | outer);
                    assert_eq!(got, want.map(|mark| class | mark), "{inner} in {outer}");
                }
            }
        }
    }

    #[test]
    fn buckets() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let [a, b, c] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(ip);
        assert_eq!(a.masked(client_mask(true)), b.masked(client_mask(true)));
        assert_ne!(a.masked(client_mask(true)), c.masked(client_mask(true)));
        let v4 = ip("192.0.2.1");
        assert_eq!(v4.masked(client_mask(false)), v4);
    }
}
