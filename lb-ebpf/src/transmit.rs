//! Stage 7: link-layer header, then out by the interface the packet came in by or another.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_redirect, bpf_xdp_adjust_head},
    programs::XdpContext,
};
use lb_common::{event::Event, layout::Hop};
use network_types::{eth::EthHdr, vlan::VlanHdr};

use crate::{
    ctx::{ptr_at, read, write},
    parse::Packet,
};

pub(crate) const IPV4_BE: u16 = 0x0800_u16.to_be();
pub(crate) const IPV6_BE: u16 = 0x86dd_u16.to_be();

/// Makes the packet ready to be sent to that hop as it is.
#[inline(always)]
pub(crate) fn ready(ctx: &XdpContext, packet: &Packet, hop: &Hop) -> Result<(), Event> {
    make_room(ctx, packet.vlans, hop.vlans, 0)?;
    link(ctx, packet.v6, hop)
}

/// Moves the packet's begin by so much that there is room for other VLAN tags than it came with,
/// and for `more` bytes between them and its IP header.
#[inline(always)]
pub(crate) fn make_room(
    ctx: &XdpContext,
    vlans: u32,
    vlans_to_be: u32,
    more: i32,
) -> Result<(), Event> {
    let delta = (vlans as i32 - vlans_to_be as i32) * VlanHdr::LEN as i32 - more;
    // SAFETY: the context is the program's own; no pointer into the packet outlives this.
    if delta != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, delta) } != 0 {
        return Err(Event::DropInternal);
    }
    Ok(())
}

/// Writes the link-layer header of an IP packet for that hop.
#[inline(always)]
pub(crate) fn link(ctx: &XdpContext, v6: bool, hop: &Hop) -> Result<(), Event> {
    let ip_be = if v6 { IPV6_BE } else { IPV4_BE };
    let [outer, inner] = hop.vlan_be;
    let ether_type = match hop.vlans {
        0 => ip_be,
        1 => {
            tag(ctx, 0, outer[1], ip_be)?;
            outer[0]
        }
        _ => {
            tag(ctx, 0, outer[1], inner[0])?;
            tag(ctx, 1, inner[1], ip_be)?;
            outer[0]
        }
    };
    ethernet(ctx, hop, ether_type).ok_or(Event::DropInternal)
}

/// Writes the Ethernet header of a packet for that hop. In words: as a whole it would be copied by
/// way of the stack, two bytes at a time.
#[inline(always)]
pub(crate) fn ethernet(ctx: &XdpContext, hop: &Hop, ether_type: u16) -> Option<()> {
    let header = ptr_at::<EthHdr>(ctx, 0)?;
    let (to, from) = (hop.to, hop.from);
    let words = [
        [to[0], to[1], to[2], to[3]],
        [to[4], to[5], from[0], from[1]],
        [from[2], from[3], from[4], from[5]],
    ];
    for (at, word) in words.into_iter().enumerate() {
        // SAFETY: `ptr_at` has checked the bounds; both addresses are in the first twelve bytes.
        unsafe { header.cast::<[u8; 4]>().add(at).write(word) };
    }
    // SAFETY: the same.
    unsafe { (*header).ether_type = ether_type };
    Some(())
}

/// The action that sends a packet out by that interface.
#[inline(always)]
pub(crate) fn out_by(ctx: &XdpContext, interface: u32) -> u32 {
    if interface == ingress(ctx) {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper takes numbers; an interface that is gone makes the kernel drop the
    // packet and trace it.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

#[inline(always)]
fn tag(ctx: &XdpContext, index: usize, tci_be: u16, ether_type: u16) -> Result<(), Event> {
    let header = VlanHdr { tci: tci_be.to_ne_bytes(), ether_type };
    write(ctx, EthHdr::LEN + index * VlanHdr::LEN, header).ok_or(Event::DropInternal)
}

/// The way back to where the packet came from: its MACs the other way round, and its tags.
#[inline(always)]
pub(crate) fn way_back(ctx: &XdpContext, packet: &Packet) -> Hop {
    let Some(ethernet) = read::<EthHdr>(ctx, 0) else { return Hop::default() };
    Hop {
        interface: ingress(ctx),
        to: ethernet.src_addr,
        from: ethernet.dst_addr,
        vlan_be: packet.vlan_be,
        vlans: packet.vlans,
        pad: 0,
    }
}

/// The interface that the packet came in by.
#[inline(always)]
pub(crate) fn ingress(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is the kernel's `xdp_md`, whole and readable.
    unsafe { (*ctx.ctx).ingress_ifindex }
}
