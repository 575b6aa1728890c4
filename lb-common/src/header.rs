//! What is read from headers, and what of it is refused. Header structs are `network-types`'.

use crate::{address::Address, event::Event, layout::FlowKey};

/// TCP flags as they stand in byte 13 of the header (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// ACK.
    pub const ACK: u8 = 16;

    /// FIN is set.
    #[inline(always)]
    #[must_use]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// SYN is set.
    #[inline(always)]
    #[must_use]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// RST is set.
    #[inline(always)]
    #[must_use]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// ACK is set.
    #[inline(always)]
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// A first SYN.
    #[inline(always)]
    #[must_use]
    pub const fn is_opening(self) -> bool {
        self.syn() && !self.ack()
    }

    /// A packet in the middle of a connection: possible, and it changes no flow's state.
    #[inline(always)]
    #[must_use]
    pub const fn is_mid_stream(self) -> bool {
        self.0 & (Self::FIN | Self::SYN | Self::RST | Self::ACK) == Self::ACK
    }

    /// A packet that changes a flow's state.
    #[inline(always)]
    #[must_use]
    pub const fn changes_state(self) -> bool {
        self.0 & (Self::FIN | Self::SYN | Self::RST) != 0
    }

    /// No stack sends these together, or none of them.
    #[inline(always)]
    #[must_use]
    pub const fn impossible(self) -> bool {
        let end = self.fin() || self.rst();
        (self.syn() && end) || self.0 & (Self::FIN | Self::SYN | Self::RST | Self::ACK) == 0
    }
}

/// Longest chain of IPv6 extension headers that is followed.
pub const MAX_EXTENSION_HEADERS: u32 = 8;
/// Most bytes of them.
pub const MAX_EXTENSION_BYTES: u32 = 512;

/// IPv6 extension headers that are stepped over (RFC 8200, 4.1; RFC 6275; RFC 5533; RFC 7401).
#[inline(always)]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, 0 | ROUTING | 60 | 135 | 139 | 140)
}

/// Length of an IPv4 header without options, in bytes.
pub const IPV4_MIN_LEN: usize = 20;
/// Most bytes of IPv4 options.
pub const MAX_OPTION_BYTES: usize = 40;

/// Bytes to step over from an IPv4 option to the next, by its `kind`, the `length` behind that,
/// and the bytes that are `left` of all options (RFC 791, 3.1).
///
/// Unknown ones are carried as they are, which a host ignores (RFC 1122, 3.2.1.8). Not a source
/// route: where its packet goes next is not for a balancer to say (RFC 7126, 4.3 and 4.4).
#[inline(always)]
pub const fn ipv4_option(kind: u8, length: u8, left: usize) -> Result<usize, Event> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    match kind {
        END => Ok(left),
        NO_OPERATION => Ok(1),
        _ if length < 2 || length as usize > left => Err(Event::PassBadHeader),
        LOOSE_ROUTE | STRICT_ROUTE => Err(Event::PassSourceRoute),
        _ => Ok(length as usize),
    }
}

/// IPv6 routing header.
pub const ROUTING: u8 = 43;
/// IPv6 fragment header.
pub const FRAGMENT: u8 = 44;
/// ICMP.
pub const ICMP: u8 = 1;
/// `ICMPv6`.
pub const ICMPV6: u8 = 58;

/// Refuses what no client sends to a listener: addresses and ports.
#[inline(always)]
pub fn check_addresses(packet: &FlowKey) -> Result<(), Event> {
    if packet.source_port_be == 0 {
        return Err(Event::DropBadSource);
    }
    can_come_from(packet.source, packet.destination)
}

/// Refuses addresses that no packet to `destination` comes from.
#[inline(always)]
pub fn can_come_from(source: Address, destination: Address) -> Result<(), Event> {
    if source == destination || !source.can_be_a_source() {
        return Err(Event::DropBadSource);
    }
    Ok(())
}

/// Refuses TCP headers that no stack sends: `data_offset` in words of four bytes, `len` the
/// bytes of header and payload together.
#[inline(always)]
pub const fn check_tcp(data_offset: u8, flags: TcpFlags, len: u32) -> Result<(), Event> {
    if flags.impossible() { Err(Event::DropBadTcp) } else { check_offset(data_offset, len) }
}

/// The part of [`check_tcp`] that is about lengths.
#[inline(always)]
pub const fn check_offset(data_offset: u8, len: u32) -> Result<(), Event> {
    if data_offset < 5 || (data_offset as u32).wrapping_mul(4) > len {
        return Err(Event::DropBadTcp);
    }
    Ok(())
}

/// Refuses UDP headers whose length is not within what the IP header left: `len` bytes.
#[inline(always)]
pub const fn check_udp(udp_len: u16, len: u32) -> Result<(), Event> {
    if udp_len < 8 || udp_len as u32 > len { Err(Event::DropBadUdp) } else { Ok(()) }
}

/// Sequence numbers of a reset (RFC 9293, 3.10.7.1): what to send for a packet that had these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetNumbers {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; `None`: no ACK.
    pub acknowledgement: Option<u32>,
}

/// What a reset carries that answers a packet with `flags`, `sequence`, `acknowledgement` and
/// `payload` bytes after its header.
#[inline(always)]
#[must_use]
pub const fn reset_numbers(
    flags: TcpFlags,
    sequence: u32,
    acknowledgement: u32,
    payload: u32,
) -> ResetNumbers {
    if flags.ack() {
        return ResetNumbers { sequence: acknowledgement, acknowledgement: None };
    }
    let control = (flags.syn() as u32).wrapping_add(flags.fin() as u32);
    let end = sequence.wrapping_add(payload).wrapping_add(control);
    ResetNumbers { sequence: 0, acknowledgement: Some(end) }
}

/// Sum over the pseudo-header of a TCP segment of `len` bytes (RFC 9293, 3.1; RFC 8200, 8.1),
/// for [`crate::checksum::fold`].
#[inline(always)]
#[must_use]
pub const fn pseudo_header(source: Address, destination: Address, protocol: u8, len: u16) -> u64 {
    let [a, b, c, d] = source.words_be;
    let [e, f, g, h] = destination.words_be;
    // The two v4-mapped prefixes add up to twice 0xffff, which is nothing.
    (a as u64)
        .wrapping_add(b as u64)
        .wrapping_add(c as u64)
        .wrapping_add(d as u64)
        .wrapping_add(e as u64)
        .wrapping_add(f as u64)
        .wrapping_add(g as u64)
        .wrapping_add(h as u64)
        .wrapping_add((protocol as u16).to_be() as u64)
        .wrapping_add(len.to_be() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_an_ipv4_option_to_the_next() {
        let check = |kind: u8, length: u8, want: Result<usize, Event>| {
            assert_eq!(ipv4_option(kind, length, 8), want, "{kind} {length}");
        };
        check(0, 99, Ok(8));
        check(1, 99, Ok(1));
        for kind in [7, 68, 130, 148, 255] {
            check(kind, 2, Ok(2));
            check(kind, 8, Ok(8));
            for length in [0, 1, 9, 255] {
                check(kind, length, Err(Event::PassBadHeader));
            }
        }
        for route in [131, 137] {
            check(route, 7, Err(Event::PassSourceRoute));
            check(route, 9, Err(Event::PassBadHeader));
        }
    }

    #[test]
    fn flags_that_no_stack_sends() {
        for bad in [0, 3, 6, 7, 8, 32, 0x2b] {
            assert!(TcpFlags(bad).impossible(), "{bad:#x}");
        }
        for good in [2, 0x12, 0x10, 0x11, 4, 0x14, 0x18, 0xc2, 1] {
            assert!(!TcpFlags(good).impossible(), "{good:#x}");
        }
    }

    #[test]
    fn lengths_at_their_boundaries() {
        let ack = TcpFlags(TcpFlags::ACK);
        assert!(check_tcp(5, ack, 20).is_ok());
        assert_eq!(check_tcp(4, ack, 20), Err(Event::DropBadTcp));
        assert_eq!(check_tcp(6, ack, 23), Err(Event::DropBadTcp));
        assert!(check_tcp(15, ack, 60).is_ok());
        assert!(check_udp(8, 8).is_ok());
        assert_eq!(check_udp(7, 8), Err(Event::DropBadUdp));
        assert_eq!(check_udp(9, 8), Err(Event::DropBadUdp));
    }

    #[test]
    fn resets_are_acceptable_to_the_sender() {
        let none = reset_numbers(TcpFlags(TcpFlags::ACK), 1, 77, 5);
        assert_eq!(none, ResetNumbers { sequence: 77, acknowledgement: None });
        let syn = reset_numbers(TcpFlags(TcpFlags::SYN), 9, 0, 0);
        assert_eq!(syn, ResetNumbers { sequence: 0, acknowledgement: Some(10) });
        let fin = reset_numbers(TcpFlags(TcpFlags::FIN), u32::MAX, 0, 2);
        assert_eq!(fin, ResetNumbers { sequence: 0, acknowledgement: Some(2) });
    }
}
