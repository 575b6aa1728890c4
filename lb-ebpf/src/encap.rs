//! Stage 7 of `tunnel`: the packet goes into another, to its backend.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::fold,
    event::Event,
    layout::{Backend, Encapsulation, FlowKey, Tunnel},
    mtu::UDP,
    select::flow_hash,
    tunnel::{self as rules, IPIP, IPV6, TTL, class_of},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{
    ctx::{ptr_at, read},
    maps::BACKENDS,
    mtu,
    parse::Packet,
    select, transmit,
    work::Work,
};

/// Don't fragment: a part of a tunnelled packet finds no way out of the tunnel.
const DF: u8 = 0x40;

/// The outer header, as far as it does not follow from the tunnel alone.
struct Outer {
    source: Address,
    destination: Address,
    /// Type of service, or traffic class.
    class: u8,
    protocol: u8,
    /// Bytes behind the outer IP header.
    payload: u16,
    hash: u64,
}

/// Refuses a packet that does not fit into the backend's tunnel, if it has one.
#[inline(always)]
pub(crate) fn check(packet: &Packet, backend: &Backend, id: u32) -> Result<(), Event> {
    if backend.tunnel.kind == Encapsulation::None.code() {
        return Ok(());
    }
    if fits(packet, backend, id) { Ok(()) } else { Err(Event::DropTooBig) }
}

/// A function of its own, so that ways without a tunnel have more of the stack.
#[inline(never)]
fn fits(packet: &Packet, backend: &Backend, id: u32) -> bool {
    mtu::fits(backend, id, packet.v6, length(packet))
}

/// Bytes of the IP packet.
#[inline(always)]
pub(crate) fn length(packet: &Packet) -> u32 {
    packet.l4 as u32 - packet.l3 as u32 + packet.l4_len
}

/// What of a packet its outer header follows from, beside the tunnel.
pub(crate) struct Inner {
    /// What its flow is spread by.
    pub(crate) hash: u64,
    /// Bytes of the IP packet.
    pub(crate) length: u16,
    /// Type of service, or traffic class.
    pub(crate) class: u8,
    pub(crate) v6: bool,
    /// Tags that it came with.
    pub(crate) vlans: u32,
}

impl Inner {
    /// Of the packet under way.
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext, work: &Work) -> Option<Self> {
        let packet = &work.packet;
        Some(Self {
            hash: hash(packet.part.is_whole(), work.found.tag, &packet.key),
            length: length(packet) as u16,
            class: class(ctx, packet)?,
            v6: packet.v6,
            vlans: packet.vlans,
        })
    }
}

/// Wraps the packet up for the backend, ready to be sent to its hop.
#[inline(never)]
pub(crate) fn wrap(ctx: &XdpContext, backend: u32, inner: &Inner) -> Result<(), Event> {
    let backend = BACKENDS.get(backend).ok_or(Event::DropInternal)?;
    let (tunnel, hop) = (&backend.tunnel, &backend.hop);
    let v6 = !backend.address.is_v4();
    let gue = tunnel.kind == Encapsulation::Gue.code();
    let between = if gue { UdpHdr::LEN } else { 0 };
    let ip_len = if v6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    transmit::make_room(ctx, inner.vlans, hop.vlans, (ip_len + between) as i32)?;
    transmit::link(ctx, v6, hop)?;
    // Only now: what is known before a call is on the stack during it.
    let outer = Outer {
        source: rules::source(tunnel, inner.hash),
        destination: backend.address,
        class: inner.class,
        protocol: match (gue, inner.v6) {
            (true, _) => UDP,
            (false, true) => IPV6,
            (false, false) => IPIP,
        },
        payload: inner.length + between as u16,
        hash: inner.hash,
    };
    let l3 = EthHdr::LEN + VlanHdr::LEN * (hop.vlans as usize & 3);
    let done = if v6 { ipv6(ctx, l3, &outer) } else { ipv4(ctx, l3, &outer) };
    let done =
        done.and_then(|()| if gue { udp(ctx, l3 + ip_len, tunnel, &outer) } else { Some(()) });
    done.ok_or(Event::DropInternal)
}

/// The same for what is sent most: an IPv4 packet without tags, in another IPv4 packet and nothing
/// else.
#[inline(always)]
pub(crate) fn wrap_ipip(ctx: &XdpContext, backend: &Backend, inner: &Inner) -> Result<(), Event> {
    transmit::make_room(ctx, 0, 0, Ipv4Hdr::LEN as i32)?;
    let outer = Outer {
        source: rules::source(&backend.tunnel, inner.hash),
        destination: backend.address,
        class: inner.class,
        protocol: IPIP,
        payload: inner.length,
        hash: inner.hash,
    };
    let written = transmit::ethernet(ctx, &backend.hop, transmit::IPV4_BE);
    written.and_then(|()| ipv4(ctx, EthHdr::LEN, &outer)).ok_or(Event::DropInternal)
}

/// Is the backend's tunnel that of [`wrap_ipip`]?
#[inline(always)]
pub(crate) fn is_ipip(backend: &Backend) -> bool {
    backend.tunnel.kind == Encapsulation::IpIp.code() && backend.address.is_v4()
}

/// The same for all packets of a flow, and for all fragments of a datagram: they meet in one
/// receive queue. Of a flow it is made of its tag, which is known already.
#[inline(always)]
pub(crate) fn hash(whole: bool, tag: u64, key: &FlowKey) -> u64 {
    if whole {
        return rules::flow_hash(tag);
    }
    flow_hash(select::seed(), &FlowKey { source_port_be: 0, destination_port_be: 0, ..*key })
}

#[inline(always)]
fn class(ctx: &XdpContext, packet: &Packet) -> Option<u8> {
    let [first, second] = read::<[u8; 2]>(ctx, packet.l3)?;
    Some(if packet.v6 { class_of([first, second]) } else { second })
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, at: usize, outer: &Outer) -> Option<()> {
    let [high, low] = (Ipv4Hdr::LEN as u16 + outer.payload).to_be_bytes();
    let with = |check: [u8; 2]| {
        [
            u32::from_ne_bytes([0x45, outer.class, high, low]),
            // Of a packet that is never in fragments the identification says nothing (RFC 6864).
            u32::from_ne_bytes([0, 0, DF, 0]),
            u32::from_ne_bytes([TTL, outer.protocol, check[0], check[1]]),
            outer.source.words_be[3],
            outer.destination.words_be[3],
        ]
    };
    let sum = fold(with([0; 2]).into_iter().map(u64::from).sum());
    write_words(ctx, at, with((!sum).to_ne_bytes()))
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, at: usize, outer: &Outer) -> Option<()> {
    let [high, low] = outer.payload.to_be_bytes();
    let first = rules::ipv6_first(outer.class, outer.hash);
    let second = u32::from_ne_bytes([high, low, outer.protocol, TTL]);
    write_words(ctx, at, [u32::from_ne_bytes(first), second])?;
    write_words(ctx, at + 8, outer.source.words_be)?;
    write_words(ctx, at + 24, outer.destination.words_be)
}

/// Without a checksum, over IPv6 too (RFC 6935): what is in the tunnel has one of its own.
#[inline(always)]
fn udp(ctx: &XdpContext, at: usize, tunnel: &Tunnel, outer: &Outer) -> Option<()> {
    let [source, port] = [rules::gue_port_be(outer.hash), tunnel.port_be].map(u16::to_ne_bytes);
    let [high, low] = outer.payload.to_be_bytes();
    let ports = u32::from_ne_bytes([source[0], source[1], port[0], port[1]]);
    write_words(ctx, at, [ports, u32::from_ne_bytes([high, low, 0, 0])])
}

/// Writes words at `offset`, as they stand in memory, each as one: what has a weaker alignment is
/// copied in pieces, by way of the stack. `None` when the packet ends before their
/// end.
#[inline(always)]
#[must_use]
fn write_words<const N: usize>(ctx: &XdpContext, offset: usize, words: [u32; N]) -> Option<()> {
    let at = ptr_at::<[[u8; 4]; N]>(ctx, offset)?.cast::<[u8; 4]>();
    for (number, word) in words.into_iter().enumerate() {
        // SAFETY: `ptr_at` has checked the bounds of all of them.
        unsafe { at.add(number).write(word.to_ne_bytes()) };
    }
    Some(())
}
