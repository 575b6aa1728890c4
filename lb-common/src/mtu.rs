//! What the ways to backends carry: MTUs that routers inside tunnels report, kept for a while.
//!
//! Path-MTU discovery (RFC 1191, RFC 8201) for tunnels, as soft state (RFC 2003, 5.1; RFC 2473, 7.1):
//! an error says nothing to the client, whose next packet that is too large is answered.

use crate::{
    address::Address,
    layout::{Encapsulation, Tunnel},
    tunnel::{self, IPIP, IPV6, SMALLEST_MTU},
};

/// A report counts this long, but for a [`UNIT_NS`]: then something larger is tried (RFC 1191, 6.3;
/// RFC 8201, 4).
pub const LIFETIME_NS: u64 = 600_000_000_000;

/// Times are told apart by this, in nanoseconds.
pub const UNIT_NS: u64 = 1 << UNIT_BITS;
const UNIT_BITS: u32 = 26;
const LIFETIME: u32 = LIFETIME_NS.div_ceil(UNIT_NS) as u32;

/// No report.
pub const UNKNOWN: u16 = u16::MAX;

/// What every tunnel carries, whatever routers report, in bytes from the inner IP header on: as much
/// as IPv6 takes for granted, which no sender goes below (RFC 8200, 5; RFC 8201, 4), and as all of
/// IPv4 takes (RFC 791, 3.1). So nobody who forges reports can ask for less.
#[inline(always)]
#[must_use]
pub const fn least(v6: bool) -> u16 {
    if v6 { 1280 } else { 576 }
}

// As configured, all tunnels carry that.
const _: () =
    assert!(tunnel::overhead(Encapsulation::Gue, true) as u32 + 1280 <= SMALLEST_MTU as u32);

/// The largest IP packet that a tunnel carries, in bytes, where routers report `known`. `outer_v6`,
/// `inner_v6`: the family of the outer header, and of the packet.
#[inline(always)]
#[must_use]
pub const fn largest(tunnel: &Tunnel, outer_v6: bool, inner_v6: bool, known: u16) -> u16 {
    let configured = tunnel::largest(tunnel, outer_v6);
    let less = tunnel.mtu.saturating_sub(known);
    let on_the_way = configured.saturating_sub(less);
    let least = least(inner_v6);
    if less == 0 || configured < least {
        configured
    } else if on_the_way < least {
        least
    } else {
        on_the_way
    }
}

/// The MTU that an error reports: `field` is the word behind its checksum, `len` the length of the
/// packet that it is about, by that packet's header. [`UNKNOWN`]: none that is to be believed.
#[inline(always)]
#[must_use]
pub const fn reported(v6: bool, field: [u8; 4], len: u16) -> u16 {
    let [a, b, c, d] = field;
    let mtu = u16::from_be_bytes([c, d]);
    match (v6, a, b) {
        // RFC 8201, 4: less is to be discarded.
        (true, 0, 0) if mtu >= 1280 => mtu,
        (true, ..) => UNKNOWN,
        (false, ..) if mtu == 0 => plateau(len),
        (false, ..) => mtu,
    }
}

/// What a router may have meant that does not say it: the next common size below (RFC 1191, 7).
#[inline(always)]
const fn plateau(len: u16) -> u16 {
    match len {
        32_001.. => 32_000,
        17_915.. => 17_914,
        8_167.. => 8_166,
        4_353.. => 4_352,
        2_003.. => 2_002,
        1_493.. => 1_492,
        1_007.. => 1_006,
        509.. => 508,
        _ => 296,
    }
}

/// What a row of `PATH_MTUS` says at `now_ns` of a backend in that life: an MTU or [`UNKNOWN`].
///
/// From the lowest bit on: 16 bits of the MTU, 16 of the backend's generation, 32 of the time of the
/// report, in units. 0: no report.
#[inline(always)]
#[must_use]
pub const fn known(word: u64, generation: u32, now_ns: u64) -> u16 {
    let age = ((now_ns >> UNIT_BITS) as u32).wrapping_sub((word >> 32) as u32);
    let of_this_life = (word >> 16) as u16 == generation as u16;
    if word != 0 && of_this_life && age < LIFETIME { word as u16 } else { UNKNOWN }
}

/// What becomes of the row by a report about a tunnel of that MTU. `None`: it stays as it is, since
/// no report makes what is known larger (RFC 1191, 3).
#[inline(always)]
#[must_use]
pub const fn learn(
    word: u64,
    reported: u16,
    mtu: u16,
    generation: u32,
    now_ns: u64,
) -> Option<u64> {
    if reported >= mtu || reported > known(word, generation, now_ns) {
        return None;
    }
    let time = (now_ns >> UNIT_BITS) as u32;
    Some((time as u64) << 32 | (generation as u16 as u64) << 16 | reported as u64)
}

/// The outer header of a packet that an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port of UDP, network byte order.
    pub ports_be: [u16; 2],
}

/// Would that tunnel, to the backend at `address`, put a packet with that hash behind that header?
/// That what is in there is of the family that the protocol says, whoever reads it has seen.
#[inline(always)]
#[must_use]
pub fn is_of(outer: &Outer, tunnel: &Tunnel, address: Address, hash: u64) -> bool {
    let between = match Encapsulation::from_code(tunnel.kind) {
        Some(Encapsulation::IpIp) => matches!(outer.protocol, IPIP | IPV6),
        Some(Encapsulation::Gue) => {
            outer.protocol == UDP && outer.ports_be == [tunnel::gue_port_be(hash), tunnel.port_be]
        }
        Some(Encapsulation::None) | None => false,
    };
    between && outer.destination == address && outer.source == tunnel::source(tunnel, hash)
}

/// IP protocol number of UDP.
pub const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const T: u64 = 1_000 * UNIT_NS;

    fn ip(text: &str) -> Address {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn tunnel(kind: Encapsulation, mtu: u16) -> Tunnel {
        Tunnel { source: ip("10.0.0.1"), mtu, port_be: 7, kind: kind.code(), ..Tunnel::default() }
    }

    #[test]
    fn what_fits_by_what_is_reported() {
        use Encapsulation::{Gue, IpIp};
        let check = |kind, outer_v6, inner_v6, known, want| {
            let got = largest(&tunnel(kind, 1500), outer_v6, inner_v6, known);
            assert_eq!(got, want, "{kind:?} {outer_v6} {inner_v6} {known}");
        };
        for known in [UNKNOWN, 9000, 1501, 1500] {
            check(IpIp, false, false, known, 1480);
            check(Gue, true, true, known, 1452);
        }
        check(IpIp, false, false, 1499, 1479);
        check(IpIp, false, false, 596, 576);
        check(IpIp, false, false, 595, 576);
        check(Gue, false, false, 605, 577);
        check(Gue, false, false, 1, 576);
        check(IpIp, true, true, 1321, 1281);
        check(IpIp, true, true, 1320, 1280);
        check(IpIp, true, true, 1280, 1280);
        check(IpIp, true, false, 1280, 1240);
        check(IpIp, false, true, 1, 1280);
        // No tunnel is like that, but what is said of it is no more than it carries.
        assert_eq!(largest(&tunnel(IpIp, 100), false, true, 50), 80);
    }

    #[test]
    fn what_routers_report() {
        let v4 = |mtu: u16, len| {
            reported(false, [1, 2, mtu.to_be_bytes()[0], mtu.to_be_bytes()[1]], len)
        };
        assert_eq!([v4(1, 1500), v4(1400, 1500), v4(u16::MAX, 9)], [1, 1400, u16::MAX]);
        let v6 = |mtu: u32| reported(true, mtu.to_be_bytes(), 1500);
        assert_eq!([v6(1280), v6(1400), v6(65_534)], [1280, 1400, 65_534]);
        for none in [0, 1279, 65_536, 65_536 + 1400, (1 << 24) + 1400, u32::MAX] {
            assert_eq!(v6(none), UNKNOWN, "{none}");
        }
    }

    /// The table of RFC 1191, 7.
    #[test]
    fn routers_that_report_nothing() {
        let sizes = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];
        for (larger, smaller) in sizes.iter().zip(sizes.iter().skip(1)) {
            for len in [smaller + 1, *larger] {
                assert_eq!(reported(false, [0; 4], len), *smaller, "{len}");
            }
        }
    }

    #[test]
    fn reports_get_old_at_the_boundary() {
        let word = learn(0, 1400, 1500, 3, T + 5).expect("it is less");
        let end = T + u64::from(LIFETIME) * UNIT_NS;
        assert!(end - T - LIFETIME_NS < UNIT_NS);
        for (now, want) in [(T, 1400), (T + 6, 1400), (end - 1, 1400), (end, UNKNOWN)] {
            assert_eq!(known(word, 3, now), want, "{now}");
        }
        assert_eq!(known(word, 4, T + 6), UNKNOWN, "another life");
        assert_eq!(known(0, 0, 0), UNKNOWN, "no report");
        // The first backend's first moments.
        assert_eq!(known(learn(0, 1400, 1500, 0, 0).expect("less"), 0, 0), 1400);
    }

    #[test]
    fn only_less_is_learned() {
        let learned = |word, mtu, now| learn(word, mtu, 1500, 1, now);
        assert_eq!(learned(0, 1500, T), None);
        assert_eq!(learned(0, UNKNOWN, T), None);
        let word = learned(0, 1400, T).expect("less than configured");
        assert_eq!(learned(word, 1401, T), None);
        let again = learned(word, 1400, T + UNIT_NS).expect("it still is so");
        assert_eq!(known(again, 1, T + LIFETIME_NS), 1400, "counted from then on");
        assert_eq!(known(learned(word, 1300, T).expect("less"), 1, T), 1300);
        let old = T + LIFETIME_NS + UNIT_NS;
        assert_eq!(known(learned(word, 1450, old).expect("nothing is known"), 1, old), 1450);
    }

    #[test]
    fn packets_of_a_tunnel() {
        use Encapsulation::{Gue, IpIp};
        const HASH: u64 = 0x1234_5678_9abc_def0;
        let address = ip("10.0.0.11");
        let ipip =
            Outer { source: ip("10.0.0.1"), destination: address, protocol: 4, ports_be: [0; 2] };
        let gue = Outer { protocol: 17, ports_be: [tunnel::gue_port_be(HASH), 7], ..ipip };
        let of = |outer: Outer, kind| is_of(&outer, &tunnel(kind, 1500), address, HASH);
        assert!(of(ipip, IpIp) && of(Outer { protocol: 41, ..ipip }, IpIp) && of(gue, Gue));
        let others = [
            Outer { source: ip("10.0.0.2"), ..ipip },
            Outer { destination: ip("10.0.0.12"), ..ipip },
            Outer { protocol: 47, ..ipip },
            Outer { ports_be: [gue.ports_be[0], 8], ..gue },
            Outer { ports_be: [gue.ports_be[0] ^ 1, 7], ..gue },
            Outer { source: ip("fd00::1"), ..gue },
        ];
        for other in others {
            assert!(!of(other, IpIp) && !of(other, Gue), "{other:?}");
        }
        assert!(!of(ipip, Gue) && !of(gue, IpIp) && !of(ipip, Encapsulation::None));
        // Of a prefix, the flow's address only.
        let spread = Address { words_be: [0, 0, 0, 0xff00_0000] };
        let wide = Tunnel { source: ip("10.0.0.0"), spread, ..tunnel(IpIp, 1500) };
        let source = tunnel::source(&wide, HASH);
        assert!(is_of(&Outer { source, ..ipip }, &wide, address, HASH));
        assert!(!is_of(&Outer { source, ..ipip }, &wide, address, HASH ^ 0xff00_0000 << 32));
    }
}
