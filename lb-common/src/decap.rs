//! Packets out of tunnels, on a backend: what is counted, and what is refused.

use crate::event::{EventKind, events};

events! {
    /// What became of a packet on a backend.
    pub enum DecapEvent;
    /// How many of these there are.
    pub const DECAP_EVENTS;

    Decapsulated = 0, "decapsulated", Passed, "Taken out of its tunnel, and passed on to the kernel.";
    PassNoTunnel = 1, "pass_no_tunnel", Passed, "No tunnel's packet.";
    PassTruncated = 2, "pass_truncated", Passed, "Shorter than its headers say.";
    PassBadHeader = 3, "pass_bad_header", Passed, "An outer or inner IP header that is impossible, or an outer one with options or a wrong checksum.";
    PassFragment = 4, "pass_fragment", Passed, "A fragment of a tunnel's packet.";
    PassNotHere = 5, "pass_not_here", Passed, "A tunnel's packet to an address that was not named.";
    PassFrom = 6, "pass_from", Passed, "A tunnel's packet from an address that was not named.";
    PassChecksum = 7, "pass_checksum", Passed, "GUE with a UDP checksum, which nobody here checks.";
    PassNoVip = 8, "pass_no_vip", Passed, "A packet in a tunnel to an address that was not named.";
    DropTtlExceeded = 9, "drop_ttl_exceeded", Dropped, "Its TTL or hop limit was used up in the tunnel (RFC 2003, 3.1).";
    DropCongestion = 10, "drop_congestion", Dropped, "Marked for congestion in the tunnel, which its sender would not understand (RFC 6040, 4.2).";
    DropInternal = 11, "drop_internal", Dropped, "The kernel refused a step that cannot fail.";
}

/// A packet's length by its own header, which begins with these bytes; `room`: what the tunnel has
/// for it. Both in bytes.
#[inline(always)]
pub const fn inner_v4(first: u8, total_len: u16, room: u16) -> Result<u16, DecapEvent> {
    let header_len = ((first & 0xf) as u16).wrapping_mul(4);
    if first >> 4 != 4 || header_len < 20 || total_len < header_len {
        return Err(DecapEvent::PassBadHeader);
    }
    if total_len > room { Err(DecapEvent::PassTruncated) } else { Ok(total_len) }
}

/// The same of an IPv6 packet.
#[inline(always)]
pub const fn inner_v6(first: u8, payload_len: u16, room: u16) -> Result<u16, DecapEvent> {
    if first >> 4 != 6 {
        return Err(DecapEvent::PassBadHeader);
    }
    match payload_len.checked_add(40) {
        Some(len) if len <= room => Ok(len),
        _ => Err(DecapEvent::PassTruncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_rows_and_names_tell_the_kind() {
        for (row, event) in DecapEvent::ALL.iter().enumerate() {
            assert_eq!(*event as usize, row, "{event:?}");
            assert_eq!(event.name().starts_with("drop_"), event.kind() == EventKind::Dropped);
        }
    }

    #[test]
    fn lengths_at_their_boundaries() {
        use DecapEvent::{PassBadHeader, PassTruncated};
        assert_eq!(inner_v4(0x45, 20, 20), Ok(20));
        assert_eq!(inner_v4(0x45, 21, 20), Err(PassTruncated));
        assert_eq!(inner_v4(0x46, 23, 99), Err(PassBadHeader));
        assert_eq!(inner_v4(0x44, 40, 99), Err(PassBadHeader));
        assert_eq!(inner_v4(0x65, 40, 99), Err(PassBadHeader));
        assert_eq!(inner_v6(0x60, 0, 40), Ok(40));
        assert_eq!(inner_v6(0x60, 1, 40), Err(PassTruncated));
        assert_eq!(inner_v6(0x60, u16::MAX, u16::MAX), Err(PassTruncated));
        assert_eq!(inner_v6(0x45, 0, 40), Err(PassBadHeader));
    }
}
