//! A packet for no VIP: a backend's answer to a translated flow, or none of our business.

use lb_common::{
    address::Address,
    answers::is_due,
    event::Event,
    features::Features,
    flow::{self as rules, Side},
    layout::{Flow, FlowKey, Reply, Settings},
    nat as ports,
    pin::Touch,
};

use crate::{
    answers, classify, clock, count,
    features::have,
    flow,
    flow::Judging,
    lines,
    maps::{BACKENDS, RECLAIM, REPLIES, SETTINGS},
    nat, pin,
    work::{Work, work},
};

/// Finds the way of a backend's answer to its client: [`Event::Replied`].
#[inline(always)]
pub(crate) fn to_client(work: &mut Work) -> Result<Event, Event> {
    if !may_be_answer(&work.packet.key) {
        return Err(Event::PassNoListener);
    }
    let found = REPLIES.get_ptr_mut(&work.packet.key).ok_or(Event::PassNoListener)?;
    // SAFETY: a pointer from a map look-up is valid for the program's run. The entry's flow may
    // change only once it is over.
    let known = unsafe { &*found.cast_const() };
    work.listener = known.listener;
    flow::check(&work.packet)?;
    let settings = SETTINGS.get(0).ok_or(Event::DropInternal)?;
    let now_ns = clock::now_ns();
    let backend = BACKENDS.get(known.backend.id()).ok_or(Event::DropInternal)?;
    let alive = in_time(known, settings, now_ns);
    if !alive || !backend.honours_flow(known.backend) {
        return Err(Event::PassStaleReply);
    }
    let state = match work.packet.tcp {
        Some(flags) => rules::next_state(known.state, flags, Side::Backend),
        None => known.state,
    };
    let changes = state != known.state;
    way_to(work, known);
    if changes || is_due(known, now_ns) {
        work.state = state;
        note(found, now_ns);
    }
    if changes {
        answers::forget(&work.packet.key);
    }
    answers::keep(found);
    Ok(Event::Replied)
}

/// Could a packet that is for no VIP be an answer to a translated flow?
#[inline(always)]
pub(crate) fn may_be_answer(packet: &FlowKey) -> bool {
    have(Features::NAT) && ports::is_nat_port(packet.destination_port_be)
}

/// The way of an ICMP error about a packet that was translated, to its client. Noted nowhere.
#[inline(always)]
pub(crate) fn way_of_error(work: &mut Work) -> Result<(), Event> {
    if !may_be_answer(&work.packet.key) {
        return Err(Event::PassIcmpError);
    }
    let found = REPLIES.get_ptr_mut(&work.packet.key).ok_or(Event::PassIcmpError)?;
    // SAFETY: as in `to_client`.
    let known = unsafe { &*found.cast_const() };
    work.listener = known.listener;
    let settings = SETTINGS.get(0).ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(known.backend.id()).ok_or(Event::DropInternal)?;
    let alive = in_time(known, settings, clock::now_ns());
    if !alive || !backend.honours_flow(known.backend) {
        return Err(Event::PassIcmpError);
    }
    way_to(work, known);
    Ok(())
}

/// Was a packet of its flow noted recently enough?
#[inline(always)]
fn in_time(known: &Reply, settings: &Settings, now_ns: u64) -> bool {
    now_ns.saturating_sub(known.last_seen_ns) < settings.idle_ns(known.state)
}

/// The way to the client, and what the backend's packet becomes.
#[inline(always)]
fn way_to(work: &mut Work, known: &Reply) {
    work.backend = known.backend;
    work.hop = known.hop;
    work.translated = 1;
    work.to.source = known.client.destination;
    work.to.destination = known.client.source;
    work.to.source_port_be = known.client.destination_port_be;
    work.to.destination_port_be = known.client.source_port_be;
}

/// Writes down that the backend answered, in both directions and, for a flow that a client's
/// packets do not keep alive, in its pin (P4).
#[inline(never)]
fn note(found: *mut Reply, now_ns: u64) {
    let Some(work) = work() else { return };
    nat::answered(found, work.state, now_ns);
    // SAFETY: as in `to_client`.
    let client = unsafe { &(*found.cast_const()).client };
    let (Some(vip), Some(settings), Some(reclaim)) =
        (classify::vip(client), SETTINGS.get(0), RECLAIM.get(0))
    else {
        return;
    };
    let reclaim_before_ns = reclaim.before_ns;
    work.client = client.source;
    let judging = Judging { vip, settings, reclaim_before_ns, now_ns, ticks: clock::ticks() };
    let _owed = pin::touch(work, &judging, Touch::Activity, false);
    if lines::find(client) {
        tell(&judging);
    } else {
        restore(&judging);
    }
}

/// Tells the flow's entry, if it is of this life of it.
#[inline(always)]
fn tell(judging: &Judging<'_>) {
    let Some(work) = work() else { return };
    let known = Flow::unpack(work.found.entry);
    let Some(backend) = BACKENDS.get(known.backend) else { return };
    if known.placed(backend.generation).word != work.backend.word
        || known.port_be != work.packet.key.destination_port_be
    {
        return;
    }
    let next = Flow { seen: judging.ticks, state: work.state, ..known };
    lines::change(work.found.place, work.found.entry.life, next.life());
}

/// Makes the flow's entry anew, which was evicted: source and port are known from the answer.
#[inline(always)]
fn restore(judging: &Judging<'_>) {
    let Some(work) = work() else { return };
    let Some(backend) = BACKENDS.get(work.backend.id()) else { return };
    let ours = |source: &Address| *source == work.packet.key.destination;
    let Some(source) = backend.nat_sources.iter().position(ours) else { return };
    let flow = Flow {
        backend: work.backend.id(),
        generation: work.backend.generation(),
        seen: judging.ticks,
        state: work.state,
        pin_owed: false,
        source: source as u8,
        port_be: work.packet.key.destination_port_be,
    };
    let event = lines::insert(&flow, judging.settings, judging.ticks);
    count::event(work.listener, event);
}
