//! Ways of backends' answers (`nat`), as most of them find theirs: see [`crate::answers`].

use super::pod;
use crate::address::Address;

/// Entries of an [`AnswerLines`].
pub const ANSWERS_IN_LINES: usize = 2;

pod! {
    /// An element of the array `ANSWERS`: two cache lines that lie together.
    ///
    /// Which element an answer's entry is in, and by which tag it is known there, follows from its
    /// five-tuple ([`crate::fingerprint`]).
    #[derive(Default)]
    pub struct AnswerLines {
        /// The entries, in no order.
        pub entries: [Answer; ANSWERS_IN_LINES],
    }
}

pod! {
    /// What becomes of the answers of one five-tuple: a cache line.
    #[derive(Default)]
    pub struct Answer {
        /// Counts what was written here, in the upper half, odd while somebody writes; below, the
        /// lower half of [`Origin::version`]. One word, so it is exchanged as one.
        pub version: u64,
        /// The answers' tag in the upper 48 bits, their backend's id below; 0: free.
        pub owner: u64,
        /// From so many jiffies on it counts no more.
        pub until: u64,
        /// The life of the backend in which the flow was placed.
        pub generation: u32,
        /// The client's port, network byte order.
        pub client_port_be: u16,
        /// Row of the listener in `LISTENER_STATS`, and in `ORIGINS`.
        pub listener: u16,
        /// The client.
        pub client: Address,
        /// The way to it, which has no VLAN tags: the interface to leave by,
        pub interface: u32,
        /// the destination MAC,
        pub to: [u8; 6],
        /// and the source MAC.
        pub from: [u8; 6],
    }
}

pod! {
    /// A row of the array `ORIGINS`, by listener: where its answers come from, for clients.
    #[derive(Default)]
    pub struct Origin {
        /// Counts what was written here; odd while somebody writes.
        pub version: u64,
        /// The listener's address.
        pub address: Address,
        /// Its port, network byte order.
        pub port_be: u16,
        /// Zero.
        pub pad: [u8; 6],
    }
}

const _: () = assert!(size_of::<Answer>() == 64);
