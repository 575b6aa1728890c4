//! Flows: five-tuples under way, as clients send them and (in `nat`) as backends answer them.

use super::{BackendRef, Hop, code, pod};
use crate::address::Address;

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
    /// Key of the LRU maps `FLOWS` and `REPLIES`: a five-tuple as the packet carries it.
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

pod! {
    /// Value of the LRU map `FLOWS`: where a client's flow was placed.
    pub struct Flow {
        /// The backend and its life.
        pub backend: BackendRef,
        /// When a packet was last noted; monotonic clock, nanoseconds.
        pub last_seen_ns: u64,
        /// `nat`: the source address that the backend sees.
        pub nat_address: Address,
        /// `nat`: the source port that the backend sees, network byte order; 0 in other modes.
        pub nat_port_be: u16,
        /// A [`TcpState`] code.
        pub state: u8,
        /// 1: its client's pin could not be written yet (P11), tried again with the next refresh.
        pub pin_owed: u8,
        /// Zero.
        pub pad: u32,
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
