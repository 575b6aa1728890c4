//! The way of most packets, in front of all stages: a plain packet of a client whose flow is under
//! way, on which nothing is to be noted; and one that is for no VIP.
//!
//! It decides nothing that the stages would not decide alike, and leaves to them whatever is not
//! plain: tags, options, extension headers, fragments, flags that change a flow's state, headers
//! that are wrong, entries that are old. It needs no [`crate::work::Work`], no clock and no hash
//! map: a line of `VIP_INDEX`, a row of `VIPS`, a line of `FLOWS` or two, a row of `BACKENDS`, and
//! two rows of counters.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    address::Address,
    checksum::{Delta, fold},
    features::Features,
    fingerprint::Destination,
    fragment::Part,
    header::{TcpFlags, check_tcp, check_udp},
    layout::{Backend, Encapsulation, Flow, FlowKey, Protocol, TcpState, Vip},
    ticks,
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    classify, clock, count,
    ctx::{len, ptr_at, read, write},
    encap,
    features::have,
    lines,
    maps::BACKENDS,
    nat,
    parse::TcpHeader,
    reply,
    rewrite::Endpoints,
    transmit::{self, IPV4_BE, IPV6_BE},
    work::work,
};

const L3: usize = EthHdr::LEN;

/// The packet is to be wrapped up ([`crate::encap::wrap`]) for its backend, and to be sent.
pub(crate) const WRAP: u32 = 100;

/// Forwards a packet that is of this kind: the XDP action, or [`WRAP`]. 0, which is none
/// (`XDP_ABORTED`): it is not of this kind, and as it came.
///
/// BPF functions of their own, so that what they keep on the stack is not under the stages'.
#[inline(always)]
pub(crate) fn forward(ctx: &XdpContext) -> u32 {
    let Some(ethernet) = read::<EthHdr>(ctx, 0) else { return 0 };
    let [first, ..] = ethernet.dst_addr;
    match ethernet.ether_type {
        _ if first & 1 != 0 => 0,
        IPV4_BE if have(Features::V4) => forward_v4(ctx),
        IPV6_BE if have(Features::V6) => forward_v6(ctx),
        _ => 0,
    }
}

#[inline(never)]
fn forward_v4(ctx: &XdpContext) -> u32 {
    ipv4(ctx).unwrap_or(0)
}

#[inline(never)]
fn forward_v6(ctx: &XdpContext) -> u32 {
    ipv6(ctx).unwrap_or(0)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext) -> Option<u32> {
    const PLAIN: u8 = 0x45;
    const L4: usize = L3 + Ipv4Hdr::LEN;
    let header = read::<Ipv4Hdr>(ctx, L3)?;
    let total_len = u32::from(u16::from_be_bytes(header.tot_len));
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
    let (ports_be, kind) =
        transport::<false>(ctx, L4, header.proto, total_len - Ipv4Hdr::LEN as u32)?;
    let flow = key(
        Address::from_v4(header.src_addr),
        Address::from_v4(header.dst_addr),
        ports_be,
        header.proto,
    );
    let sums = sums(&flow);
    let Some(vip) = classify::found_by(sums, &flow) else { return for_nobody(&flow) };
    let way = way(vip, sums, &flow, kind)?;
    let inner = Inner { v6: false, l4: L4, l4_len: total_len - Ipv4Hdr::LEN as u32 };
    if !way.fits(&inner) {
        return None;
    }
    let to = way.endpoints(&flow);

    let header = ptr_at::<Ipv4Hdr>(ctx, L3)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let old = u16::from_ne_bytes([header.ttl, header.proto]);
    header.ttl -= 1;
    let mut delta = Delta::NONE.word16(old, u16::from_ne_bytes([header.ttl, header.proto]));
    if let Some(to) = &to {
        header.src_addr = to.source.v4();
        header.dst_addr = to.destination.v4();
        delta = delta
            .word32(flow.source.words_be[3], to.source.words_be[3])
            .word32(flow.destination.words_be[3], to.destination.words_be[3]);
        translate(ctx, L4, &flow, to)?;
    }
    header.check = delta.apply(header.check);
    send(ctx, &way, &inner)
}

#[inline(always)]
fn ipv6(ctx: &XdpContext) -> Option<u32> {
    const L4: usize = L3 + Ipv6Hdr::LEN;
    let header = read::<Ipv6Hdr>(ctx, L3)?;
    let payload_len = u32::from(u16::from_be_bytes(header.payload_len));
    if header.vcf[0] >> 4 != 6 || L4 as u32 + payload_len > len(ctx) as u32 || header.hop_limit <= 1
    {
        return None;
    }
    let (ports_be, kind) = transport::<true>(ctx, L4, header.next_hdr, payload_len)?;
    let source = Address::from_v6(header.src_addr);
    let destination = Address::from_v6(header.dst_addr);
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    let flow = key(source, destination, ports_be, header.next_hdr);
    let sums = sums(&flow);
    let Some(vip) = classify::found_by(sums, &flow) else { return for_nobody(&flow) };
    let way = way(vip, sums, &flow, kind)?;
    let inner = Inner { v6: true, l4: L4, l4_len: payload_len };
    if !way.fits(&inner) {
        return None;
    }
    let to = way.endpoints(&flow);

    let header = ptr_at::<Ipv6Hdr>(ctx, L3)?;
    // SAFETY: as in `ipv4`.
    let header = unsafe { &mut *header };
    header.hop_limit -= 1;
    if let Some(to) = &to {
        header.src_addr = to.source.v6();
        header.dst_addr = to.destination.v6();
        translate(ctx, L4, &flow, to)?;
    }
    send(ctx, &way, &inner)
}

/// What a packet's transport header says of its flow.
#[derive(Clone, Copy)]
enum Kind {
    /// A TCP segment in the middle of a connection.
    Segment,
    /// A UDP datagram.
    Datagram,
    /// Something for the stages.
    Other,
}

/// Ports and kind of a packet; `len`: the bytes of TCP or UDP by the IP header.
#[inline(always)]
fn transport<const V6: bool>(
    ctx: &XdpContext,
    at: usize,
    protocol: u8,
    len: u32,
) -> Option<([u16; 2], Kind)> {
    match Protocol::from_code(protocol)? {
        Protocol::Tcp if have(Features::TCP) => {
            let header = read::<TcpHeader>(ctx, at)?;
            if (len as usize) < TcpHeader::LEN {
                return None;
            }
            let flags = TcpFlags(header.flags);
            let plain = check_tcp(header.offset >> 4, flags, len).is_ok() && !flags.changes_state();
            let ports = [u16::from_ne_bytes(header.source), u16::from_ne_bytes(header.destination)];
            Some((ports, if plain { Kind::Segment } else { Kind::Other }))
        }
        Protocol::Udp if have(Features::UDP) => {
            let header = read::<UdpHdr>(ctx, at)?;
            if (len as usize) < UdpHdr::LEN {
                return None;
            }
            let summed = !V6 || header.check != [0; 2];
            let plain = summed && check_udp(u16::from_be_bytes(header.len), len).is_ok();
            let ports = [u16::from_ne_bytes(header.src), u16::from_ne_bytes(header.dst)];
            Some((ports, if plain { Kind::Datagram } else { Kind::Other }))
        }
        Protocol::Tcp | Protocol::Udp => None,
    }
}

#[inline(always)]
fn sums(flow: &FlowKey) -> Destination {
    Destination::new(flow.destination, flow.destination_port_be, flow.protocol, classify::key)
}

/// A packet that is for no VIP goes up, unless it may be an answer.
#[inline(always)]
fn for_nobody(flow: &FlowKey) -> Option<u32> {
    if reply::may_be_answer(flow) {
        return None;
    }
    count::no_listener();
    Some(xdp_action::XDP_PASS)
}

#[inline(always)]
fn key(source: Address, destination: Address, ports_be: [u16; 2], protocol: u8) -> FlowKey {
    let [source_port_be, destination_port_be] = ports_be;
    FlowKey { source, destination, source_port_be, destination_port_be, protocol, pad: [0; 3] }
}

/// The way of a packet.
struct Way {
    vip: &'static Vip,
    backend: &'static Backend,
    flow: Flow,
    tag: u64,
}

/// What a tunnel has to know of a packet.
struct Inner {
    v6: bool,
    l4: usize,
    l4_len: u32,
}

/// The way of a flow that is under way and was noted lately: so it is in time, and it has no pin to
/// refresh. Its addresses were checked when it was placed.
#[inline(always)]
fn way(vip: &'static Vip, destination: Destination, flow: &FlowKey, kind: Kind) -> Option<Way> {
    let state = match kind {
        Kind::Segment => TcpState::Established,
        Kind::Datagram => TcpState::Stateless,
        Kind::Other => return None,
    };
    let print = destination.with_source(flow.source, flow.source_port_be, classify::key);
    let known = Flow::unpack(lines::look(print)?);
    if known.state != state.code()
        || known.pin_owed
        || ticks::since(known.seen, clock::ticks()) >= vip.refresh_ticks
    {
        return None;
    }
    let backend = BACKENDS.get(known.backend)?;
    let served = backend.honours_flow(known.placed(backend.generation));
    let plain = backend.hop.interface != 0 && backend.hop.vlans == 0;
    if served && plain { Some(Way { vip, backend, flow: known, tag: print.tag }) } else { None }
}

impl Way {
    #[inline(always)]
    fn tunnels(&self) -> bool {
        have(Features::TUNNEL) && self.backend.tunnel.kind != Encapsulation::None.code()
    }

    /// Does the packet fit into the backend's tunnel, if it has one?
    #[inline(always)]
    fn fits(&self, inner: &Inner) -> bool {
        let length = (inner.l4 - L3) as u32 + inner.l4_len;
        !self.tunnels() || length <= encap::room(self.backend)
    }

    /// What addresses and ports become, if they are translated.
    #[inline(always)]
    fn endpoints(&self, flow: &FlowKey) -> Option<Endpoints> {
        if !have(Features::NAT) || self.flow.port_be == 0 {
            return None;
        }
        let port_be = self.backend.port_be;
        Some(Endpoints {
            // Two bits name one of four: it is there.
            source: nat::source(self.backend, self.flow.source)?,
            destination: self.backend.address,
            source_port_be: self.flow.port_be,
            destination_port_be: if port_be == 0 { flow.destination_port_be } else { port_be },
        })
    }
}

/// New ports, and the TCP or UDP checksum that follows from these and the new addresses.
#[inline(always)]
fn translate(ctx: &XdpContext, at: usize, flow: &FlowKey, to: &Endpoints) -> Option<()> {
    let delta = Delta::NONE
        .address(flow.source, to.source)
        .address(flow.destination, to.destination)
        .word16(flow.source_port_be, to.source_port_be)
        .word16(flow.destination_port_be, to.destination_port_be);
    let ports = [to.source_port_be.to_ne_bytes(), to.destination_port_be.to_ne_bytes()];
    write(ctx, at, ports)?;
    if flow.protocol == Protocol::Tcp.code() {
        let header = ptr_at::<TcpHeader>(ctx, at)?;
        // SAFETY: as in `ipv4`.
        unsafe { (*header).check = delta.apply((*header).check) };
    } else {
        let header = ptr_at::<UdpHdr>(ctx, at)?;
        // SAFETY: as in `ipv4`.
        unsafe { (*header).check = delta.apply_udp((*header).check) };
    }
    Some(())
}

/// Counts the packet and writes its link-layer header: the XDP action, or [`WRAP`].
#[inline(always)]
fn send(ctx: &XdpContext, way: &Way, inner: &Inner) -> Option<u32> {
    let hop = &way.backend.hop;
    if way.tunnels() {
        let work = work()?;
        work.listener = way.vip.listener;
        work.packet.v6 = inner.v6;
        work.packet.part = Part::WHOLE;
        (work.packet.vlans, work.packet.l3) = (0, L3);
        (work.packet.l4, work.packet.l4_len) = (inner.l4, inner.l4_len);
        work.found.tag = way.tag;
        work.backend = way.flow.placed(way.backend.generation);
        work.hop.interface = hop.interface;
        count::forwarded(way.vip.listener, way.flow.backend, len(ctx) as u64);
        return Some(WRAP);
    }
    count::forwarded(way.vip.listener, way.flow.backend, len(ctx) as u64);
    let ether_type = if inner.v6 { IPV6_BE } else { IPV4_BE };
    let ethernet = EthHdr { dst_addr: hop.to, src_addr: hop.from, ether_type };
    let _within = write(ctx, 0, ethernet);
    Some(transmit::out_by(ctx, hop.interface))
}
