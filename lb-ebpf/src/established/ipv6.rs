//! IPv6.

use aya_ebpf::programs::XdpContext;
use lb_common::{address::Address, tunnel::class_of};
use network_types::ip::Ipv6Hdr;

use super::{L3, for_nobody, for_sidecar, key, send, sums, translate, transport, way};
use crate::{
    classify,
    ctx::{len, ptr_at, read},
};

const L4: usize = L3 + Ipv6Hdr::LEN;
/// Where a header's source address is, which its destination follows.
const SOURCE: usize = 8;

/// Source and destination, read in words: as arrays of bytes they would be read one by one.
#[inline(always)]
pub(super) fn addresses(ctx: &XdpContext) -> Option<[Address; 2]> {
    let words = read::<[[[u8; 4]; 4]; 2]>(ctx, L3 + SOURCE)?;
    Some(words.map(|words| Address { words_be: words.map(u32::from_ne_bytes) }))
}

#[inline(always)]
pub(super) fn forward(ctx: &XdpContext) -> Option<u32> {
    let header = read::<Ipv6Hdr>(ctx, L3)?;
    let payload_len = u32::from(u16::from_be_bytes(header.payload_len));
    let [first, second, ..] = header.vcf;
    if first >> 4 != 6 || L4 as u32 + payload_len > len(ctx) as u32 || header.hop_limit <= 1 {
        return None;
    }
    let (ports_be, state) = transport::<true>(ctx, L4, header.next_hdr, payload_len)?;
    let [source, destination] = addresses(ctx)?;
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    let flow = key(source, destination, ports_be, header.next_hdr);
    let sums = sums(&flow);
    let Some(vip) = classify::found_by(sums, &flow) else { return for_nobody(&flow, sums, state) };
    if vip.is_sidecars() {
        return Some(for_sidecar(ctx, vip, state));
    }
    let way = way::of(vip, sums, &flow, state)?;
    let length = Ipv6Hdr::LEN as u32 + payload_len;
    if !way.fits(ctx, true, length) {
        return None;
    }

    let header = ptr_at::<Ipv6Hdr>(ctx, L3)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    unsafe { (*header).hop_limit -= 1 };
    if way.translates() {
        translate::ipv6(ctx, way.flow.backend, way.life);
    }
    Some(send(ctx, &way, true, length as u16, class_of([first, second])))
}
