//! Stage 7 of `tunnel`: the packet goes into another, to its backend.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::fold,
    event::Event,
    layout::{Backend, Encapsulation, FlowKey, Tunnel},
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
    ctx::{read, write},
    maps::BACKENDS,
    parse::Packet,
    select, transmit,
    work::{Work, work},
};

/// IP protocol number of UDP.
const UDP: u8 = 17;
/// Don't fragment: a part of a tunnelled packet finds no way out of the tunnel.
const DF: [u8; 2] = [0x40, 0];

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
pub(crate) fn check(packet: &Packet, backend: &Backend) -> Result<(), Event> {
    if backend.tunnel.kind == Encapsulation::None.code() {
        return Ok(());
    }
    if fits(packet, backend) { Ok(()) } else { Err(Event::DropTooBig) }
}

/// A function of its own, so that ways without a tunnel have more of the stack.
#[inline(never)]
fn fits(packet: &Packet, backend: &Backend) -> bool {
    length(packet) <= room(backend)
}

/// The largest IP packet that the backend's tunnel carries, in bytes.
#[inline(always)]
pub(crate) fn room(backend: &Backend) -> u32 {
    rules::largest(&backend.tunnel, !backend.address.is_v4()).into()
}

/// Bytes of the IP packet.
#[inline(always)]
fn length(packet: &Packet) -> u32 {
    packet.l4 as u32 - packet.l3 as u32 + packet.l4_len
}

/// Wraps the packet up for its backend, ready to be sent to its hop.
#[inline(never)]
pub(crate) fn wrap(ctx: &XdpContext) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(work.backend.id()).ok_or(Event::DropInternal)?;
    let (tunnel, hop) = (&backend.tunnel, &backend.hop);
    let v6 = !backend.address.is_v4();
    let gue = tunnel.kind == Encapsulation::Gue.code();
    let hash = hash(work);
    let between = if gue { UdpHdr::LEN } else { 0 };
    let inner = if work.packet.v6 { IPV6 } else { IPIP };
    let outer = Outer {
        source: rules::source(tunnel, hash),
        destination: backend.address,
        class: class(ctx, &work.packet).ok_or(Event::DropInternal)?,
        protocol: if gue { UDP } else { inner },
        payload: length(&work.packet) as u16 + between as u16,
        hash,
    };
    let ip_len = if v6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    transmit::make_room(ctx, work.packet.vlans, hop.vlans, (ip_len + between) as i32)?;
    transmit::link(ctx, v6, hop)?;
    let l3 = EthHdr::LEN + VlanHdr::LEN * (hop.vlans as usize & 3);
    let done = if v6 { ipv6(ctx, l3, &outer) } else { ipv4(ctx, l3, &outer) };
    let done =
        done.and_then(|()| if gue { udp(ctx, l3 + ip_len, tunnel, &outer) } else { Some(()) });
    done.ok_or(Event::DropInternal)
}

/// The same for all packets of a flow, and for all fragments of a datagram: they meet in one
/// receive queue. Of a flow it is made of its tag, which is known already.
#[inline(always)]
fn hash(work: &Work) -> u64 {
    if work.packet.part.is_whole() {
        return rules::flow_hash(work.found.tag);
    }
    let key = &work.packet.key;
    flow_hash(select::seed(), &FlowKey { source_port_be: 0, destination_port_be: 0, ..*key })
}

#[inline(always)]
fn class(ctx: &XdpContext, packet: &Packet) -> Option<u8> {
    let [first, second] = read::<[u8; 2]>(ctx, packet.l3)?;
    Some(if packet.v6 { class_of([first, second]) } else { second })
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, at: usize, outer: &Outer) -> Option<()> {
    let mut header = Ipv4Hdr {
        vihl: 0x45,
        tos: outer.class,
        tot_len: (Ipv4Hdr::LEN as u16 + outer.payload).to_be_bytes(),
        // Of a packet that is never in fragments it says nothing (RFC 6864).
        id: [0; 2],
        frags: DF,
        ttl: TTL,
        proto: outer.protocol,
        check: [0; 2],
        src_addr: outer.source.v4(),
        dst_addr: outer.destination.v4(),
    };
    let sum = u64::from(u16::from_ne_bytes([header.vihl, header.tos]))
        + u64::from(u16::from_ne_bytes(header.tot_len))
        + u64::from(u16::from_ne_bytes(header.frags))
        + u64::from(u16::from_ne_bytes([header.ttl, header.proto]))
        + u64::from(u32::from_ne_bytes(header.src_addr))
        + u64::from(u32::from_ne_bytes(header.dst_addr));
    header.check = (!fold(sum)).to_ne_bytes();
    write(ctx, at, header)
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, at: usize, outer: &Outer) -> Option<()> {
    let header = Ipv6Hdr {
        vcf: rules::ipv6_first(outer.class, outer.hash),
        payload_len: outer.payload.to_be_bytes(),
        next_hdr: outer.protocol,
        hop_limit: TTL,
        src_addr: outer.source.v6(),
        dst_addr: outer.destination.v6(),
    };
    write(ctx, at, header)
}

/// Without a checksum, over IPv6 too (RFC 6935): what is in the tunnel has one of its own.
#[inline(always)]
fn udp(ctx: &XdpContext, at: usize, tunnel: &Tunnel, outer: &Outer) -> Option<()> {
    let header = UdpHdr {
        src: rules::gue_port_be(outer.hash).to_ne_bytes(),
        dst: tunnel.port_be.to_ne_bytes(),
        len: outer.payload.to_be_bytes(),
        check: [0; 2],
    };
    write(ctx, at, header)
}
