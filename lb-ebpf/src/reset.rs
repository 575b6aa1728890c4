//! A TCP reset in answer to a packet whose flow's backend is gone (P9).

use aya_ebpf::{helpers::generated::bpf_xdp_adjust_tail, programs::XdpContext};
use lb_common::{
    checksum::fold,
    event::Event,
    header::{ResetNumbers, TcpFlags, pseudo_header, reset_numbers},
    layout::Protocol,
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use crate::{
    ctx::{len, read, write},
    parse::{Packet, TcpHeader},
};

const TTL: u8 = 64;
/// Don't fragment.
const DF: [u8; 2] = [0x40, 0];

const RESET_LEN: u16 = TcpHeader::LEN as u16;

/// Turns the packet into a reset to its sender: [`Event::ResetSent`]. A reset is not answered by
/// one, nor are fragments, and packets with IP options or extension headers.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, packet: &Packet) -> Result<Event, Event> {
    let event = turn(ctx, packet);
    if matches!(event, Event::ResetSent) { Ok(event) } else { Err(event) }
}

/// Not a `Result`, which is two bytes and so is returned in memory: the register for returned values
/// may then hold a pointer to the stack, which the verifier refuses (Linux 6.18).
#[inline(never)]
fn turn(ctx: &XdpContext, packet: &Packet) -> Event {
    let Some(flags) = packet.tcp else { return Event::DropGone };
    let ip_len = if packet.v6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    if flags.rst() || packet.l4 - packet.l3 != ip_len || !packet.part.is_whole() {
        return Event::DropGone;
    }
    let Some(tcp) = read::<TcpHeader>(ctx, packet.l4) else { return Event::DropInternal };
    let payload = packet.l4_len.saturating_sub(u32::from(packet.own_len) * 4);
    let numbers = reset_numbers(
        flags,
        u32::from_be_bytes(tcp.sequence),
        u32::from_be_bytes(tcp.acknowledgement),
        payload,
    );
    let surplus = len(ctx) as i32 - (packet.l4 as i32 + i32::from(RESET_LEN));
    // SAFETY: the context is the program's own; no pointer into the packet outlives this.
    if surplus > 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, -surplus) } != 0 {
        return Event::DropInternal;
    }
    let done = swap_macs(ctx)
        .and_then(|()| if packet.v6 { ipv6(ctx, packet) } else { ipv4(ctx, packet) })
        .and_then(|()| write(ctx, packet.l4, segment(packet, numbers)));
    match done {
        Some(()) => Event::ResetSent,
        None => Event::DropInternal,
    }
}

#[inline(always)]
pub(crate) fn swap_macs(ctx: &XdpContext) -> Option<()> {
    let old = read::<EthHdr>(ctx, 0)?;
    write(ctx, 0, EthHdr { dst_addr: old.src_addr, src_addr: old.dst_addr, ..old })
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, packet: &Packet) -> Option<()> {
    let mut header = Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: (Ipv4Hdr::LEN as u16 + RESET_LEN).to_be_bytes(),
        id: [0; 2],
        frags: DF,
        ttl: TTL,
        proto: Protocol::Tcp.code(),
        check: [0; 2],
        src_addr: packet.key.destination.v4(),
        dst_addr: packet.key.source.v4(),
    };
    // The addresses are those that the pseudo-header sums up.
    let addresses = pseudo_header(packet.key.source, packet.key.destination, 0, 0);
    let sum = addresses
        + u64::from(u16::from_ne_bytes([header.vihl, header.tos]))
        + u64::from(u16::from_ne_bytes(header.tot_len))
        + u64::from(u16::from_ne_bytes(header.frags))
        + u64::from(u16::from_ne_bytes([header.ttl, header.proto]));
    header.check = (!fold(sum)).to_ne_bytes();
    write(ctx, packet.l3, header)
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, packet: &Packet) -> Option<()> {
    let header = Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: RESET_LEN.to_be_bytes(),
        next_hdr: Protocol::Tcp.code(),
        hop_limit: TTL,
        src_addr: packet.key.destination.v6(),
        dst_addr: packet.key.source.v6(),
    };
    write(ctx, packet.l3, header)
}

#[inline(always)]
fn segment(packet: &Packet, numbers: ResetNumbers) -> TcpHeader {
    let ack = if numbers.acknowledgement.is_some() { TcpFlags::ACK } else { 0 };
    let (offset, flags) = (5 << 4, TcpFlags::RST | ack);
    let sequence = numbers.sequence.to_be_bytes();
    let acknowledgement = numbers.acknowledgement.unwrap_or(0).to_be_bytes();
    let sum =
        pseudo_header(packet.key.source, packet.key.destination, Protocol::Tcp.code(), RESET_LEN)
            + u64::from(packet.key.source_port_be)
            + u64::from(packet.key.destination_port_be)
            + u64::from(u32::from_ne_bytes(sequence))
            + u64::from(u32::from_ne_bytes(acknowledgement))
            + u64::from(u16::from_ne_bytes([offset, flags]));
    TcpHeader {
        source: packet.key.destination_port_be.to_ne_bytes(),
        destination: packet.key.source_port_be.to_ne_bytes(),
        sequence,
        acknowledgement,
        offset,
        flags,
        window: [0; 2],
        check: (!fold(sum)).to_ne_bytes(),
        urgent: [0; 2],
    }
}
