//! Keys and values of the BPF maps, declared once for both sides.
//!
//! Integers only, no implicit padding (the `Pod` derive refuses it at compile time). Any change
//! here moves [`crate::maps::LAYOUT_VERSION`]: bpffs-pinned maps outlive the process.

mod answer;
mod backend;
mod counters;
mod decap;
mod flood;
mod flow;
mod fragment;
mod identity;
mod own;
mod pin;
mod running;
mod settings;
mod sweep;
mod tunnel;
mod vip;

pub use answer::{ANSWERS_IN_LINES, Answer, AnswerLines, Origin};
pub use backend::{Backend, BackendRef, BackendState, Hop, NAT_SOURCES, ON_DOWN_KEEP};
pub use counters::{BackendCounters, ListenerCounters};
pub use decap::{DECAP_OUTER, DECAP_SOURCES, DECAP_VIP, DecapCounters, DecapFrom};
pub use flood::Flood;
pub use flow::{FLOWS_IN_LINE, Flow, FlowEntry, FlowKey, FlowLine, FlowSpace, Reply, TcpState};
pub use fragment::{Course, Datagram, FragmentKey};
pub use identity::{IdentityKey, Kind, NAME_BYTES, Name};
pub use own::{OWN_ECHO, OWN_SIDECAR, OWN_TCP, OWN_UDP, Own};
pub use pin::{Pin, PinKey};
pub use running::Running;
pub use settings::{Meta, Reclaim, STATES, Settings};
pub use sweep::{Lives, ScopeTimes, SweepRules};
pub use tunnel::{Encapsulation, Tunnel};
pub use vip::{
    Forward, Pool, Protocol, Refresh, Scheduler, Target, VIPS_IN_LINE, Vip, VipKey, VipLine, VipRow,
};

/// Declares a struct that may cross the kernel boundary.
macro_rules! pod {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($body)* }

        // SAFETY: `bytemuck::Pod` has checked that any bytes are valid and none is padding.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}
pub(crate) use pod;

/// Declares an enum whose values stand in a map as a `u8`.
macro_rules! code {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)+ }

        impl $name {
            /// The value with this code, if there is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The code that stands in a map.
            #[inline(always)]
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }
        }
    };
}
pub(crate) use code;
