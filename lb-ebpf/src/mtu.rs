//! What the ways to backends carry: asked for large packets, learned from routers inside tunnels.

use aya_ebpf::{
    bindings::bpf_check_mtu_ret::BPF_MTU_CHK_RET_FRAG_NEEDED, helpers::generated::bpf_check_mtu,
    programs::XdpContext,
};
use lb_common::{
    address::Address,
    event::Event,
    icmp,
    layout::Backend,
    mtu::{self as rules, Outer, UDP, UNKNOWN},
    tunnel::{IPIP, IPV6},
};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    classify, clock,
    ctx::read,
    encap,
    flow::Judging,
    icmp::backend_of_flow,
    maps::{BACKENDS, PATH_MTUS},
    parse::quoted,
    transmit,
    work::work,
};

/// What an error says of the packet around the one in a tunnel.
pub(crate) struct QuotedOuter {
    header: Outer,
    /// The MTU that is reported, or [`UNKNOWN`].
    mtu: u16,
}

/// Does an IP packet of `length` bytes fit into the backend's tunnel? Most need not ask.
#[inline(always)]
pub(crate) fn fits(backend: &Backend, id: u32, v6: bool, length: u32) -> bool {
    length <= u32::from(rules::least(v6)) || length <= u32::from(largest(backend, id, v6))
}

/// The largest IP packet of a family that the backend's tunnel carries, in bytes.
#[inline(always)]
pub(crate) fn largest(backend: &Backend, id: u32, v6: bool) -> u16 {
    rules::largest(&backend.tunnel, !backend.address.is_v4(), v6, known(id, backend.generation))
}

/// What the interface that a packet is to leave by takes, if an IP packet of `length` bytes is more
/// than that; else 0. The kernel drops what is sent on to an interface which does not take it, and
/// tells nobody. What leaves by the interface that it came by fits.
#[inline(always)]
pub(crate) fn exceeded(ctx: &XdpContext, interface: u32, v6: bool, length: u32) -> u16 {
    if length <= u32::from(rules::least(v6)) || interface == transmit::ingress(ctx) {
        return 0;
    }
    of_interface(ctx, interface, length)
}

/// A BPF function of its own: the helper wants memory to write to.
#[inline(never)]
fn of_interface(ctx: &XdpContext, interface: u32, length: u32) -> u16 {
    let mut mtu = length;
    // SAFETY: the context is the program's own; the helper reads the length and writes the MTU.
    let answer = unsafe { bpf_check_mtu(ctx.ctx.cast(), interface, &raw mut mtu, 0, 0) };
    // Of an interface that is gone nothing is known; the kernel traces what is sent there.
    if answer == i64::from(BPF_MTU_CHK_RET_FRAG_NEEDED) { mtu as u16 } else { 0 }
}

/// What is reported of the way to a backend.
#[inline(always)]
fn known(id: u32, generation: u32) -> u16 {
    match row(id) {
        // SAFETY: a pointer from a map look-up is valid for the program's run; an aligned word.
        Some(row) => match unsafe { row.read_volatile() } {
            0 => UNKNOWN,
            word => known_now(word, generation),
        },
        None => UNKNOWN,
    }
}

/// The clock is read only if something is reported.
#[inline(never)]
fn known_now(word: u64, generation: u32) -> u16 {
    rules::known(word, generation, clock::now_ns())
}

#[inline(always)]
fn row(id: u32) -> Option<*mut u64> {
    PATH_MTUS.get_ptr_mut(id)
}

/// Learns from an error that something was too big, if it is about a packet in a tunnel:
/// [`Event::PassPathMtu`].
#[inline(always)]
pub(crate) fn learn(ctx: &XdpContext) -> Event {
    match read_quote(ctx).and_then(|()| note()) {
        Ok(()) => Event::PassPathMtu,
        Err(event) => event,
    }
}

/// Reads the outer header that is quoted, of which a tunnel's has no options or extensions, then the
/// packet in it.
#[inline(never)]
fn read_quote(ctx: &XdpContext) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let l3 = work.packet.l4 + icmp::HEADER_LEN;
    let field =
        read::<[u8; 4]>(ctx, work.packet.l4 + icmp::OWN_WORD).ok_or(Event::PassIcmpError)?;
    let outer = &mut work.quoted_outer;
    let (l4, len) = if work.packet.v6 {
        let header = read::<Ipv6Hdr>(ctx, l3).ok_or(Event::PassIcmpError)?;
        outer.header.source = Address::from_v6(header.src_addr);
        outer.header.destination = Address::from_v6(header.dst_addr);
        outer.header.protocol = header.next_hdr;
        (l3 + Ipv6Hdr::LEN, 0)
    } else {
        let header = read::<Ipv4Hdr>(ctx, l3).ok_or(Event::PassIcmpError)?;
        if header.vihl != 0x45 {
            return Err(Event::PassIcmpError);
        }
        outer.header.source = Address::from_v4(header.src_addr);
        outer.header.destination = Address::from_v4(header.dst_addr);
        outer.header.protocol = header.proto;
        (l3 + Ipv4Hdr::LEN, u16::from_be_bytes(header.tot_len))
    };
    outer.mtu = rules::reported(work.packet.v6, field, len);
    if outer.header.source != work.packet.key.destination {
        // It is not about a packet of who gets it.
        return Err(Event::PassIcmpError);
    }
    let (inner, v6) = match outer.header.protocol {
        IPIP => (l4, false),
        IPV6 => (l4, true),
        UDP => {
            let header = read::<UdpHdr>(ctx, l4).ok_or(Event::PassIcmpError)?;
            outer.header.ports_be = [header.src, header.dst].map(u16::from_ne_bytes);
            let inner = l4 + UdpHdr::LEN;
            let [first, _] = read::<[u8; 2]>(ctx, inner).ok_or(Event::PassIcmpError)?;
            (inner, first >> 4 == 6)
        }
        _ => return Err(Event::PassIcmpError),
    };
    quoted(ctx, inner, v6)
}

/// Notes what is reported for the backend of the packet's flow, if the packet was on its way there.
#[inline(never)]
fn note() -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    work.packet.key = work.quoted.key;
    let vip = classify::vip(&work.packet.key).ok_or(Event::PassIcmpError)?;
    let Some(judging) = Judging::new(vip) else { return Err(Event::DropInternal) };
    if backend_of_flow(&judging).is_err() {
        return Err(Event::PassIcmpError);
    }
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    let id = work.backend.id();
    let backend = BACKENDS.get(id).ok_or(Event::DropInternal)?;
    let key = &work.quoted.key;
    let hash = encap::hash(work.quoted.part.is_whole(), work.found.tag, key);
    if !rules::is_of(&work.quoted_outer.header, &backend.tunnel, backend.address, hash) {
        return Err(Event::PassIcmpError);
    }
    work.listener = vip.listener;
    let row = row(id).ok_or(Event::DropInternal)?;
    let (mtu, generation) = (backend.tunnel.mtu, backend.generation);
    // SAFETY: a pointer from a map look-up is valid for the program's run; aligned words. Of two
    // CPUs that write at a time one is lost: there will be another report.
    unsafe {
        let old = row.read_volatile();
        let now_ns = judging.now_ns;
        if let Some(new) = rules::learn(old, work.quoted_outer.mtu, mtu, generation, now_ns) {
            row.write_volatile(new);
        }
    }
    Ok(())
}
