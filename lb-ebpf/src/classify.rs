//! Stage 2: which VIP a packet is for.

use lb_common::{
    address::Address,
    layout::{FlowKey, Own, Vip, VipKey},
};

use crate::maps::{OWN, VIPS};

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

/// Is this one of the balancer's own addresses, a VIP or a NAT source? From there comes no client;
/// an answer sent there would be a client's packet again, of another listener maybe, and so on.
#[inline(always)]
pub(crate) fn is_own(address: &Address) -> bool {
    OWN.get_ptr(address).is_some()
}

/// What is known of an address, if it is the balancer's own.
#[inline(always)]
pub(crate) fn own(address: &Address) -> Option<Own> {
    // SAFETY: the agent replaces an entry as a whole; a removed one's memory is reused at the
    // worst, for another address.
    unsafe { OWN.get(address) }.copied()
}
