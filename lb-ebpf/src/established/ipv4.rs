//! IPv4.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::{self, fold},
    fragment::Part,
};
use network_types::ip::Ipv4Hdr;

use super::{L3, for_nobody, for_sidecar, key, send, sums, translate, transport, way};
use crate::{
    classify,
    ctx::{len, ptr_at, read},
};

/// Version 4, and a header without options.
const PLAIN: u8 = 0x45;
const L4: usize = L3 + Ipv4Hdr::LEN;

#[inline(always)]
pub(super) fn forward(ctx: &XdpContext) -> Option<u32> {
    let header = read::<Ipv4Hdr>(ctx, L3)?;
    let length = u16::from_be_bytes(header.tot_len);
    let total_len = u32::from(length);
    if header.vihl != PLAIN
        || !Part::from_v4(header.frags).is_whole()
        || total_len < Ipv4Hdr::LEN as u32
        || L3 as u32 + total_len > len(ctx) as u32
        || header.ttl <= 1
    {
        return None;
    }
    let words = read::<[[u8; 4]; 5]>(ctx, L3)?;
    if fold(words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()) != 0xffff {
        return None;
    }
    let l4_len = total_len - Ipv4Hdr::LEN as u32;
    let (ports_be, state) = transport::<false>(ctx, L4, header.proto, l4_len)?;
    let source = Address::from_v4(header.src_addr);
    let flow = key(source, Address::from_v4(header.dst_addr), ports_be, header.proto);
    let sums = sums(&flow);
    let Some(vip) = classify::found_by(sums, &flow) else { return for_nobody(&flow, sums, state) };
    if vip.is_sidecars() {
        return Some(for_sidecar(ctx, vip, state));
    }
    let way = way::of(vip, sums, &flow, state)?;
    if !way.fits(ctx, false, total_len) {
        return None;
    }

    let header = ptr_at::<Ipv4Hdr>(ctx, L3)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let class = header.tos;
    a_hop_less(header);
    if way.translates() {
        translate::ipv4(ctx, way.flow.backend, way.life);
    }
    Some(send(ctx, &way, false, length, class))
}

#[inline(always)]
pub(super) fn a_hop_less(header: &mut Ipv4Hdr) {
    header.ttl -= 1;
    header.check = checksum::a_hop_less(header.check);
}
