//! A packet for no VIP: a backend's answer to a translated flow, or none of our business.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::{bindings::BPF_NOEXIST, programs::XdpContext};
use lb_common::{
    event::Event,
    flow::{self as rules, Side},
    layout::{Flow, Reply},
    nat as ports,
};

use crate::{
    classify, count,
    ctx::len,
    flow,
    maps::{BACKENDS, FLOWS, RECLAIM, REPLIES, SETTINGS},
    nat,
    parse::Packet,
    pin,
    rewrite::{self, Endpoints},
    transmit,
};

/// Sends a backend's answer to its client, whose listener's row goes to `listener`; passes
/// everything else up.
#[inline(never)]
pub(crate) fn to_client(
    ctx: &XdpContext,
    packet: &Packet,
    listener: &mut u32,
) -> Result<(Event, u32), Event> {
    if !ports::is_nat_port(packet.key.destination_port_be) {
        return Err(Event::PassNoListener);
    }
    let found = REPLIES.get_ptr_mut(&packet.key).ok_or(Event::PassNoListener)?;
    // SAFETY: a pointer from a map look-up is valid for the program's run. The entry's flow may
    // change only once it is over.
    let known = unsafe { &*found };
    *listener = known.listener;
    let action = translate(ctx, packet, found, known)?;
    Ok((Event::Replied, action))
}

#[inline(always)]
fn translate(
    ctx: &XdpContext,
    packet: &Packet,
    found: *mut Reply,
    known: &Reply,
) -> Result<u32, Event> {
    flow::check(packet)?;
    let settings = SETTINGS.get(0).ok_or(Event::DropInternal)?;
    let now_ns = crate::clock::now_ns();
    let backend = BACKENDS.get(known.backend.id()).ok_or(Event::DropInternal)?;
    let alive = rules::in_time(known.state, known.last_seen_ns, settings, now_ns);
    if !alive || !backend.honours_flow(known.backend) {
        return Err(Event::PassStaleReply);
    }
    note(packet, found, known, now_ns);
    let to = Endpoints {
        source: known.client.destination,
        destination: known.client.source,
        source_port_be: known.client.destination_port_be,
        destination_port_be: known.client.source_port_be,
    };
    rewrite::translated(ctx, packet, &to)?;
    let bytes = len(ctx) as u64;
    let action = transmit::by(ctx, packet, &known.hop)?;
    count::to_client(known.listener, known.backend.id(), bytes);
    Ok(action)
}

/// Writes down that the backend answered, in both directions and, for a flow that a client's
/// packets do not keep alive, in its pin (P4).
#[inline(always)]
fn note(packet: &Packet, found: *mut Reply, known: &Reply, now_ns: u64) {
    const SECOND_NS: u64 = 1_000_000_000;
    let state = match packet.tcp {
        Some(flags) => rules::next_state(known.state, flags, Side::Backend),
        None => known.state,
    };
    let age_ns = now_ns.saturating_sub(known.last_seen_ns);
    // No pin's refresh step is longer than a second, and none is shorter than a quarter of one.
    if state == known.state && age_ns < SECOND_NS / 4 {
        return;
    }
    let vip = classify::vip(&known.client);
    if state == known.state && age_ns < vip.map_or(SECOND_NS, |vip| vip.refresh_ns) {
        return;
    }
    nat::answered(found, state, now_ns);
    let mut owed = false;
    if let (Some(vip), Some(reclaim)) = (vip, RECLAIM.get(0)) {
        owed = pin::touch(&known.client, vip, known.backend, false, *reclaim, now_ns);
    }
    if let Some(flow) = FLOWS.get_ptr_mut(&known.client) {
        // SAFETY: a pointer from a map look-up is valid for the program's run; each field is one
        // word or less.
        unsafe {
            if (*flow).backend == known.backend
                && (*flow).nat_port_be == packet.key.destination_port_be
            {
                write_volatile(addr_of_mut!((*flow).last_seen_ns), now_ns);
                write_volatile(addr_of_mut!((*flow).state), state);
            }
        }
        return;
    }
    // The flow's entry was evicted: the port is known from the answer.
    let flow = Flow {
        backend: known.backend,
        last_seen_ns: now_ns,
        nat_address: packet.key.destination,
        nat_port_be: packet.key.destination_port_be,
        state,
        pin_owed: u8::from(owed),
        pad: 0,
    };
    if FLOWS.insert(&known.client, &flow, u64::from(BPF_NOEXIST)).is_ok() {
        count::event(known.listener, Event::FlowMade);
    }
}
