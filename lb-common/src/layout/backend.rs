//! Backends: where they are, how to reach them, and in which life they are.

use super::{Tunnel, code, pod};
use crate::address::Address;

code! {
    /// Whether a backend is in service (P9).
    pub enum BackendState {
        /// No backend has this id.
        Unset = 0,
        /// In service.
        Ready = 1,
        /// No new clients; pins and flows honoured.
        Draining = 2,
        /// No new clients, pins not honoured; flows honoured.
        Evacuating = 3,
        /// Out of service, or removed: pins void, flows as `on_down` says.
        Down = 4,
    }
}

/// Bit of [`Backend::flags`]: flows go on while the backend is down (`on_down = "keep"`).
pub const ON_DOWN_KEEP: u8 = 1;

/// The states in which flows are served, a bit each.
const SERVING: u32 = 1 << BackendState::Ready.code()
    | 1 << BackendState::Draining.code()
    | 1 << BackendState::Evacuating.code();

/// NAT source addresses that one backend can have.
pub const NAT_SOURCES: usize = 4;

pod! {
    /// A backend in one of its lives. What a pin or a flow names.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct BackendRef {
        /// Generation in the upper half, id in the lower: one word, so never read half-written.
        pub word: u64,
    }
}

impl BackendRef {
    /// Backend `id` in its life `generation`.
    #[inline(always)]
    #[must_use]
    pub const fn new(id: u32, generation: u32) -> Self {
        Self { word: ((generation as u64) << 32) | id as u64 }
    }

    /// Row in `BACKENDS`.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u32 {
        (self.word & 0xffff_ffff) as u32
    }

    /// Which of its lives.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.word >> 32) as u32
    }
}

pod! {
    /// The link-layer way to a neighbour.
    #[derive(Default, Hash)]
    pub struct Hop {
        /// Interface to leave by; 0: not resolved.
        pub interface: u32,
        /// Destination MAC.
        pub to: [u8; 6],
        /// Source MAC.
        pub from: [u8; 6],
        /// VLAN tags, outer first, each `[TPID, TCI]` in network byte order.
        pub vlan_be: [[u16; 2]; 2],
        /// How many of them: 0 to 2.
        pub vlans: u32,
        /// Zero.
        pub pad: u32,
    }
}

pod! {
    /// Value of the array `BACKENDS`.
    #[derive(Default)]
    pub struct Backend {
        /// The backend's address.
        pub address: Address,
        /// Addresses that `nat` packets to it come from. Flows name them by their place, so one
        /// stays in its place after it is no more to be used, until another needs that.
        pub nat_sources: [Address; NAT_SOURCES],
        /// How to reach it.
        pub hop: Hop,
        /// How packets to it are wrapped up (`tunnel`).
        pub tunnel: Tunnel,
        /// Which of `nat_sources` new flows get: a bit for each, the first one's lowest.
        pub nat_source_mask: u32,
        /// Counts its lives; pins of another generation are void.
        pub generation: u32,
        /// Flows of this generation or a later one are honoured.
        pub flows_since: u32,
        /// Row of its pool in `POOLS`.
        pub pool: u32,
        /// Its port, network byte order; 0: the one that the client asked for.
        pub port_be: u16,
        /// A [`BackendState`] code.
        pub state: u8,
        /// [`ON_DOWN_KEEP`].
        pub flags: u8,
    }
}

impl Backend {
    /// Is it in service for the pins of its present generation?
    #[inline(always)]
    #[must_use]
    pub const fn honours_pin(&self, pinned: BackendRef) -> bool {
        self.generation == pinned.generation()
            && (self.state == BackendState::Ready.code()
                || self.state == BackendState::Draining.code())
    }

    /// Are flows placed in that life still served (P6, P9)?
    #[inline(always)]
    #[must_use]
    pub const fn honours_flow(&self, placed: BackendRef) -> bool {
        if placed.generation() < self.flows_since || placed.generation() > self.generation {
            return false;
        }
        let keep = (self.flags & ON_DOWN_KEEP) as u32;
        let serving = SERVING | keep << BackendState::Down.code();
        serving >> (self.state & 7) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_state_honours() {
        let check = |state: BackendState, flags: u8, pin: bool, flow: bool| {
            let backend = Backend {
                state: state.code(),
                flags,
                generation: 7,
                flows_since: 5,
                ..Backend::default()
            };
            let name = format!("{state:?} {flags}");
            assert_eq!(backend.honours_pin(BackendRef::new(1, 7)), pin, "pin, {name}");
            assert!(!backend.honours_pin(BackendRef::new(1, 6)), "old pin, {name}");
            assert!(!backend.honours_pin(BackendRef::new(1, 8)), "future pin, {name}");
            assert_eq!(backend.honours_flow(BackendRef::new(1, 7)), flow, "flow, {name}");
            assert_eq!(backend.honours_flow(BackendRef::new(1, 5)), flow, "kept flow, {name}");
            assert!(!backend.honours_flow(BackendRef::new(1, 4)), "old flow, {name}");
            assert!(!backend.honours_flow(BackendRef::new(1, 8)), "future flow, {name}");
        };
        check(BackendState::Unset, 0, false, false);
        check(BackendState::Ready, 0, true, true);
        check(BackendState::Draining, 0, true, true);
        check(BackendState::Evacuating, 0, false, true);
        check(BackendState::Down, 0, false, false);
        check(BackendState::Down, ON_DOWN_KEEP, false, true);
    }

    #[test]
    fn reference_halves() {
        let r = BackendRef::new(4095, u32::MAX);
        assert_eq!((r.id(), r.generation()), (4095, u32::MAX));
    }
}
