//! Stage 1: headers, each checked against the packet's end and the lengths before it.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::fold,
    event::Event,
    features::Features,
    fragment::Part,
    header::{
        FRAGMENT, ICMP, ICMPV6, IPV4_MIN_LEN, MAX_EXTENSION_BYTES, MAX_EXTENSION_HEADERS,
        MAX_OPTION_BYTES, ROUTING, TcpFlags, ipv4_option, is_extension,
    },
    icmp,
    layout::{FlowKey, Protocol},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{
    ctx::{len, read},
    features::have,
    work::work,
};

const IPV4_BE: u16 = 0x0800_u16.to_be();
const IPV6_BE: u16 = 0x86dd_u16.to_be();
const VLAN_BE: u16 = 0x8100_u16.to_be();
const QINQ_BE: u16 = 0x88a8_u16.to_be();

/// A packet, as its headers say. Lengths and offsets in bytes.
pub(crate) struct Packet {
    /// Addresses, ports, protocol; ports are 0 where it has none.
    pub(crate) key: FlowKey,
    /// VLAN tags it came with, `[TPID, TCI]`, outer first.
    pub(crate) vlan_be: [[u16; 2]; 2],
    /// How many of them.
    pub(crate) vlans: u32,
    /// Where the IP header begins.
    pub(crate) l3: usize,
    /// Where the TCP, UDP or ICMP header begins, or a fragment's part of what follows it.
    pub(crate) l4: usize,
    /// Length of that header and what follows, by the IP header.
    pub(crate) l4_len: u32,
    /// TCP: the length of its header in words. UDP: the length field.
    pub(crate) own_len: u16,
    /// TTL or hop limit.
    pub(crate) hops_left: u8,
    /// TCP only.
    pub(crate) tcp: Option<TcpFlags>,
    /// IPv6.
    pub(crate) v6: bool,
    /// UDP over IPv6 without a checksum.
    pub(crate) unsummed: bool,
    /// Which part of its datagram it is.
    pub(crate) part: Part,
    /// A fragment's identification, as it stands in the packet.
    pub(crate) id: u32,
}

/// What a packet is looked at for.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// TCP or UDP with its header: whole, or a first fragment.
    Ports,
    /// A fragment of TCP or UDP without it.
    NoPorts,
    /// ICMP, whole.
    Icmp,
}

/// A TCP header without options, all bytes as they stand in the packet. Not `network-types`' one,
/// which keeps offset and flags in a bit field that is read piece by piece: the verifier loses
/// sight of the bounds on the way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct TcpHeader {
    pub(crate) source: [u8; 2],
    pub(crate) destination: [u8; 2],
    pub(crate) sequence: [u8; 4],
    pub(crate) acknowledgement: [u8; 4],
    /// Length of the header, in words, in the upper half.
    pub(crate) offset: u8,
    pub(crate) flags: u8,
    pub(crate) window: [u8; 2],
    pub(crate) check: [u8; 2],
    pub(crate) urgent: [u8; 2],
}

impl TcpHeader {
    pub(crate) const LEN: usize = size_of::<Self>();
}

/// What lies below IP.
struct Link {
    vlan_be: [[u16; 2]; 2],
    vlans: u32,
    l3: usize,
    /// Type of what follows.
    ether_type: u16,
}

/// What the IP header says.
struct Network {
    protocol: u8,
    hops_left: u8,
    l4: usize,
    l4_len: u32,
    part: Part,
    id: u32,
}

/// Reads a packet's headers into `packet`. The error says why it is not one to look at.
#[inline(always)]
pub(crate) fn parse(ctx: &XdpContext, packet: &mut Packet) -> Result<Kind, Event> {
    let link = link(ctx)?;
    let v6 = link.ether_type == IPV6_BE;
    let network = match link.ether_type {
        IPV4_BE if have(Features::V4) => ipv4(ctx, link.l3)?,
        IPV6_BE if have(Features::V6) => ipv6(ctx, link.l3)?,
        IPV4_BE | IPV6_BE => return Err(Event::PassNoListener),
        _ => return Err(Event::PassNotIp),
    };
    let icmp = network.protocol == if v6 { ICMPV6 } else { ICMP };
    let (kind, transport) = match Protocol::from_code(network.protocol) {
        Some(Protocol::Tcp) if !have(Features::TCP) => return Err(Event::PassNoListener),
        Some(Protocol::Udp) if !have(Features::UDP) => return Err(Event::PassNoListener),
        Some(protocol) if !has_ports(&network, protocol) => (Kind::NoPorts, NO_PORTS),
        Some(Protocol::Tcp) => (Kind::Ports, tcp(ctx, &network)?),
        Some(Protocol::Udp) => (Kind::Ports, udp(ctx, &network)?),
        None if !network.part.is_whole() => return Err(Event::PassFragment),
        None if icmp => (Kind::Icmp, NO_PORTS),
        None => return Err(Event::PassNotTcpUdp),
    };
    let (ports_be, own_len, tcp, summed) = transport;
    packet.unsummed = v6 && !summed;
    if v6 {
        let header = read::<Ipv6Hdr>(ctx, link.l3).ok_or(Event::PassTruncated)?;
        packet.key.source = Address::from_v6(header.src_addr);
        packet.key.destination = Address::from_v6(header.dst_addr);
        // Else an IPv6 packet would meet listeners, flows and pins of IPv4.
        if packet.key.source.is_v4() || packet.key.destination.is_v4() {
            return Err(Event::PassBadHeader);
        }
    } else {
        let header = read::<Ipv4Hdr>(ctx, link.l3).ok_or(Event::PassTruncated)?;
        packet.key.source = Address::from_v4(header.src_addr);
        packet.key.destination = Address::from_v4(header.dst_addr);
    }
    [packet.key.source_port_be, packet.key.destination_port_be] = ports_be;
    packet.key.protocol = network.protocol;
    packet.key.pad = [0; 3];
    packet.vlan_be = link.vlan_be;
    packet.vlans = link.vlans;
    packet.l3 = link.l3;
    packet.l4 = network.l4;
    packet.l4_len = network.l4_len;
    packet.own_len = own_len;
    packet.hops_left = network.hops_left;
    packet.tcp = tcp;
    packet.v6 = v6;
    packet.part = network.part;
    packet.id = network.id;
    Ok(kind)
}

/// Is this all of a packet, or a fragment with all of the header without options?
#[inline(always)]
fn has_ports(network: &Network, protocol: Protocol) -> bool {
    let header_len = match protocol {
        Protocol::Tcp => TcpHeader::LEN,
        Protocol::Udp => UdpHdr::LEN,
    };
    network.part.is_whole() || (network.part.has_header() && network.l4_len as usize >= header_len)
}

/// Ethernet and up to two VLAN tags.
#[inline(always)]
fn link(ctx: &XdpContext) -> Result<Link, Event> {
    let ethernet = read::<EthHdr>(ctx, 0).ok_or(Event::PassTruncated)?;
    // The group bit (IEEE 802, 8.2.2): what goes to many is forwarded by none.
    if ethernet.dst_addr[0] & 1 != 0 {
        return Err(Event::PassGroupFrame);
    }
    let mut link =
        Link { vlan_be: [[0; 2]; 2], vlans: 0, l3: EthHdr::LEN, ether_type: ethernet.ether_type };
    for tag in &mut link.vlan_be {
        if link.ether_type != VLAN_BE && link.ether_type != QINQ_BE {
            break;
        }
        let header = read::<VlanHdr>(ctx, link.l3).ok_or(Event::PassTruncated)?;
        *tag = [link.ether_type, u16::from_ne_bytes(header.tci)];
        link.ether_type = header.ether_type;
        link.vlans += 1;
        link.l3 += VlanHdr::LEN;
    }
    Ok(link)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, l3: usize) -> Result<Network, Event> {
    let header = read::<Ipv4Hdr>(ctx, l3).ok_or(Event::PassTruncated)?;
    let header_len = usize::from(header.vihl & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes(header.tot_len));
    if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || total_len < header_len {
        return Err(Event::PassBadHeader);
    }
    if l3 + total_len > len(ctx) {
        return Err(Event::PassTruncated);
    }
    if header_len == IPV4_MIN_LEN {
        let words = read::<[u16; 10]>(ctx, l3).ok_or(Event::PassTruncated)?;
        if fold(words.iter().map(|word| u64::from(*word)).sum()) != 0xffff {
            return Err(Event::PassBadHeader);
        }
    } else {
        ipv4_options(ctx, l3, header_len)?;
    }
    Ok(Network {
        protocol: header.proto,
        hops_left: header.ttl,
        l4: l3 + header_len,
        l4_len: (total_len - header_len) as u32,
        part: Part::from_v4(header.frags),
        id: u32::from(u16::from_ne_bytes(header.id)),
    })
}

/// Checks the options of an IPv4 header of `header_len` bytes, and its checksum.
///
/// Where they end and the next one begins is kept in `WORK` and read anew for each, so that the
/// verifier takes all ways to the next for one.
#[inline(never)]
fn ipv4_options(ctx: &XdpContext, l3: usize, header_len: usize) -> Result<(), Event> {
    let options = &raw mut work().ok_or(Event::DropInternal)?.options;
    // SAFETY: the row is this CPU's own and lives for the program's run.
    let get = |options: *mut Options| unsafe { read_volatile(options) };
    // SAFETY: the same.
    let set = |at, end| unsafe { write_volatile(options, Options { at, end }) };
    set(IPV4_MIN_LEN, header_len);
    let mut sum = 0;
    for at in (0..IPV4_MIN_LEN + MAX_OPTION_BYTES).step_by(2) {
        if at >= get(options).end {
            break;
        }
        let [word] = read::<[u16; 1]>(ctx, l3 + at).ok_or(Event::PassTruncated)?;
        sum += u64::from(word);
    }
    if fold(sum) != 0xffff {
        return Err(Event::PassBadHeader);
    }
    for _ in 0..MAX_OPTION_BYTES {
        let Options { at, end } = get(options);
        if at >= end {
            break;
        }
        // A TCP or UDP header follows: there is a byte behind the last option's first.
        let [kind, length] = read::<[u8; 2]>(ctx, l3 + at).ok_or(Event::PassTruncated)?;
        set(at + ipv4_option(kind, length, end - at)?, end);
    }
    Ok(())
}

/// Where the next IPv4 option begins and where all end, from the header's begin on.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    at: usize,
    end: usize,
}

/// First bytes of an IPv6 extension header; the length in units of eight, the first not counted.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extension {
    next: u8,
    units: u8,
    /// Of a routing header: its type, and how many addresses it is still to go to.
    _kind: u8,
    segments_left: u8,
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, l3: usize) -> Result<Network, Event> {
    let header = read::<Ipv6Hdr>(ctx, l3).ok_or(Event::PassTruncated)?;
    let payload_len = usize::from(u16::from_be_bytes(header.payload_len));
    if header.vcf[0] >> 4 != 6 {
        return Err(Event::PassBadHeader);
    }
    if l3 + Ipv6Hdr::LEN + payload_len > len(ctx) {
        return Err(Event::PassTruncated);
    }
    let mut next = header.next_hdr;
    let mut skipped = 0_usize;
    let first = l3 + Ipv6Hdr::LEN;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(next) {
            break;
        }
        let extension = read::<Extension>(ctx, first + skipped).ok_or(Event::PassTruncated)?;
        if next == ROUTING && extension.segments_left != 0 {
            return Err(Event::PassSourceRoute);
        }
        next = extension.next;
        skipped += (usize::from(extension.units) + 1) * 8;
        if skipped > MAX_EXTENSION_BYTES as usize {
            return Err(Event::PassExtensionChain);
        }
    }
    if is_extension(next) {
        return Err(Event::PassExtensionChain);
    }
    let (mut part, mut id) = (Part::WHOLE, 0);
    if next == FRAGMENT {
        let fragment = read::<Fragment>(ctx, first + skipped).ok_or(Event::PassTruncated)?;
        skipped += size_of::<Fragment>();
        next = fragment.next;
        part = Part::from_v6(fragment.part);
        id = u32::from_ne_bytes(fragment.id);
        if is_extension(next) || next == FRAGMENT {
            return Err(Event::PassFragment);
        }
    }
    if skipped > payload_len {
        return Err(Event::PassBadHeader);
    }
    Ok(Network {
        protocol: next,
        hops_left: header.hop_limit,
        l4: first + skipped,
        l4_len: (payload_len - skipped) as u32,
        part,
        id,
    })
}

/// An IPv6 fragment header (RFC 8200, 4.5).
#[repr(C)]
#[derive(Clone, Copy)]
struct Fragment {
    next: u8,
    _reserved: u8,
    part: [u8; 2],
    id: [u8; 4],
}

/// Ports, the header's own length, TCP's flags; and whether there is a checksum.
type Transport = ([u16; 2], u16, Option<TcpFlags>, bool);

/// Of a packet that does not have them.
const NO_PORTS: Transport = ([0; 2], 0, None, true);

#[inline(always)]
fn tcp(ctx: &XdpContext, network: &Network) -> Result<Transport, Event> {
    let header = read::<TcpHeader>(ctx, network.l4).ok_or(Event::PassTruncated)?;
    if (network.l4_len as usize) < TcpHeader::LEN {
        return Err(Event::PassTruncated);
    }
    let ports_be = [u16::from_ne_bytes(header.source), u16::from_ne_bytes(header.destination)];
    Ok((ports_be, u16::from(header.offset >> 4), Some(TcpFlags(header.flags)), true))
}

#[inline(always)]
fn udp(ctx: &XdpContext, network: &Network) -> Result<Transport, Event> {
    let header = read::<UdpHdr>(ctx, network.l4).ok_or(Event::PassTruncated)?;
    if (network.l4_len as usize) < UdpHdr::LEN {
        return Err(Event::PassTruncated);
    }
    let ports_be = [u16::from_ne_bytes(header.src), u16::from_ne_bytes(header.dst)];
    Ok((ports_be, u16::from_be_bytes(header.len), None, header.check != [0; 2]))
}

/// Reads the packet that an ICMP error quotes, which begins at `l3`, into
/// [`crate::work::Work::quoted`]: at least its ports must be there.
#[inline(never)]
pub(crate) fn quoted(ctx: &XdpContext, l3: usize, v6: bool) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let end = work.packet.l4 + work.packet.l4_len as usize;
    let len = end.saturating_sub(l3);
    let (protocol, header_len, part) = if v6 {
        let header = read::<Ipv6Hdr>(ctx, l3).ok_or(Event::PassIcmpError)?;
        if header.vcf[0] >> 4 != 6 {
            return Err(Event::PassIcmpError);
        }
        work.quoted.key.source = Address::from_v6(header.src_addr);
        work.quoted.key.destination = Address::from_v6(header.dst_addr);
        quoted_chain(ctx, l3 + Ipv6Hdr::LEN, header.next_hdr)?
    } else {
        let header = read::<Ipv4Hdr>(ctx, l3).ok_or(Event::PassIcmpError)?;
        let header_len = usize::from(header.vihl & 0xf) * 4;
        let part = Part::from_v4(header.frags);
        if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || !part.has_header() {
            return Err(Event::PassIcmpError);
        }
        work.quoted.key.source = Address::from_v4(header.src_addr);
        work.quoted.key.destination = Address::from_v4(header.dst_addr);
        (header.proto, header_len, part)
    };
    let header_end = header_len + icmp::QUOTED_MIN as usize;
    if Protocol::from_code(protocol).is_none() || len < header_end {
        return Err(Event::PassIcmpError);
    }
    let l4 = l3 + header_len;
    let [source, destination] = read::<[[u8; 2]; 2]>(ctx, l4).ok_or(Event::PassIcmpError)?;
    work.quoted.key.source_port_be = u16::from_ne_bytes(source);
    work.quoted.key.destination_port_be = u16::from_ne_bytes(destination);
    work.quoted.key.protocol = protocol;
    work.quoted.key.pad = [0; 3];
    work.quoted.l3 = l3;
    work.quoted.l4 = l4;
    work.quoted.len = (len - header_len) as u32;
    work.quoted.part = part;
    Ok(())
}

/// The protocol of a quoted IPv6 packet, the length of its headers before that, and which part of
/// its datagram it is.
#[inline(always)]
fn quoted_chain(ctx: &XdpContext, first: usize, mut next: u8) -> Result<(u8, usize, Part), Event> {
    const MOST_HEADERS: usize = 4;
    let mut part = Part::WHOLE;
    let mut skipped = 0_usize;
    for _ in 0..MOST_HEADERS {
        if !is_extension(next) {
            break;
        }
        let extension = read::<Extension>(ctx, first + skipped).ok_or(Event::PassIcmpError)?;
        next = extension.next;
        skipped += (usize::from(extension.units) + 1) * 8;
        if skipped > icmp::QUOTED_EXTENSION_BYTES {
            return Err(Event::PassIcmpError);
        }
    }
    if next == FRAGMENT {
        let fragment = read::<Fragment>(ctx, first + skipped).ok_or(Event::PassIcmpError)?;
        part = Part::from_v6(fragment.part);
        if !part.has_header() {
            return Err(Event::PassIcmpError);
        }
        next = fragment.next;
        skipped += size_of::<Fragment>();
    }
    Ok((next, Ipv6Hdr::LEN + skipped, part))
}
