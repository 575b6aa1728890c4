//! Fragments: which part of a datagram one is, what is refused, and how long a datagram is
//! remembered.

use crate::{
    event::Event,
    header::{TcpFlags, check_tcp},
    layout::{Datagram, Protocol},
};

/// Datagrams that are remembered at once: rows of `FRAGMENTS`.
pub const DATAGRAMS: u32 = 16_384;

/// A datagram is remembered this long after its first fragment: its others follow at once, and
/// identifications come again.
pub const LIFETIME_NS: u64 = 5_000_000_000;

/// Which part of a datagram a packet carries, as the IPv4 header says it (RFC 791, 3.1): where
/// it begins, in units of eight bytes, below a bit that says whether more follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(u16);

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self(0);

    /// From the flags and offset of an IPv4 header.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(field_be: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(field_be) & (MORE | OFFSET))
    }

    /// From the offset and flag of an IPv6 fragment header (RFC 8200, 4.5). One that holds all of
    /// a datagram is whole (RFC 6946).
    #[inline(always)]
    #[must_use]
    pub const fn from_v6(field_be: [u8; 2]) -> Self {
        let field = u16::from_be_bytes(field_be);
        let more = if field & 1 == 0 { 0 } else { MORE };
        Self((field >> 3) | more)
    }

    /// Is it all of a datagram?
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.0 == 0
    }

    /// Does it begin with the datagram's own header?
    #[inline(always)]
    #[must_use]
    pub const fn has_header(self) -> bool {
        self.0 & OFFSET == 0
    }

    const fn more(self) -> bool {
        self.0 & MORE != 0
    }

    /// Where it begins, in bytes.
    const fn offset(self) -> u32 {
        ((self.0 & OFFSET) as u32).wrapping_mul(8)
    }
}

/// Refuses what no stack sends: a part of `len` bytes that is empty, that does not end where the
/// next can begin, or that ends beyond the longest datagram (RFC 791, 3.2; RFC 8200, 4.5).
#[inline(always)]
const fn check_length(part: Part, len: u32) -> Result<(), Event> {
    let uneven = part.more() && !len.is_multiple_of(8);
    if len == 0 || uneven || part.offset().wrapping_add(len) > u16::MAX as u32 {
        return Err(Event::DropBadFragment);
    }
    Ok(())
}

/// Refuses first fragments of `len` bytes that no stack sends, and TCP headers that do not end in
/// them (RFC 1858; RFC 8200, 4.5). `tcp`: its flags; `own_len` as in [`check_tcp`], or the length
/// that a UDP header says.
#[inline(always)]
pub const fn check_first(
    part: Part,
    tcp: Option<TcpFlags>,
    own_len: u16,
    len: u32,
) -> Result<(), Event> {
    if let Err(event) = check_length(part, len) {
        return Err(event);
    }
    match tcp {
        Some(_) if (own_len as u32).wrapping_mul(4) > len => Err(Event::DropBadFragment),
        Some(flags) => check_tcp(own_len as u8, flags, len),
        None if own_len < 8 => Err(Event::DropBadUdp),
        None => Ok(()),
    }
}

/// Refuses other fragments of `len` bytes that no stack sends, and those that would be written
/// over a TCP header (RFC 1858, 2.2; RFC 3128).
#[inline(always)]
pub const fn check_later(part: Part, protocol: u8, len: u32) -> Result<(), Event> {
    const TCP_HEADER: u32 = 20;
    if protocol == Protocol::Tcp.code() && part.offset() < TCP_HEADER {
        return Err(Event::DropBadFragment);
    }
    check_length(part, len)
}

/// Is the datagram still remembered?
#[inline(always)]
#[must_use]
pub const fn in_time(made_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(made_ns) < LIFETIME_NS
}

/// Is a first fragment at `now_ns` that goes the way `new` one that `old` was made by, sent once
/// more? Then it keeps its identification: others of the datagram may be on their way with it.
#[inline(always)]
#[must_use]
pub fn is_repeated(old: &Datagram, new: &Datagram, now_ns: u64) -> bool {
    in_time(old.made_ns, now_ns)
        && old.course == new.course
        && old.port_be == new.port_be
        && old.backend == new.backend
        && old.source == new.source
        && old.destination == new.destination
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        layout::{BackendRef, Course, Hop},
    };

    const UDP: u8 = 17;
    const TCP: u8 = 6;
    const ACK: Option<TcpFlags> = Some(TcpFlags(TcpFlags::ACK));

    fn part(more: bool, eights: u16) -> Part {
        Part::from_v4((u16::from(more) << 13 | eights).to_be_bytes())
    }

    #[test]
    fn parts_as_both_families_say_them() {
        // Don't fragment and the reserved bit say nothing.
        for whole in [0, 0x4000, 0x8000, 0xc000_u16] {
            assert_eq!(Part::from_v4(whole.to_be_bytes()), Part::WHOLE, "{whole:x}");
        }
        // Nor do the two reserved bits of IPv6.
        for whole in [0, 2, 4, 6_u16] {
            assert_eq!(Part::from_v6(whole.to_be_bytes()), Part::WHOLE, "{whole:x}");
        }
        for more in [false, true] {
            for eights in [0, 1, 2, 185, OFFSET] {
                let four = part(more, eights);
                assert_eq!(four, Part::from_v6((eights << 3 | u16::from(more)).to_be_bytes()));
                assert_eq!(four.is_whole(), !more && eights == 0);
                assert_eq!(four.has_header(), eights == 0);
                assert_eq!((four.offset(), four.more()), (u32::from(eights) * 8, more));
            }
        }
    }

    #[test]
    fn lengths_at_their_boundaries() {
        let bad = Err(Event::DropBadFragment);
        let check = |more, eights, len, want| {
            assert_eq!(check_later(part(more, eights), UDP, len), want, "{more} {eights} {len}");
        };
        check(true, 1, 0, bad);
        check(false, 1, 0, bad);
        check(true, 1, 7, bad);
        check(true, 1, 8, Ok(()));
        check(true, 1, 9, bad);
        check(false, 1, 1, Ok(()));
        check(false, OFFSET, 7, Ok(()));
        check(false, OFFSET, 8, bad);
        check(true, OFFSET - 1, 8, Ok(()));
        check(true, OFFSET, 8, bad);
    }

    #[test]
    fn nothing_is_written_over_a_tcp_header() {
        for (eights, want) in [(1, false), (2, false), (3, true), (4, true)] {
            assert_eq!(check_later(part(true, eights), TCP, 8).is_ok(), want, "{eights}");
            assert!(check_later(part(true, eights), UDP, 8).is_ok(), "{eights}");
        }
    }

    #[test]
    fn first_fragments_hold_the_header() {
        let check = |tcp, own_len, len, want: Result<(), Event>| {
            assert_eq!(check_first(part(true, 0), tcp, own_len, len), want, "{own_len} {len}");
        };
        let bad = Err(Event::DropBadFragment);
        check(ACK, 5, 24, Ok(()));
        check(ACK, 6, 24, Ok(()));
        check(ACK, 7, 24, bad);
        check(ACK, 4, 24, Err(Event::DropBadTcp));
        check(Some(TcpFlags(0)), 5, 24, Err(Event::DropBadTcp));
        check(ACK, 5, 25, bad);
        // Longer than what is there: of course.
        check(None, 8_008, 8, Ok(()));
        check(None, 8, 8, Ok(()));
        check(None, 7, 8, Err(Event::DropBadUdp));
        check(None, 8_008, 9, bad);
    }

    #[test]
    fn remembered_below_the_lifetime() {
        assert!(in_time(10, 10) && in_time(10, 9));
        assert!(in_time(10, 10 + LIFETIME_NS - 1));
        assert!(!in_time(10, 10 + LIFETIME_NS));
    }

    #[test]
    fn the_same_way_keeps_its_identification() {
        let old = Datagram {
            made_ns: 10,
            backend: BackendRef::new(1, 1),
            source: Address::from_v4([10, 0, 0, 1]),
            destination: Address::from_v4([10, 0, 0, 2]),
            hop: Hop::default(),
            listener: 1,
            port_be: 7,
            id_be: 9,
            course: Course::Forwarded.code(),
            pad: [0; 7],
        };
        let new = Datagram { made_ns: 20, id_be: 0, ..old };
        assert!(is_repeated(&old, &new, 20));
        assert!(!is_repeated(&old, &new, 10 + LIFETIME_NS));
        assert!(!is_repeated(&old, &Datagram { port_be: 8, ..new }, 20));
        assert!(!is_repeated(&old, &Datagram { backend: BackendRef::new(1, 2), ..new }, 20));
        assert!(!is_repeated(&old, &Datagram { course: Course::Replied.code(), ..new }, 20));
    }
}
