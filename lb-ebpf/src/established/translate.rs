//! New addresses and ports for a packet of a flow that is translated.
//!
//! BPF functions of their own, which take what they need from the packet once more: so the way of
//! packets that are not translated carries nothing along for them.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::Delta,
    layout::{Backend, Flow, FlowEntry, FlowKey, Protocol},
};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::{L3, ipv6::addresses, key};
use crate::{
    ctx::{ptr_at, read, write},
    maps::BACKENDS,
    nat,
    parse::TcpHeader,
    rewrite::Endpoints,
};

/// Of IPv4. `life`: the second word of the flow's entry. That all of it is within the packet was
/// checked before.
#[inline(never)]
pub(super) fn ipv4(ctx: &XdpContext, backend: u32, life: u64) {
    let _within = ipv4_within(ctx, backend, life);
}

/// The same of IPv6.
#[inline(never)]
pub(super) fn ipv6(ctx: &XdpContext, backend: u32, life: u64) {
    let _within = ipv6_within(ctx, backend, life);
}

#[inline(always)]
fn ipv4_within(ctx: &XdpContext, backend: u32, life: u64) -> Option<()> {
    const L4: usize = L3 + Ipv4Hdr::LEN;
    let backend = BACKENDS.get(backend)?;
    let header = ptr_at::<Ipv4Hdr>(ctx, L3)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let source = Address::from_v4(header.src_addr);
    let ports_be = read::<[u16; 2]>(ctx, L4)?;
    let flow = key(source, Address::from_v4(header.dst_addr), ports_be, header.proto);
    to_ipv4(ctx, header, &flow, &endpoints(backend, life, &flow)?)
}

/// New addresses and ports in an IPv4 packet with that header.
#[inline(always)]
pub(super) fn to_ipv4(
    ctx: &XdpContext,
    header: &mut Ipv4Hdr,
    flow: &FlowKey,
    to: &Endpoints,
) -> Option<()> {
    header.src_addr = to.source.v4();
    header.dst_addr = to.destination.v4();
    header.check = Delta::NONE
        .word32(flow.source.words_be[3], to.source.words_be[3])
        .word32(flow.destination.words_be[3], to.destination.words_be[3])
        .apply(header.check);
    transport(ctx, L3 + Ipv4Hdr::LEN, flow, to)
}

#[inline(always)]
fn ipv6_within(ctx: &XdpContext, backend: u32, life: u64) -> Option<()> {
    const L4: usize = L3 + Ipv6Hdr::LEN;
    let backend = BACKENDS.get(backend)?;
    let header = ptr_at::<Ipv6Hdr>(ctx, L3)?;
    // SAFETY: as in `ipv4_within`.
    let header = unsafe { &mut *header };
    let [source, destination] = addresses(ctx)?;
    let ports_be = read::<[u16; 2]>(ctx, L4)?;
    let flow = key(source, destination, ports_be, header.next_hdr);
    to_ipv6(ctx, header, &flow, &endpoints(backend, life, &flow)?)
}

/// The same of IPv6.
#[inline(always)]
pub(super) fn to_ipv6(
    ctx: &XdpContext,
    header: &mut Ipv6Hdr,
    flow: &FlowKey,
    to: &Endpoints,
) -> Option<()> {
    header.src_addr = to.source.v6();
    header.dst_addr = to.destination.v6();
    transport(ctx, L3 + Ipv6Hdr::LEN, flow, to)
}

/// What addresses and ports become.
#[inline(always)]
fn endpoints(backend: &Backend, life: u64, flow: &FlowKey) -> Option<Endpoints> {
    let known = Flow::unpack(FlowEntry { owner: 0, life });
    let port_be = backend.port_be;
    Some(Endpoints {
        // Two bits name one of four: it is there.
        source: nat::source(backend, known.source)?,
        destination: backend.address,
        source_port_be: known.port_be,
        destination_port_be: if port_be == 0 { flow.destination_port_be } else { port_be },
    })
}

/// New ports, and the TCP or UDP checksum that follows from these and the new addresses.
#[inline(always)]
fn transport(ctx: &XdpContext, at: usize, flow: &FlowKey, to: &Endpoints) -> Option<()> {
    let delta = Delta::NONE
        .address(flow.source, to.source)
        .address(flow.destination, to.destination)
        .word16(flow.source_port_be, to.source_port_be)
        .word16(flow.destination_port_be, to.destination_port_be);
    let ports = [to.source_port_be.to_ne_bytes(), to.destination_port_be.to_ne_bytes()];
    if flow.protocol == Protocol::Tcp.code() {
        let header = ptr_at::<TcpHeader>(ctx, at)?;
        // SAFETY: as in `ipv4_within`.
        unsafe { (*header).check = delta.apply((*header).check) };
    } else {
        let header = ptr_at::<UdpHdr>(ctx, at)?;
        // SAFETY: as in `ipv4_within`.
        unsafe { (*header).check = delta.apply_udp((*header).check) };
    }
    write(ctx, at, ports)
}
