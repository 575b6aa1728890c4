//! ICMP and `ICMPv6`: which messages are looked into, and what changes in an error when the packet
//! that it quotes is translated (RFC 5508, 4.2; RFC 7915, 4.3 does the like).

use crate::{
    checksum::Delta,
    event::Event,
    layout::{FlowKey, Protocol},
};

/// Length of the part that all messages have, and errors before the packet that they quote.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands.
pub const CHECK: usize = 2;
/// Where four bytes stand that each type has for itself: an MTU, of those that report one.
pub const OWN_WORD: usize = 4;
/// Bytes of a quoted packet after its IP header that every error holds (RFC 792), and that are
/// needed: the ports, and of UDP the checksum.
pub const QUOTED_MIN: u32 = 8;
/// Most bytes of extension headers in a quoted IPv6 packet that are stepped over.
pub const QUOTED_EXTENSION_BYTES: usize = 128;
/// TTL or hop limit of an answer.
pub const TTL: u8 = 64;

/// What a message is to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An error that goes where an answer to the packet that it quotes would go.
    Error,
    /// An echo request.
    Echo,
    /// The kernel's.
    Other(Event),
}

/// An ICMP message of that type and code. Source quench and redirects are for nobody else (RFC
/// 6633; RFC 1812, 4.3.3.2).
#[inline(always)]
#[must_use]
pub const fn message_v4(kind: u8, code: u8) -> Message {
    const UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER_PROBLEM: u8 = 12;
    match (kind, code) {
        (UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM, _) => Message::Error,
        (4 | 5, _) => Message::Other(Event::PassIcmpError),
        (8, 0) => Message::Echo,
        _ => Message::Other(Event::PassNotTcpUdp),
    }
}

/// An `ICMPv6` message of that type and code (RFC 4443).
#[inline(always)]
#[must_use]
pub const fn message_v6(kind: u8, code: u8) -> Message {
    match (kind, code) {
        // Unreachable, packet too big, time exceeded, parameter problem.
        (1..=4, _) => Message::Error,
        (0..128, _) => Message::Other(Event::PassIcmpError),
        (128, 0) => Message::Echo,
        _ => Message::Other(Event::PassNotTcpUdp),
    }
}

/// Does an error of that type and code say that a packet was too big for the next hop (RFC 1191, 4;
/// RFC 4443, 3.2)?
#[inline(always)]
#[must_use]
pub const fn is_too_big(v6: bool, kind: u8, code: u8) -> bool {
    if v6 { kind == 2 } else { kind == 3 && code == 4 }
}

/// Type and code of an echo request and of its answer.
#[inline(always)]
#[must_use]
pub const fn echo(v6: bool) -> [[u8; 2]; 2] {
    if v6 { [[128, 0], [129, 0]] } else { [[8, 0], [0, 0]] }
}

/// The header of "fragmentation needed" (RFC 1191, 4) or "packet too big" (RFC 4443, 3.2) with that
/// MTU, in words as they stand in the packet; the second is the checksum, still zero.
#[inline(always)]
#[must_use]
pub const fn too_big(v6: bool, mtu: u16) -> [u16; 4] {
    let kind = if v6 { [2, 0] } else { [3, 4] };
    [u16::from_ne_bytes(kind), 0, 0, mtu.to_be()]
}

/// Where the checksum of that protocol stands in a packet of which `len` bytes from the TCP or UDP
/// header on are quoted; `None`: beyond.
#[inline(always)]
#[must_use]
pub const fn quoted_check(protocol: u8, len: u32) -> Option<usize> {
    const TCP_CHECK: usize = 16;
    const UDP_CHECK: usize = 6;
    let at = if protocol == Protocol::Tcp.code() { TCP_CHECK } else { UDP_CHECK };
    if (at as u32).wrapping_add(2) <= len { Some(at) } else { None }
}

/// Two bytes of a checksum before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// As they stood in the packet.
    pub old: [u8; 2],
    /// As they stand in it now.
    pub new: [u8; 2],
}

impl Change {
    /// Nothing there, or unchanged.
    pub const NONE: Self = Self { old: [0; 2], new: [0; 2] };

    /// What the change does to a checksum over it.
    #[inline(always)]
    #[must_use]
    pub const fn delta(self, delta: Delta) -> Delta {
        delta.word16(u16::from_ne_bytes(self.old), u16::from_ne_bytes(self.new))
    }
}

/// What new endpoints of a quoted packet do to its own TCP or UDP checksum.
#[inline(always)]
#[must_use]
pub const fn endpoints(from: &FlowKey, to: &FlowKey) -> Delta {
    addresses(from, to)
        .word16(from.source_port_be, to.source_port_be)
        .word16(from.destination_port_be, to.destination_port_be)
}

/// What new addresses do to a checksum.
#[inline(always)]
#[must_use]
pub const fn addresses(from: &FlowKey, to: &FlowKey) -> Delta {
    Delta::NONE.address(from.source, to.source).address(from.destination, to.destination)
}

/// The change of a quoted packet's TCP or UDP checksum; UDP's may say that there is none.
#[inline(always)]
#[must_use]
pub const fn quoted_change(protocol: u8, delta: Delta, old: [u8; 2]) -> Change {
    let tcp = protocol == Protocol::Tcp.code();
    Change { old, new: if tcp { delta.apply(old) } else { delta.apply_udp(old) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::Address, checksum::fold};

    #[test]
    fn messages_by_type() {
        let errors = |of: fn(u8, u8) -> Message| -> Vec<u8> {
            (0..=255).filter(|kind| of(*kind, 4) == Message::Error).collect()
        };
        assert_eq!(errors(message_v4), [3, 11, 12]);
        assert_eq!(errors(message_v6), [1, 2, 3, 4]);
        for of_no_flow in [4, 5] {
            assert_eq!(message_v4(of_no_flow, 0), Message::Other(Event::PassIcmpError));
        }
        for unknown in [0, 5, 100, 127] {
            assert_eq!(message_v6(unknown, 0), Message::Other(Event::PassIcmpError));
        }
        let other = Message::Other(Event::PassNotTcpUdp);
        for kind in [0, 9, 13, 40, 128] {
            assert_eq!(message_v4(kind, 0), other, "{kind}");
        }
        for kind in [129, 133, 135, 136, 255] {
            assert_eq!(message_v6(kind, 0), other, "{kind}");
        }
        assert_eq!(
            [message_v4(8, 0), message_v4(8, 1), message_v6(128, 0), message_v6(128, 1)],
            [Message::Echo, other, Message::Echo, other]
        );
    }

    #[test]
    fn quoted_checksums_that_are_there() {
        assert_eq!(quoted_check(17, 7), None);
        assert_eq!(quoted_check(17, 8), Some(6));
        assert_eq!(quoted_check(6, 8), None);
        assert_eq!(quoted_check(6, 17), None);
        assert_eq!(quoted_check(6, 18), Some(16));
    }

    fn key(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> FlowKey {
        FlowKey {
            source: Address::from_v4(source),
            destination: Address::from_v4(destination),
            source_port_be: ports[0].to_be(),
            destination_port_be: ports[1].to_be(),
            protocol: 17,
            pad: [0; 3],
        }
    }

    /// Addresses, ports and checksum of a UDP datagram, as its checksum sums them up.
    fn sum(key: &FlowKey, check: [u8; 2]) -> u16 {
        let [[a, b, c, d], [e, f, g, h]] = [key.source.v4(), key.destination.v4()];
        let words = [[a, b], [c, d], [e, f], [g, h], check].map(u16::from_ne_bytes);
        let ports = [key.source_port_be, key.destination_port_be];
        fold(words.into_iter().chain(ports).map(u64::from).sum())
    }

    #[test]
    fn a_translated_quote_keeps_its_sum() {
        let from = key([203, 0, 113, 10], [192, 0, 2, 1], [80, 40_000]);
        let to = key([10, 0, 0, 11], [10, 0, 0, 254], [8080, 1234]);
        for old in [[0x12, 0x34], [0xff, 0xff], [0, 1]] {
            let change = quoted_change(17, endpoints(&from, &to), old);
            assert_eq!(sum(&from, old), sum(&to, change.new), "{old:x?}");
        }
        assert_eq!(quoted_change(17, endpoints(&from, &to), [0, 0]).new, [0, 0], "it has none");
        let change = quoted_change(6, endpoints(&from, &to), [0, 0]);
        assert_eq!(sum(&from, [0, 0]), sum(&to, change.new), "TCP always has one");
    }

    #[test]
    fn what_does_not_change_changes_nothing() {
        let delta = Change::NONE.delta(Delta::NONE.word16(1, 2));
        assert_eq!(delta.apply([7, 7]), Delta::NONE.word16(1, 2).apply([7, 7]));
    }
}
