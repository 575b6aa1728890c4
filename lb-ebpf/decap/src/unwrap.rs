//! Outer headers off, where all of them are as they should be.

use aya_ebpf::{helpers::generated::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::{
    address::Address,
    checksum::{Delta, fold},
    decap::{DecapEvent, inner_v4, inner_v6},
    fragment::Part,
    layout::{DECAP_OUTER, DECAP_SOURCES, DECAP_VIP},
    tunnel::{IPIP, IPV6, class_of, class_out, with_class},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{
    ctx::{len, ptr_at, read, write},
    maps::{DECAP_ADDRESSES, DECAP_FROM, DECAP_FROM_COUNT, DECAP_PORT},
};

const IPV4_BE: u16 = 0x0800_u16.to_be();
const IPV6_BE: u16 = 0x86dd_u16.to_be();
const VLAN_BE: u16 = 0x8100_u16.to_be();
const QINQ_BE: u16 = 0x88a8_u16.to_be();
/// IP protocol number of UDP.
const UDP: u8 = 17;

/// What lies below IP: addresses, and up to two tags.
struct Link {
    ethernet: EthHdr,
    tags: [VlanHdr; 2],
    vlans: usize,
}

/// The outer headers, and what they say of the packet in them.
struct Outer {
    source: Address,
    destination: Address,
    class: u8,
    /// IP protocol number, of GUE that of the packet in it.
    inner: u8,
    /// Where the inner packet begins, and how much room it has. In bytes.
    at: usize,
    room: u16,
}

/// Takes the packet out of its tunnel. The error says why it was left in it.
#[inline(always)]
pub(crate) fn unwrap(ctx: &XdpContext) -> Result<(), DecapEvent> {
    let (link, l3, ether_type) = link(ctx)?;
    let outer = match ether_type {
        IPV4_BE => ipv4(ctx, l3)?,
        IPV6_BE => ipv6(ctx, l3)?,
        _ => return Err(DecapEvent::PassNoTunnel),
    };
    if !has(&outer.destination, DECAP_OUTER) {
        return Err(DecapEvent::PassNotHere);
    }
    if !may_come_from(outer.source) {
        return Err(DecapEvent::PassFrom);
    }
    let v6 = outer.inner == IPV6;
    if v6 {
        inner_ipv6(ctx, &outer)?;
    } else {
        inner_ipv4(ctx, &outer)?;
    }
    // SAFETY: the context is the program's own; no pointer into the packet outlives this.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, (outer.at - l3) as i32) } != 0 {
        return Err(DecapEvent::DropInternal);
    }
    link.write(ctx, if v6 { IPV6_BE } else { IPV4_BE }).ok_or(DecapEvent::DropInternal)
}

#[inline(always)]
fn link(ctx: &XdpContext) -> Result<(Link, usize, u16), DecapEvent> {
    let ethernet = read::<EthHdr>(ctx, 0).ok_or(DecapEvent::PassTruncated)?;
    let mut ether_type = ethernet.ether_type;
    let none = VlanHdr { tci: [0; 2], ether_type: 0 };
    let mut link = Link { ethernet, tags: [none, none], vlans: 0 };
    let mut l3 = EthHdr::LEN;
    for tag in &mut link.tags {
        if ether_type != VLAN_BE && ether_type != QINQ_BE {
            break;
        }
        *tag = read::<VlanHdr>(ctx, l3).ok_or(DecapEvent::PassTruncated)?;
        ether_type = tag.ether_type;
        link.vlans += 1;
        l3 += VlanHdr::LEN;
    }
    Ok((link, l3, ether_type))
}

impl Link {
    /// Writes it before a packet of that type.
    #[inline(always)]
    fn write(self, ctx: &XdpContext, ip_be: u16) -> Option<()> {
        let Self { mut ethernet, tags: [mut outer, mut inner], vlans } = self;
        match vlans {
            0 => ethernet.ether_type = ip_be,
            1 => outer.ether_type = ip_be,
            _ => inner.ether_type = ip_be,
        }
        write(ctx, 0, ethernet)?;
        if vlans > 0 {
            write(ctx, EthHdr::LEN, outer)?;
        }
        if vlans > 1 {
            write(ctx, EthHdr::LEN + VlanHdr::LEN, inner)?;
        }
        Some(())
    }
}

/// Is the protocol one of tunnels?
#[inline(always)]
fn is_tunnel(protocol: u8) -> bool {
    matches!(protocol, IPIP | IPV6 | UDP)
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, l3: usize) -> Result<Outer, DecapEvent> {
    let header = read::<Ipv4Hdr>(ctx, l3).ok_or(DecapEvent::PassTruncated)?;
    if !is_tunnel(header.proto) {
        return Err(DecapEvent::PassNoTunnel);
    }
    let total_len = u16::from_be_bytes(header.tot_len);
    if !Part::from_v4(header.frags).is_whole() {
        return Err(DecapEvent::PassFragment);
    }
    if header.vihl != 0x45 || usize::from(total_len) < Ipv4Hdr::LEN {
        return Err(DecapEvent::PassBadHeader);
    }
    let words = read::<[u16; 10]>(ctx, l3).ok_or(DecapEvent::PassTruncated)?;
    if fold(words.iter().map(|word| u64::from(*word)).sum()) != 0xffff {
        return Err(DecapEvent::PassBadHeader);
    }
    let outer = Outer {
        source: Address::from_v4(header.src_addr),
        destination: Address::from_v4(header.dst_addr),
        class: header.tos,
        inner: header.proto,
        at: l3 + Ipv4Hdr::LEN,
        room: total_len - Ipv4Hdr::LEN as u16,
    };
    within(ctx, outer)
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, l3: usize) -> Result<Outer, DecapEvent> {
    let header = read::<Ipv6Hdr>(ctx, l3).ok_or(DecapEvent::PassTruncated)?;
    if !is_tunnel(header.next_hdr) {
        return Err(DecapEvent::PassNoTunnel);
    }
    let [first, second, ..] = header.vcf;
    let (source, destination) =
        (Address::from_v6(header.src_addr), Address::from_v6(header.dst_addr));
    // An address of IPv4 would be found in the map.
    if first >> 4 != 6 || source.is_v4() || destination.is_v4() {
        return Err(DecapEvent::PassBadHeader);
    }
    let outer = Outer {
        source,
        destination,
        class: class_of([first, second]),
        inner: header.next_hdr,
        at: l3 + Ipv6Hdr::LEN,
        room: u16::from_be_bytes(header.payload_len),
    };
    within(ctx, outer)
}

/// Checks that all of it is there, and steps over a UDP header: GUE in variant 1.
#[inline(always)]
fn within(ctx: &XdpContext, outer: Outer) -> Result<Outer, DecapEvent> {
    if outer.at + usize::from(outer.room) > len(ctx) {
        return Err(DecapEvent::PassTruncated);
    }
    if outer.inner != UDP {
        return Ok(outer);
    }
    let udp = read::<UdpHdr>(ctx, outer.at).ok_or(DecapEvent::PassTruncated)?;
    if u16::from_be_bytes(udp.dst) != DECAP_PORT.load() {
        return Err(DecapEvent::PassNoTunnel);
    }
    let udp_len = u16::from_be_bytes(udp.len);
    if usize::from(udp_len) < UdpHdr::LEN || udp_len > outer.room {
        return Err(DecapEvent::PassTruncated);
    }
    if udp.check != [0; 2] {
        return Err(DecapEvent::PassChecksum);
    }
    let at = outer.at + UdpHdr::LEN;
    // Two bytes: the verifier takes no proof of a single one at the end.
    let [first, _] = read::<[u8; 2]>(ctx, at).ok_or(DecapEvent::PassTruncated)?;
    let inner = match first >> 4 {
        4 => IPIP,
        6 => IPV6,
        // Variant 0, or nothing known.
        _ => return Err(DecapEvent::PassBadHeader),
    };
    Ok(Outer { at, inner, room: udp_len - UdpHdr::LEN as u16, ..outer })
}

#[inline(always)]
fn inner_ipv4(ctx: &XdpContext, outer: &Outer) -> Result<(), DecapEvent> {
    let header = ptr_at::<Ipv4Hdr>(ctx, outer.at).ok_or(DecapEvent::PassTruncated)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let _len = inner_v4(header.vihl, u16::from_be_bytes(header.tot_len), outer.room)?;
    let class = inner(Address::from_v4(header.dst_addr), header.ttl, header.tos, outer)?;
    let old = u16::from_ne_bytes([header.vihl, header.tos]);
    header.tos = class;
    let new = u16::from_ne_bytes([header.vihl, header.tos]);
    header.check = Delta::NONE.word16(old, new).apply(header.check);
    Ok(())
}

#[inline(always)]
fn inner_ipv6(ctx: &XdpContext, outer: &Outer) -> Result<(), DecapEvent> {
    let header = ptr_at::<Ipv6Hdr>(ctx, outer.at).ok_or(DecapEvent::PassTruncated)?;
    // SAFETY: as in `inner_ipv4`.
    let header = unsafe { &mut *header };
    let [first, second, third, fourth] = header.vcf;
    let _len = inner_v6(first, u16::from_be_bytes(header.payload_len), outer.room)?;
    let destination = Address::from_v6(header.dst_addr);
    if destination.is_v4() {
        return Err(DecapEvent::PassBadHeader);
    }
    let class = inner(destination, header.hop_limit, class_of([first, second]), outer)?;
    let [first, second] = with_class([first, second], class);
    header.vcf = [first, second, third, fourth];
    Ok(())
}

/// The class that the packet comes out with, if it may.
#[inline(always)]
fn inner(destination: Address, hops: u8, class: u8, outer: &Outer) -> Result<u8, DecapEvent> {
    if !has(&destination, DECAP_VIP) {
        return Err(DecapEvent::PassNoVip);
    }
    if hops == 0 {
        return Err(DecapEvent::DropTtlExceeded);
    }
    class_out(class, outer.class).ok_or(DecapEvent::DropCongestion)
}

#[inline(always)]
fn has(address: &Address, flag: u8) -> bool {
    // SAFETY: the map does not change while the program is attached.
    unsafe { DECAP_ADDRESSES.get(address) }.is_some_and(|flags| flags & flag != 0)
}

#[inline(always)]
fn may_come_from(source: Address) -> bool {
    let count = DECAP_FROM_COUNT.load();
    let held =
        |row: u32| DECAP_FROM.get(row).is_some_and(|from| source.masked(from.mask) == from.address);
    count == 0 || (0..DECAP_SOURCES as u32).any(|row| row < count && held(row))
}
