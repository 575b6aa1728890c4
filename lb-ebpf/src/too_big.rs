//! An ICMP error to the sender of a packet that does not fit into its backend's tunnel.

use core::{hint::black_box, ptr::null_mut};

use aya_ebpf::{
    helpers::generated::{bpf_csum_diff, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    checksum::fold,
    event::Event,
    header::{ICMP, ICMPV6, pseudo_header},
    icmp::{self, TTL, too_big},
    select::client_hash,
    tunnel::{self, TOO_BIG_RATE},
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    clock,
    ctx::{len, ptr_at, write},
    maps::{BACKENDS, TOO_BIG},
    mtu,
    parse::Packet,
    rate, select, transmit,
    work::{Work, work},
};

/// Turns the packet into an error about itself, from the address that it was sent to:
/// [`Event::TooBigAnswered`].
///
/// One without "don't fragment" is answered as well: nobody here would cut it into fragments.
#[inline(never)]
pub(crate) fn answer(ctx: &XdpContext) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(work.backend.id()).ok_or(Event::DropInternal)?;
    if !admitted(&work.packet) {
        return Err(Event::DropTooBigOften);
    }
    let mtu = match work.mtu {
        0 => mtu::largest(backend, work.backend.id(), work.packet.v6),
        of_interface => of_interface,
    };
    work.hop = transmit::way_back(ctx, &work.packet);
    let done = if work.packet.v6 { ipv6(ctx, work, mtu) } else { ipv4(ctx, work, mtu) };
    done.ok_or(Event::DropInternal)?;
    transmit::link(ctx, work.packet.v6, &work.hop)?;
    Ok(Event::TooBigAnswered)
}

/// Has its sender not been told too often?
#[inline(always)]
fn admitted(packet: &Packet) -> bool {
    let client = packet.key.source.masked(tunnel::client_mask(packet.v6));
    let bucket = tunnel::bucket(client_hash(select::seed(), client));
    rate::admits(&TOO_BIG, bucket, TOO_BIG_RATE, clock::now_ns())
}

/// Headers before the packet, and less of it: `before` bytes there, `quoted` of it.
#[inline(always)]
fn shape(ctx: &XdpContext, packet: &Packet, before: usize, quoted: usize) -> Option<()> {
    transmit::make_room(ctx, 0, 0, before as i32).ok()?;
    // Kept apart: else the compiler subtracts halves of the pointers, which the verifier refuses.
    let surplus = black_box(len(ctx)).checked_sub(packet.l3 + before + quoted)?;
    // SAFETY: the context is the program's own; no pointer into the packet outlives this.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, -(surplus as i32)) } != 0 {
        return None;
    }
    Some(())
}

/// Adds the sum of `N` bytes of the packet, at most 512, a multiple of four.
#[inline(always)]
fn sum<const N: usize>(ctx: &XdpContext, at: usize, before: u32) -> Option<u32> {
    const { assert!(N <= 512 && N.is_multiple_of(4)) };
    let bytes = ptr_at::<[u8; N]>(ctx, at)?;
    // SAFETY: `ptr_at` has checked the bounds; the helper only reads.
    let sum = unsafe { bpf_csum_diff(null_mut(), 0, bytes.cast(), N as u32, before) };
    u32::try_from(sum).ok()
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, work: &Work, mtu: u16) -> Option<()> {
    const BEFORE: usize = Ipv4Hdr::LEN + icmp::HEADER_LEN;
    // All of the error is 576 bytes long (RFC 1812, 4.3.2.3).
    const PARTS: [usize; 2] = [512, 576 - BEFORE - 512];
    const QUOTED: usize = PARTS[0] + PARTS[1];
    let packet = &work.packet;
    shape(ctx, packet, BEFORE, QUOTED)?;
    let (l3, quote) = (packet.l3, packet.l3 + BEFORE);
    let mut header = Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: ((BEFORE + QUOTED) as u16).to_be_bytes(),
        id: [0; 2],
        frags: [0x40, 0],
        ttl: TTL,
        proto: ICMP,
        check: [0; 2],
        src_addr: packet.key.destination.v4(),
        dst_addr: packet.key.source.v4(),
    };
    let words = pseudo_header(packet.key.destination, packet.key.source, 0, 0)
        + u64::from(u16::from_ne_bytes([header.vihl, header.tos]))
        + u64::from(u16::from_ne_bytes(header.tot_len))
        + u64::from(u16::from_ne_bytes(header.frags))
        + u64::from(u16::from_ne_bytes([header.ttl, header.proto]));
    header.check = (!fold(words)).to_ne_bytes();
    write(ctx, l3, header)?;
    let quoted = sum::<{ PARTS[0] }>(ctx, quote, 0)?;
    let quoted = sum::<{ PARTS[1] }>(ctx, quote + PARTS[0], quoted)?;
    message(ctx, l3 + Ipv4Hdr::LEN, false, mtu, u64::from(quoted))
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, work: &Work, mtu: u16) -> Option<()> {
    const BEFORE: usize = Ipv6Hdr::LEN + icmp::HEADER_LEN;
    // All of the error is 1280 bytes long (RFC 4443, 2.4).
    const PARTS: [usize; 3] = [512, 512, 1280 - BEFORE - 1024];
    const QUOTED: usize = PARTS[0] + PARTS[1] + PARTS[2];
    const PAYLOAD: u16 = (icmp::HEADER_LEN + QUOTED) as u16;
    let packet = &work.packet;
    shape(ctx, packet, BEFORE, QUOTED)?;
    let (l3, quote) = (packet.l3, packet.l3 + BEFORE);
    let header = Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: PAYLOAD.to_be_bytes(),
        next_hdr: ICMPV6,
        hop_limit: TTL,
        src_addr: packet.key.destination.v6(),
        dst_addr: packet.key.source.v6(),
    };
    write(ctx, l3, header)?;
    let quoted = sum::<{ PARTS[0] }>(ctx, quote, 0)?;
    let quoted = sum::<{ PARTS[1] }>(ctx, quote + PARTS[0], quoted)?;
    let quoted = sum::<{ PARTS[2] }>(ctx, quote + PARTS[0] + PARTS[1], quoted)?;
    let pseudo = pseudo_header(packet.key.destination, packet.key.source, ICMPV6, PAYLOAD);
    message(ctx, l3 + Ipv6Hdr::LEN, true, mtu, u64::from(quoted) + pseudo)
}

/// Writes the ICMP header before a quote that has that sum, with the pseudo-header where there is
/// one.
#[inline(always)]
fn message(ctx: &XdpContext, at: usize, v6: bool, mtu: u16, sum: u64) -> Option<()> {
    let mut words = too_big(v6, mtu);
    let [kind, check, high, low] = &mut words;
    let all = sum + u64::from(*kind) + u64::from(*high) + u64::from(*low);
    *check = !fold(all);
    write(ctx, at, words)
}
