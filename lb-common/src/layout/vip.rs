//! VIPs and pools: what a destination address and port lead to.

use super::{code, pod};
use crate::address::Address;

code! {
    /// Transport protocol, by its IP protocol number.
    pub enum Protocol {
        /// TCP.
        Tcp = 6,
        /// UDP.
        Udp = 17,
    }
}

code! {
    /// What refreshes a pin (P4).
    pub enum Refresh {
        /// Any packet of a flow on the pinned backend.
        Activity = 0,
        /// Only a new flow.
        NewConnection = 1,
        /// Nothing.
        Never = 2,
    }
}

code! {
    /// Forwarding mode of a pool.
    pub enum Forward {
        /// Full NAT.
        Nat = 0,
        /// Direct server return.
        Dsr = 1,
        /// Encapsulated, to backends that answer clients themselves.
        Tunnel = 2,
    }
}

code! {
    /// How a pool chooses a backend for a new flow that follows no pin.
    pub enum Scheduler {
        /// By the hash of its client, or of itself.
        Maglev = 0,
        /// The next one, each as often as its weight says.
        RoundRobin = 1,
        /// The one with fewer running flows for its weight, of two.
        LeastConnections = 2,
    }
}

code! {
    /// Who gets what comes to a VIP.
    pub enum Target {
        /// The backends of its pool.
        Pool = 0,
        /// The sidecar, on a socket of this machine.
        Sidecar = 1,
    }
}

pod! {
    /// What a VIP is found by.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct VipKey {
        /// Destination address.
        pub address: Address,
        /// Destination port, network byte order.
        pub port_be: u16,
        /// A [`Protocol`] code.
        pub protocol: u8,
        /// Zero.
        pub pad: u8,
    }
}

pod! {
    /// What a destination leads to. Of [`Target::Sidecar`] nothing else counts but its listener.
    pub struct Vip {
        /// A pin is valid while it was seen less than this ago (P3), in nanoseconds.
        pub timeout_ns: u64,
        /// Bound on a pin's whole life, in nanoseconds; 0: none.
        pub max_lifetime_ns: u64,
        /// Age from which an activity writes `last_seen` anew, in nanoseconds.
        pub refresh_ns: u64,
        /// The bits of a client address that make its pin.
        pub client_mask: Address,
        /// Row of this listener in `LISTENER_STATS`; at least 1.
        pub listener: u32,
        /// Row of its pool in `POOLS`.
        pub pool: u32,
        /// Pins are kept per scope; 0: no persistence.
        pub scope: u32,
        /// [`Self::refresh_ns`] in [`crate::ticks`], for flows; rounded up.
        pub refresh_ticks: u32,
        /// A [`Refresh`] code.
        pub refresh: u8,
        /// A [`Target`] code.
        pub target: u8,
        /// Zero.
        pub pad: [u8; 6],
    }
}

impl Vip {
    /// Is it the sidecar's?
    #[inline(always)]
    #[must_use]
    pub const fn is_sidecars(&self) -> bool {
        self.target == Target::Sidecar.code()
    }
}

pod! {
    /// A row of the array `VIPS`.
    pub struct VipRow {
        /// Whose it is.
        pub key: VipKey,
        /// Zero.
        pub pad: u32,
        /// What it leads to.
        pub vip: Vip,
    }
}

/// Entries of a [`VipLine`].
pub const VIPS_IN_LINE: usize = 8;

pod! {
    /// A cache line of the array `VIP_INDEX`.
    ///
    /// Which line a VIP's entry is in, and by which tag it is known, follows from its key
    /// ([`crate::fingerprint`]); no two entries of a line have the same tag. An entry is the first
    /// of its first line that was free, or of its second when that one had none. So who looks for
    /// it ends at a free one.
    #[derive(Default)]
    pub struct VipLine {
        /// Tag in the upper 48 bits, row in `VIPS` below; 0: free; [`VipLine::GONE`]. Each is one
        /// word, so a packet finds the old row or the new one.
        pub entries: [u64; VIPS_IN_LINE],
    }
}

impl VipLine {
    /// No VIP's any more; there may be others behind it. No tag is 0.
    pub const GONE: u64 = 1;

    /// An entry that leads to `row`.
    #[inline(always)]
    #[must_use]
    pub const fn entry(tag: u64, row: u16) -> u64 {
        (tag << 16) | row as u64
    }

    /// The row that an entry leads to.
    #[inline(always)]
    #[must_use]
    pub const fn row(entry: u64) -> u16 {
        (entry & 0xffff) as u16
    }

    /// The tag of an entry.
    #[inline(always)]
    #[must_use]
    pub const fn tag(entry: u64) -> u64 {
        entry >> 16
    }
}

pod! {
    /// Value of the array `POOLS`.
    #[derive(Default)]
    pub struct Pool {
        /// Number of the pool's table in `TABLES`, counted from 1; 0: no backend takes clients.
        pub table: u32,
        /// A [`Forward`] code.
        pub forward: u8,
        /// A [`Scheduler`] code.
        pub scheduler: u8,
        /// Zero.
        pub pad: [u8; 2],
    }
}
