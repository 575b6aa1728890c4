//! Stage 1: headers, each checked against the packet's end and the lengths before it.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    event::Event,
    header::{
        FRAGMENT, ICMP, ICMPV6, MAX_EXTENSION_BYTES, MAX_EXTENSION_HEADERS, TcpFlags, is_extension,
        is_icmp_error, is_icmpv6_error,
    },
    layout::{FlowKey, Protocol},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::ctx::{len, read};

const IPV4_BE: u16 = 0x0800_u16.to_be();
const IPV6_BE: u16 = 0x86dd_u16.to_be();
const VLAN_BE: u16 = 0x8100_u16.to_be();
const QINQ_BE: u16 = 0x88a8_u16.to_be();

/// A TCP or UDP packet that is no fragment. Lengths and offsets in bytes.
pub(crate) struct Packet {
    /// Addresses, ports, protocol.
    pub(crate) key: FlowKey,
    /// VLAN tags it came with, `[TPID, TCI]`, outer first.
    pub(crate) vlan_be: [[u16; 2]; 2],
    /// How many of them.
    pub(crate) vlans: u32,
    /// Where the IP header begins.
    pub(crate) l3: usize,
    /// Where the TCP or UDP header begins.
    pub(crate) l4: usize,
    /// Length of the TCP or UDP header and what follows, by the IP header.
    pub(crate) l4_len: u32,
    /// TCP: the length of its header in words. UDP: the length field.
    pub(crate) own_len: u16,
    /// TCP only.
    pub(crate) tcp: Option<TcpFlags>,
    /// IPv6.
    pub(crate) v6: bool,
}

impl Packet {
    /// To be filled by [`parse`].
    pub(crate) const EMPTY: Self = Self {
        key: FlowKey {
            source: Address { words_be: [0; 4] },
            destination: Address { words_be: [0; 4] },
            source_port_be: 0,
            destination_port_be: 0,
            protocol: 0,
            pad: [0; 3],
        },
        vlan_be: [[0; 2]; 2],
        vlans: 0,
        l3: 0,
        l4: 0,
        l4_len: 0,
        own_len: 0,
        tcp: None,
        v6: false,
    };
}

/// Reads a packet's headers. The error says why it is not one to look at.
#[inline(always)]
pub(crate) fn parse(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Event> {
    match link(ctx, packet)? {
        IPV4_BE => ipv4(ctx, packet)?,
        IPV6_BE => ipv6(ctx, packet)?,
        _ => return Err(Event::PassNotIp),
    }
    ports(ctx, packet)
}

/// Ethernet and up to two VLAN tags; the type of what follows.
#[inline(always)]
fn link(ctx: &XdpContext, packet: &mut Packet) -> Result<u16, Event> {
    let ethernet = read::<EthHdr>(ctx, 0).ok_or(Event::PassTruncated)?;
    let mut ether_type = ethernet.ether_type;
    packet.l3 = EthHdr::LEN;
    for tag in &mut packet.vlan_be {
        if ether_type != VLAN_BE && ether_type != QINQ_BE {
            break;
        }
        let header = read::<VlanHdr>(ctx, packet.l3).ok_or(Event::PassTruncated)?;
        *tag = [ether_type, u16::from_ne_bytes(header.tci)];
        ether_type = header.ether_type;
        packet.vlans += 1;
        packet.l3 += VlanHdr::LEN;
    }
    Ok(ether_type)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Event> {
    let header = read::<Ipv4Hdr>(ctx, packet.l3).ok_or(Event::PassTruncated)?;
    let header_len = usize::from(header.vihl & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes(header.tot_len));
    if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || total_len < header_len {
        return Err(Event::PassBadHeader);
    }
    if packet.l3 + total_len > len(ctx) {
        return Err(Event::PassTruncated);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes(header.frags) & 0x3fff != 0 {
        return Err(Event::PassFragment);
    }
    packet.l4 = packet.l3 + header_len;
    packet.l4_len = (total_len - header_len) as u32;
    packet.key.source = Address::from_v4(header.src_addr);
    packet.key.destination = Address::from_v4(header.dst_addr);
    packet.key.protocol = header.proto;
    if header.proto == ICMP {
        let kind = read::<u8>(ctx, packet.l4).ok_or(Event::PassTruncated)?;
        return Err(if is_icmp_error(kind) { Event::PassIcmpError } else { Event::PassNotTcpUdp });
    }
    Ok(())
}

/// First two bytes of an IPv6 extension header; the length in units of eight, the first not
/// counted.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extension {
    next: u8,
    units: u8,
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Event> {
    let header = read::<Ipv6Hdr>(ctx, packet.l3).ok_or(Event::PassTruncated)?;
    let payload_len = usize::from(u16::from_be_bytes(header.payload_len));
    if header.vcf[0] >> 4 != 6 {
        return Err(Event::PassBadHeader);
    }
    if packet.l3 + Ipv6Hdr::LEN + payload_len > len(ctx) {
        return Err(Event::PassTruncated);
    }
    let mut next = header.next_hdr;
    let mut skipped = 0_usize;
    let first = packet.l3 + Ipv6Hdr::LEN;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(next) {
            break;
        }
        let extension = read::<Extension>(ctx, first + skipped).ok_or(Event::PassTruncated)?;
        next = extension.next;
        skipped += (usize::from(extension.units) + 1) * 8;
        if skipped > MAX_EXTENSION_BYTES as usize {
            return Err(Event::PassExtensionChain);
        }
    }
    if is_extension(next) {
        return Err(Event::PassExtensionChain);
    }
    if next == FRAGMENT {
        return Err(Event::PassFragment);
    }
    if skipped > payload_len {
        return Err(Event::PassBadHeader);
    }
    packet.v6 = true;
    packet.l4 = first + skipped;
    packet.l4_len = (payload_len - skipped) as u32;
    packet.key.source = Address::from_v6(header.src_addr);
    packet.key.destination = Address::from_v6(header.dst_addr);
    packet.key.protocol = next;
    if next == ICMPV6 {
        let kind = read::<u8>(ctx, packet.l4).ok_or(Event::PassTruncated)?;
        return Err(if is_icmpv6_error(kind) { Event::PassIcmpError } else { Event::PassNotTcpUdp });
    }
    Ok(())
}

/// Where the flags stand in a TCP header, and the data offset before them.
const TCP_OFFSET_AND_FLAGS: usize = 12;

#[inline(always)]
fn ports(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Event> {
    match Protocol::from_code(packet.key.protocol) {
        Some(Protocol::Tcp) => {
            let header = read::<TcpHdr>(ctx, packet.l4).ok_or(Event::PassTruncated)?;
            let [offset, flags] = read::<[u8; 2]>(ctx, packet.l4 + TCP_OFFSET_AND_FLAGS)
                .ok_or(Event::PassTruncated)?;
            if (packet.l4_len as usize) < TcpHdr::LEN {
                return Err(Event::PassTruncated);
            }
            packet.key.source_port_be = u16::from_ne_bytes(header.source);
            packet.key.destination_port_be = u16::from_ne_bytes(header.dest);
            packet.own_len = u16::from(offset >> 4);
            packet.tcp = Some(TcpFlags(flags));
        }
        Some(Protocol::Udp) => {
            let header = read::<UdpHdr>(ctx, packet.l4).ok_or(Event::PassTruncated)?;
            if (packet.l4_len as usize) < UdpHdr::LEN {
                return Err(Event::PassTruncated);
            }
            packet.key.source_port_be = u16::from_ne_bytes(header.src);
            packet.key.destination_port_be = u16::from_ne_bytes(header.dst);
            packet.own_len = u16::from_be_bytes(header.len);
            packet.tcp = None;
        }
        None => return Err(Event::PassNotTcpUdp),
    }
    Ok(())
}
