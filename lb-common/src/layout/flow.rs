//! Flows: five-tuples under way, as clients send them and (in `nat`) as backends answer them.

use super::{BackendRef, Hop, code, pod};
use crate::{address::Address, nat::FIRST_PORT};

/// Ports are counted from here on: 1 is the first that a flow can get.
const BEFORE_PORTS: u16 = FIRST_PORT - 1;

code! {
    /// How far a flow has come.
    pub enum TcpState {
        /// TCP: a SYN came from the client.
        Opening = 0,
        /// TCP: the client has answered, or the flow was met in its middle.
        Established = 1,
        /// TCP: the client sent the first FIN.
        ClientClosing = 2,
        /// TCP: the backend sent the first FIN.
        BackendClosing = 3,
        /// TCP: both sent one, the client first; it waits in TIME-WAIT, the backend does not.
        ClosedByClient = 4,
        /// TCP: both sent one, the backend first; the backend waits in TIME-WAIT.
        ClosedByBackend = 5,
        /// TCP: reset.
        Reset = 6,
        /// Not TCP.
        Stateless = 7,
    }
}

pod! {
    /// A five-tuple as the packet carries it; the key of the LRU map `REPLIES`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct FlowKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Source port, network byte order.
        pub source_port_be: u16,
        /// Destination port, network byte order.
        pub destination_port_be: u16,
        /// A [`super::Protocol`] code.
        pub protocol: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}

impl FlowKey {
    /// All zero: of a packet that is not translated.
    pub const NO_ADDRESS: Address = Address { words_be: [0; 4] };

    /// The same flow seen from the other end.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port_be: self.destination_port_be,
            destination_port_be: self.source_port_be,
            protocol: self.protocol,
            pad: [0; 3],
        }
    }
}

/// Entries of a [`FlowLine`].
pub const FLOWS_IN_LINE: usize = 4;

pod! {
    /// A cache line of the array `FLOWS`.
    ///
    /// Which two lines a flow can be in, and by which tag it is known there, follows from its
    /// five-tuple ([`crate::fingerprint`]).
    #[derive(Default)]
    pub struct FlowLine {
        /// The entries, in no order.
        pub entries: [FlowEntry; FLOWS_IN_LINE],
    }
}

pod! {
    /// The one row of `FLOW_SPACE`: how much of `FLOWS` is in use ([`crate::lines`]). Masks of a
    /// tag's lowest bits.
    ///
    /// The agent changes one of the two at a time, and of it one byte: so it is written as a whole.
    #[derive(Default)]
    pub struct FlowSpace {
        /// Of the regions that flows are placed in.
        pub mask: u32,
        /// Of those that they were placed in before, while some may still be there; else as `mask`.
        pub before: u32,
    }
}

pod! {
    /// Where a flow was placed, in two words, each of them written as one.
    #[derive(Default)]
    pub struct FlowEntry {
        /// The flow's tag in the upper 48 bits, its backend's id below; 0: free.
        pub owner: u64,
        /// The rest of a [`Flow`]. From the lowest bit on: 17 of the generation, 2 of the source,
        /// 15 of the port, 1 for a pin that is owed, 3 of the state, 26 of the time.
        pub life: u64,
    }
}

/// What an entry says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its backend's id.
    pub backend: u32,
    /// The lowest 17 bits of the generation in which it was placed.
    pub generation: u32,
    /// When a packet was last noted, in [`crate::ticks`].
    pub seen: u32,
    /// A [`TcpState`] code.
    pub state: u8,
    /// Its client's pin is still to be written, and the flow provisional: the client has yet to
    /// show that it is real (P12), or the pin could not be written (P11).
    pub pin_owed: bool,
    /// `nat`: which of the backend's sources it comes from.
    pub source: u8,
    /// `nat`: the source port that the backend sees, network byte order; 0 in other modes.
    pub port_be: u16,
}

const GENERATION: u64 = (1 << 17) - 1;
const SOURCE_AT: u32 = 17;
const PORT_AT: u32 = 19;
const OWED_AT: u32 = 34;
const STATE_AT: u32 = 35;
const SEEN_AT: u32 = 38;
const PORT: u64 = (1 << 15) - 1;

impl Flow {
    /// From an entry that is not free.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(entry: FlowEntry) -> Self {
        let life = entry.life;
        let port = (life >> PORT_AT & PORT) as u16;
        Self {
            backend: (entry.owner & 0xffff) as u32,
            generation: (life & GENERATION) as u32,
            seen: (life >> SEEN_AT) as u32,
            state: (life >> STATE_AT & 7) as u8,
            pin_owed: life >> OWED_AT & 1 != 0,
            source: (life >> SOURCE_AT & 3) as u8,
            port_be: if port == 0 { 0 } else { port.wrapping_add(BEFORE_PORTS).to_be() },
        }
    }

    /// The entry of the flow with that tag.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self, tag: u64) -> FlowEntry {
        FlowEntry { owner: (tag << 16) | (self.backend & 0xffff) as u64, life: self.life() }
    }

    /// The second word of the entry.
    #[inline(always)]
    #[must_use]
    pub const fn life(&self) -> u64 {
        let port = u16::from_be(self.port_be).saturating_sub(BEFORE_PORTS);
        (self.generation as u64 & GENERATION)
            | ((self.source & 3) as u64) << SOURCE_AT
            | (port as u64 & PORT) << PORT_AT
            | (self.pin_owed as u64) << OWED_AT
            | ((self.state & 7) as u64) << STATE_AT
            | (self.seen as u64) << SEEN_AT
    }

    /// The backend and its life, whose present generation is `present`: the last one that the bits
    /// which are kept can stand for.
    #[inline(always)]
    #[must_use]
    pub const fn placed(&self, present: u32) -> BackendRef {
        let lives_ago = present.wrapping_sub(self.generation) & GENERATION as u32;
        BackendRef::new(self.backend, present.wrapping_sub(lives_ago))
    }
}

pod! {
    /// Value of the LRU map `REPLIES`: whose flow a backend's answer belongs to (`nat`).
    pub struct Reply {
        /// When a packet was last noted; monotonic clock, nanoseconds. Claimed by compare and
        /// exchange when the port is taken over by another flow.
        pub last_seen_ns: u64,
        /// The backend and its life.
        pub backend: BackendRef,
        /// The flow as the client sends it.
        pub client: FlowKey,
        /// The way back to the client: where its packets come from.
        pub hop: Hop,
        /// Row of the listener in `LISTENER_STATS`.
        pub listener: u32,
        /// A [`TcpState`] code.
        pub state: u8,
        /// Zero.
        pub pad: [u8; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::LAST_PORT;

    #[test]
    fn what_is_packed_is_unpacked() {
        let check = |flow: Flow| {
            let entry = flow.pack(0xffff_ffff_fffe);
            assert_eq!((entry.owner >> 16, Flow::unpack(entry)), (0xffff_ffff_fffe, flow));
        };
        let none = Flow {
            backend: 0,
            generation: 0,
            seen: 0,
            state: 0,
            pin_owed: false,
            source: 0,
            port_be: 0,
        };
        check(none);
        check(Flow { backend: 65_535, ..none });
        check(Flow { generation: 0x1_ffff, ..none });
        check(Flow { seen: (1 << crate::ticks::BITS) - 1, ..none });
        check(Flow { state: TcpState::Stateless.code(), ..none });
        check(Flow { pin_owed: true, ..none });
        check(Flow { source: 3, ..none });
        check(Flow { port_be: FIRST_PORT.to_be(), ..none });
        check(Flow { port_be: LAST_PORT.to_be(), ..none });
    }

    #[test]
    fn lives_that_are_kept_in_part() {
        let placed = |generation: u32, present: u32| {
            let flow =
                Flow { generation: generation & 0x1_ffff, ..Flow::unpack(FlowEntry::default()) };
            flow.placed(present).generation()
        };
        assert_eq!(placed(1, 1), 1);
        assert_eq!(placed(1, 5), 1);
        assert_eq!(placed(0x1_ffff, 0x2_0001), 0x1_ffff);
        assert_eq!(placed(0x2_0001, 0x2_0001), 0x2_0001);
        assert_eq!(placed(1, 0x2_0001), 0x2_0001, "131,072 lives ago");
    }
}
