//! The other direction: a backend's answer whose way was written down lately (`nat`).
//!
//! Where no VIP is asked for and the port may be one of a translated flow's, so it is on no
//! client's way. That its state and its time stay as they are is what the entry in
//! [`crate::answers`] says; whether the backend's flows are served is asked here.

use aya_ebpf::programs::XdpContext;
use lb_common::layout::{Answer, BackendRef, Hop};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{L3, ipv4::a_hop_less, translate};
use crate::{
    answers, count,
    ctx::{len, ptr_at},
    maps::BACKENDS,
    mtu,
    rewrite::Endpoints,
    transmit::{self, IPV4_BE, IPV6_BE},
    work::work,
};

/// Sends the answer whose five-tuple is in [`crate::work::Work`] to its client: the XDP action. 0:
/// its way is not known, and it is as it came.
///
/// A BPF function of its own, as those are that read the headers.
#[inline(never)]
pub(super) fn forward_v4(ctx: &XdpContext) -> u32 {
    forward::<false>(ctx).unwrap_or(0)
}

/// The same of IPv6.
#[inline(never)]
pub(super) fn forward_v6(ctx: &XdpContext) -> u32 {
    forward::<true>(ctx).unwrap_or(0)
}

#[inline(always)]
fn forward<const V6: bool>(ctx: &XdpContext) -> Option<u32> {
    let work = work()?;
    let flow = &work.packet.key;
    let answer = answers::look(work.print)?;
    let id = (answer.owner & 0xffff) as u32;
    if !BACKENDS.get(id)?.honours_flow(BackendRef::new(id, answer.generation)) {
        return None;
    }
    let (source, source_port_be) = answers::origin(&answer)?;
    let length = (len(ctx) - L3) as u32;
    if mtu::exceeded(ctx, answer.interface, V6, length) != 0 {
        return None;
    }
    let to = Endpoints {
        source,
        destination: answer.client,
        source_port_be,
        destination_port_be: answer.client_port_be,
    };
    if V6 {
        let header = ptr_at::<Ipv6Hdr>(ctx, L3)?;
        // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
        let header = unsafe { &mut *header };
        header.hop_limit -= 1;
        translate::to_ipv6(ctx, header, flow, &to)?;
    } else {
        let header = ptr_at::<Ipv4Hdr>(ctx, L3)?;
        // SAFETY: the same.
        let header = unsafe { &mut *header };
        a_hop_less(header);
        translate::to_ipv4(ctx, header, flow, &to)?;
    }
    count::replied(answer.listener.into(), id, len(ctx) as u64);
    let Answer { interface, to, from, .. } = answer;
    let hop = Hop { interface, to, from, ..Hop::default() };
    // Within the packet, as was checked before.
    let _written = transmit::ethernet(ctx, &hop, if V6 { IPV6_BE } else { IPV4_BE });
    Some(transmit::out_by(ctx, interface))
}
