//! Stage 2: which VIP a packet is for.

use lb_common::layout::{FlowKey, Vip, VipKey};

use crate::maps::VIPS;

/// The VIP of the packet's destination address, port and protocol.
#[inline(always)]
pub(crate) fn vip(packet: &FlowKey) -> Option<&'static Vip> {
    let key = VipKey {
        address: packet.destination,
        port_be: packet.destination_port_be,
        protocol: packet.protocol,
        pad: 0,
    };
    // SAFETY: the agent replaces a VIP as a whole; a removed one's memory is reused at the worst,
    // for another VIP, and only for a packet that was under way meanwhile.
    unsafe { VIPS.get(&key) }
}
