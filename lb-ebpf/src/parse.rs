//! Stage 1: headers, each checked against the packet's end and the lengths before it.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::fold,
    event::Event,
    header::{
        FRAGMENT, ICMP, ICMPV6, IPV4_MIN_LEN, MAX_EXTENSION_BYTES, MAX_EXTENSION_HEADERS,
        MAX_OPTION_BYTES, ROUTING, TcpFlags, ipv4_option, is_extension, is_icmp_error,
        is_icmpv6_error,
    },
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
    work::work,
};

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
    /// TTL or hop limit.
    pub(crate) hops_left: u8,
    /// TCP only.
    pub(crate) tcp: Option<TcpFlags>,
    /// IPv6.
    pub(crate) v6: bool,
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
}

/// Reads a packet's headers into `packet`. The error says why it is not one to look at.
#[inline(always)]
pub(crate) fn parse(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Event> {
    let link = link(ctx)?;
    let v6 = link.ether_type == IPV6_BE;
    let network = match link.ether_type {
        IPV4_BE => ipv4(ctx, link.l3)?,
        IPV6_BE => ipv6(ctx, link.l3)?,
        _ => return Err(Event::PassNotIp),
    };
    let (ports_be, own_len, tcp) = match Protocol::from_code(network.protocol) {
        Some(Protocol::Tcp) => tcp(ctx, &network)?,
        Some(Protocol::Udp) => udp(ctx, &network)?,
        None => return Err(Event::PassNotTcpUdp),
    };
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
    Ok(())
}

/// Ethernet and up to two VLAN tags.
#[inline(always)]
fn link(ctx: &XdpContext) -> Result<Link, Event> {
    let ethernet = read::<EthHdr>(ctx, 0).ok_or(Event::PassTruncated)?;
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
    // More fragments, or an offset.
    if u16::from_be_bytes(header.frags) & 0x3fff != 0 {
        return Err(Event::PassFragment);
    }
    let l4 = l3 + header_len;
    if header.proto == ICMP {
        return Err(icmp(ctx, l4, is_icmp_error));
    }
    Ok(Network {
        protocol: header.proto,
        hops_left: header.ttl,
        l4,
        l4_len: (total_len - header_len) as u32,
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

/// What becomes of an ICMP message, by its type.
#[inline(always)]
fn icmp(ctx: &XdpContext, l4: usize, is_error: fn(u8) -> bool) -> Event {
    // Type and code: the verifier takes no proof of a single byte at the end.
    match read::<[u8; 2]>(ctx, l4) {
        Some([kind, _]) if is_error(kind) => Event::PassIcmpError,
        Some(_) => Event::PassNotTcpUdp,
        None => Event::PassTruncated,
    }
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
    if next == FRAGMENT {
        return Err(Event::PassFragment);
    }
    if skipped > payload_len {
        return Err(Event::PassBadHeader);
    }
    let l4 = first + skipped;
    if next == ICMPV6 {
        return Err(icmp(ctx, l4, is_icmpv6_error));
    }
    Ok(Network {
        protocol: next,
        hops_left: header.hop_limit,
        l4,
        l4_len: (payload_len - skipped) as u32,
    })
}

/// Ports, the header's own length, and TCP's flags.
type Transport = ([u16; 2], u16, Option<TcpFlags>);

#[inline(always)]
fn tcp(ctx: &XdpContext, network: &Network) -> Result<Transport, Event> {
    let header = read::<TcpHeader>(ctx, network.l4).ok_or(Event::PassTruncated)?;
    if (network.l4_len as usize) < TcpHeader::LEN {
        return Err(Event::PassTruncated);
    }
    let ports_be = [u16::from_ne_bytes(header.source), u16::from_ne_bytes(header.destination)];
    Ok((ports_be, u16::from(header.offset >> 4), Some(TcpFlags(header.flags))))
}

#[inline(always)]
fn udp(ctx: &XdpContext, network: &Network) -> Result<Transport, Event> {
    let header = read::<UdpHdr>(ctx, network.l4).ok_or(Event::PassTruncated)?;
    if (network.l4_len as usize) < UdpHdr::LEN {
        return Err(Event::PassTruncated);
    }
    let ports_be = [u16::from_ne_bytes(header.src), u16::from_ne_bytes(header.dst)];
    Ok((ports_be, u16::from_be_bytes(header.len), None))
}
