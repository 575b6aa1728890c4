//! The way of most packets, in front of all stages: a plain packet of a client whose flow is under
//! way, on which nothing is to be noted; a backend's answer to one; what belongs to a connection to
//! the sidecar; and what is for nobody.
//!
//! It decides nothing that the stages would not decide alike, and leaves to them whatever is not
//! plain: tags, options, extension headers, fragments, flags that change a flow's state, headers
//! that are wrong, entries that are old. A client's packet needs no [`crate::work::Work`], no clock
//! (but for large packets into a tunnel of which a router has reported something) and no hash map: a
//! line of `VIP_INDEX`, a row of `VIPS`, a line of `FLOWS` or two, a row of `BACKENDS`, and two rows
//! of counters.
//!
//! Of IPv4 it is part of the program's entry, since a call costs as much as much of the rest where
//! returns are guarded; IPv6, answers, translation and tunnels are BPF functions of their own: what
//! they keep on the stack is not under the stages' then.

mod answer;
mod ipv4;
mod ipv6;
mod translate;
mod way;

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    address::Address,
    features::Features,
    fingerprint::Destination,
    header::{TcpFlags, check_offset, check_udp},
    layout::{FlowKey, Protocol, TcpState, Vip},
};
use network_types::{eth::EthHdr, udp::UdpHdr};

use crate::{
    classify, count,
    ctx::{len, read},
    encap,
    features::have,
    parse::TcpHeader,
    reply,
    transmit::{self, IPV4_BE, IPV6_BE},
    work::work,
};
use way::Way;

/// Where the IP header begins.
const L3: usize = EthHdr::LEN;

/// Forwards a packet that is of this kind: the XDP action. 0, which is none (`XDP_ABORTED`): it is
/// not of this kind, and as it came.
#[inline(always)]
pub(crate) fn forward(ctx: &XdpContext) -> u32 {
    let Some(ethernet) = read::<EthHdr>(ctx, 0) else { return 0 };
    let [first, ..] = ethernet.dst_addr;
    match ethernet.ether_type {
        _ if first & 1 != 0 => 0,
        IPV4_BE if have(Features::V4) => match ipv4::forward(ctx).unwrap_or(0) {
            ANSWER => answer::forward_v4(ctx),
            action => action,
        },
        IPV6_BE if have(Features::V6) => match forward_v6(ctx) {
            ANSWER => answer::forward_v6(ctx),
            action => action,
        },
        _ => 0,
    }
}

#[inline(never)]
fn forward_v6(ctx: &XdpContext) -> u32 {
    ipv6::forward(ctx).unwrap_or(0)
}

/// In place of a state, of a packet that is something for the stages.
const NO_STATE: u8 = u8::MAX;

/// Ports of a packet, and the state in which it leaves a flow as it is; `len`: the bytes of TCP or
/// UDP by the IP header.
#[inline(always)]
fn transport<const V6: bool>(
    ctx: &XdpContext,
    at: usize,
    protocol: u8,
    len: u32,
) -> Option<([u16; 2], u8)> {
    match Protocol::from_code(protocol)? {
        Protocol::Tcp if have(Features::TCP) => {
            let header = read::<TcpHeader>(ctx, at)?;
            if (len as usize) < TcpHeader::LEN {
                return None;
            }
            let plain = TcpFlags(header.flags).is_mid_stream()
                && check_offset(header.offset >> 4, len).is_ok();
            let ports = [u16::from_ne_bytes(header.source), u16::from_ne_bytes(header.destination)];
            Some((ports, if plain { TcpState::Established.code() } else { NO_STATE }))
        }
        Protocol::Udp if have(Features::UDP) => {
            let header = read::<UdpHdr>(ctx, at)?;
            if (len as usize) < UdpHdr::LEN {
                return None;
            }
            let summed = !V6 || header.check != [0; 2];
            let plain = summed && check_udp(u16::from_be_bytes(header.len), len).is_ok();
            let ports = [u16::from_ne_bytes(header.src), u16::from_ne_bytes(header.dst)];
            Some((ports, if plain { TcpState::Stateless.code() } else { NO_STATE }))
        }
        Protocol::Tcp | Protocol::Udp => None,
    }
}

#[inline(always)]
fn key(source: Address, destination: Address, ports_be: [u16; 2], protocol: u8) -> FlowKey {
    let [source_port_be, destination_port_be] = ports_be;
    FlowKey { source, destination, source_port_be, destination_port_be, protocol, pad: [0; 3] }
}

#[inline(always)]
fn sums(flow: &FlowKey) -> Destination {
    Destination::new(flow.destination, flow.destination_port_be, flow.protocol, classify::key)
}

/// In place of an action: the packet may be an answer, and its five-tuple is in
/// [`crate::work::Work`].
const ANSWER: u32 = 100;

/// A packet that is for no VIP goes up, unless it may be an answer: [`ANSWER`].
#[inline(always)]
fn for_nobody(flow: &FlowKey, destination: Destination, state: u8) -> Option<u32> {
    if reply::may_be_answer(flow) {
        if state == NO_STATE {
            return None;
        }
        let work = work()?;
        // One by one: as a whole it would be put together on the stack for every packet.
        let key = &mut work.packet.key;
        (key.source, key.destination) = (flow.source, flow.destination);
        key.source_port_be = flow.source_port_be;
        key.destination_port_be = flow.destination_port_be;
        key.protocol = flow.protocol;
        work.print = destination.with_source(flow.source, flow.source_port_be, classify::key);
        return Some(ANSWER);
    }
    count::no_listener();
    Some(xdp_action::XDP_PASS)
}

/// A packet for the sidecar goes up, unless it is something for the stages (0): one that may open a
/// connection is. A function of its own, and cold: what layer 4 needs lies together.
#[cold]
#[inline(never)]
fn for_sidecar(ctx: &XdpContext, vip: &Vip, state: u8) -> u32 {
    if state == NO_STATE {
        return 0;
    }
    count::to_sidecar(vip.listener, len(ctx) as u64);
    xdp_action::XDP_PASS
}

/// Counts the packet, puts it into its tunnel if there is one, and writes its link-layer header: the
/// XDP action. `length`, `class`: of the IP packet.
#[inline(always)]
fn send(ctx: &XdpContext, way: &Way, v6: bool, length: u16, class: u8) -> u32 {
    let (hop, bytes) = (&way.backend.hop, len(ctx) as u64);
    if way.tunnels() {
        let inner = encap::Inner { hash: way.hash(), length, class, v6, vlans: 0 };
        let wrapped = if !v6 && encap::is_ipip(way.backend) {
            encap::wrap_ipip(ctx, way.backend, &inner)
        } else {
            encap::wrap(ctx, way.flow.backend, &inner)
        };
        if let Err(event) = wrapped {
            count::event(way.vip.listener, event);
            return xdp_action::XDP_DROP;
        }
    } else {
        // Within the packet, as was checked before.
        let _written = transmit::ethernet(ctx, hop, if v6 { IPV6_BE } else { IPV4_BE });
    }
    count::forwarded(way.vip.listener, way.flow.backend, bytes);
    transmit::out_by(ctx, hop.interface)
}
