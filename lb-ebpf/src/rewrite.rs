//! Stage 6: new header fields, and the checksums that follow from them.

use aya_ebpf::programs::XdpContext;
use lb_common::{address::Address, checksum::Delta, event::Event};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    ctx::{ptr_at, read, write},
    parse::Packet,
    work::work,
};

/// The addresses and ports that a packet gets.
pub(crate) struct Endpoints {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) source_port_be: u16,
    pub(crate) destination_port_be: u16,
}

/// Where the checksum stands in a TCP and in a UDP header.
const TCP_CHECK: usize = 16;
const UDP_CHECK: usize = 6;

/// One hop more, and new addresses and ports where the packet is translated.
///
/// A BPF function of its own: its share of the stack is not under that of what is called from the
/// entry. Linux up to 6.6 rounds each share up to 32 bytes, and all of a chain have 512.
#[inline(never)]
pub(crate) fn rewrite(ctx: &XdpContext) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let packet = &work.packet;
    let to = if work.translated != 0 { Some(&work.to) } else { None };
    if packet.v6 {
        ipv6(ctx, packet, to)?;
    } else {
        ipv4(ctx, packet, to)?;
    }
    match to {
        Some(to) if packet.part.has_header() => transport(ctx, packet, to),
        Some(_) | None => Ok(()),
    }
}

#[inline(always)]
fn transport(ctx: &XdpContext, packet: &Packet, to: &Endpoints) -> Result<(), Event> {
    let delta = Delta::NONE
        .address(packet.key.source, to.source)
        .address(packet.key.destination, to.destination)
        .word16(packet.key.source_port_be, to.source_port_be)
        .word16(packet.key.destination_port_be, to.destination_port_be);
    write(ctx, packet.l4, [to.source_port_be.to_ne_bytes(), to.destination_port_be.to_ne_bytes()])
        .ok_or(Event::DropInternal)?;
    let at = packet.l4 + if packet.tcp.is_some() { TCP_CHECK } else { UDP_CHECK };
    let old = read::<[u8; 2]>(ctx, at).ok_or(Event::DropInternal)?;
    let new = if packet.tcp.is_some() { delta.apply(old) } else { delta.apply_udp(old) };
    write(ctx, at, new).ok_or(Event::DropInternal)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, packet: &Packet, to: Option<&Endpoints>) -> Result<(), Event> {
    let header = ptr_at::<Ipv4Hdr>(ctx, packet.l3).ok_or(Event::DropInternal)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let old = u16::from_ne_bytes([header.ttl, header.proto]);
    header.ttl = header.ttl.wrapping_sub(1);
    let mut delta = Delta::NONE.word16(old, u16::from_ne_bytes([header.ttl, header.proto]));
    if let Some(to) = to {
        header.src_addr = to.source.v4();
        header.dst_addr = to.destination.v4();
        delta = delta
            .address(packet.key.source, to.source)
            .address(packet.key.destination, to.destination);
    }
    header.check = delta.apply(header.check);
    Ok(())
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, packet: &Packet, to: Option<&Endpoints>) -> Result<(), Event> {
    let header = ptr_at::<Ipv6Hdr>(ctx, packet.l3).ok_or(Event::DropInternal)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    header.hop_limit = header.hop_limit.wrapping_sub(1);
    if let Some(to) = to {
        header.src_addr = to.source.v6();
        header.dst_addr = to.destination.v6();
    }
    Ok(())
}
