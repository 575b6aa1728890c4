//! What one packet's stages hand on, in memory of the CPU's own: more than fits on the stack.

use lb_common::{
    address::Address,
    event::Event,
    fingerprint::Fingerprint,
    layout::{
        Answer, BackendRef, Datagram, FLOWS_IN_LINE, FlowKey, FragmentKey, Hop, Pin, PinKey, Reply,
    },
};

use crate::{
    icmp::Quoted,
    lines::Found,
    maps::WORK,
    mtu::QuotedOuter,
    parse::{Kind, Options, Packet},
    rewrite::Endpoints,
};

/// The packet under way.
pub(crate) struct Work {
    /// What parse read.
    pub(crate) packet: Packet,
    /// What that is looked at for, or why it is not.
    pub(crate) parsed: Result<Kind, Event>,
    /// Its IPv4 options, while they are looked at.
    pub(crate) options: Options,
    /// The packet that it is about, of an ICMP error.
    pub(crate) quoted: Quoted,
    /// The header around that packet, where that came out of a tunnel.
    pub(crate) quoted_outer: QuotedOuter,
    /// The fingerprint of its flow, where the short way may know it.
    pub(crate) print: Fingerprint,
    /// Its client: who sent it or, of an answer, who gets it.
    pub(crate) client: Address,
    /// Row of its listener; 0: none.
    pub(crate) listener: u32,
    /// The backend it goes to or comes from, by pin, hash or entry.
    pub(crate) backend: BackendRef,
    /// The client's pin could not be written.
    pub(crate) pin_owed: u8,
    /// Addresses and ports are rewritten.
    pub(crate) translated: u8,
    /// The code of the encapsulation on the way to its backend.
    pub(crate) tunnel: u8,
    /// What the interface takes that it is to leave by, if it is larger; else 0.
    pub(crate) mtu: u16,
    /// It makes a new flow.
    pub(crate) new_flow: u8,
    /// The state of its flow.
    pub(crate) state: u8,
    /// What places of a line offer to a new flow; see [`crate::lines`].
    pub(crate) offers: [u64; FLOWS_IN_LINE],
    /// Its client has a pin, honoured or not.
    pub(crate) pinned: bool,
    /// Where its flow's entry is, or could be.
    pub(crate) found: Found,
    /// Translated: the source that it gets, and which of the backend's that is.
    pub(crate) nat_address: Address,
    pub(crate) nat_port_be: u16,
    pub(crate) nat_source: u8,
    /// What addresses and ports are rewritten to.
    pub(crate) to: Endpoints,
    /// Where it leaves.
    pub(crate) hop: Hop,
    /// Room for keys and values that are looked up or inserted.
    pub(crate) pin_key: PinKey,
    pub(crate) pin: Pin,
    pub(crate) reply_key: FlowKey,
    pub(crate) reply: Reply,
    pub(crate) answer: Answer,
    pub(crate) fragment_key: FragmentKey,
    pub(crate) datagram: Datagram,
}

/// This packet's room.
///
/// Each stage looks it up anew: what it reads then is unknown to the verifier, which so forgets
/// by which of the many ways a packet came instead of following each through all that comes after.
#[inline(always)]
pub(crate) fn work<'a>() -> Option<&'a mut Work> {
    // SAFETY: the row is this CPU's own and nothing interrupts the program on it; a stage that
    // calls another does not use its reference after the call has looked up another.
    WORK.get_ptr_mut(0).map(|work| unsafe { &mut *work })
}
