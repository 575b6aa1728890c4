//! The way of a packet whose flow is under way.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    features::Features,
    fingerprint::Destination,
    layout::{Backend, Encapsulation, Flow, FlowKey, Vip},
    ticks, tunnel,
};

use crate::{classify, clock, features::have, lines, maps::BACKENDS, mtu};

pub(super) struct Way {
    pub(super) vip: &'static Vip,
    pub(super) backend: &'static Backend,
    pub(super) flow: Flow,
    /// The second word of the flow's entry.
    pub(super) life: u64,
    tag: u64,
}

/// The way of a flow that is under way and was noted lately: so it is in time, and it has no pin to
/// refresh. Its addresses were checked when it was placed. `state`: the one in which the packet
/// leaves it as it is.
#[inline(always)]
pub(super) fn of(
    vip: &'static Vip,
    destination: Destination,
    flow: &FlowKey,
    state: u8,
) -> Option<Way> {
    let print = destination.with_source(flow.source, flow.source_port_be, classify::key);
    let entry = lines::look(print)?;
    let known = Flow::unpack(entry);
    if known.state != state
        || known.pin_owed
        || ticks::since(known.seen, clock::ticks()) >= vip.refresh_ticks
    {
        return None;
    }
    let backend = BACKENDS.get(known.backend)?;
    if !backend.honours_flow(known.placed(backend.generation))
        || backend.hop.interface == 0
        || backend.hop.vlans != 0
    {
        return None;
    }
    Some(Way { vip, backend, flow: known, life: entry.life, tag: print.tag })
}

impl Way {
    #[inline(always)]
    pub(super) fn tunnels(&self) -> bool {
        have(Features::TUNNEL) && self.backend.tunnel.kind != Encapsulation::None.code()
    }

    #[inline(always)]
    pub(super) fn translates(&self) -> bool {
        have(Features::NAT) && self.flow.port_be != 0
    }

    /// Does an IP packet of so many bytes fit into the backend's tunnel or, without one, through the
    /// interface?
    #[inline(always)]
    pub(super) fn fits(&self, ctx: &XdpContext, v6: bool, length: u32) -> bool {
        if self.tunnels() {
            return mtu::fits(self.backend, self.flow.backend, v6, length);
        }
        mtu::exceeded(ctx, self.backend.hop.interface, v6, length) == 0
    }

    /// What the flow is spread by in a tunnel.
    #[inline(always)]
    pub(super) fn hash(&self) -> u64 {
        tunnel::flow_hash(self.tag)
    }
}
