//! Stage 3: the flow under way, or a new one.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use lb_common::{
    address::Address,
    event::Event,
    features::Features,
    flow::{self, Fate, Side},
    fragment,
    header::{self, TcpFlags},
    layout::{Backend, Flow, FlowKey, Forward, Scheduler, Settings, Vip},
    pin::Touch,
    ticks,
};

use crate::{
    classify, clock, count, encap,
    features::have,
    flood, lines,
    maps::{BACKENDS, POOLS, RECLAIM, SETTINGS},
    nat,
    parse::Packet,
    pin, reset,
    work::{Work, work},
};

/// What a client's packet is judged with.
pub(crate) struct Judging<'a> {
    pub(crate) vip: &'a Vip,
    pub(crate) settings: &'a Settings,
    pub(crate) reclaim_before_ns: u64,
    /// For pins and answers.
    pub(crate) now_ns: u64,
    /// For flows.
    pub(crate) ticks: u32,
}

impl<'a> Judging<'a> {
    /// Not a `Result`: it would share memory between an event and a pointer, of which the verifier
    /// lets no part be stored.
    #[inline(always)]
    pub(crate) fn new(vip: &'a Vip) -> Option<Self> {
        let (settings, reclaim) = (SETTINGS.get(0)?, RECLAIM.get(0)?);
        let (now_ns, ticks) = (clock::now_ns(), clock::ticks());
        Some(Self { vip, settings, reclaim_before_ns: reclaim.before_ns, now_ns, ticks })
    }
}

/// Finds the way to a client's packet's backend: [`Event::Forwarded`], or [`Event::ResetSent`]
/// when the packet has become a reset.
#[inline(always)]
pub(crate) fn to_backend(ctx: &XdpContext, work: &mut Work, vip: &Vip) -> Result<Event, Event> {
    work.listener = vip.listener;
    check(&work.packet)?;
    let Some(judging) = Judging::new(vip) else { return Err(Event::DropInternal) };
    if !lines::find(&work.packet.key) {
        return place(ctx, &judging, false);
    }
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    let known = Flow::unpack(work.found.entry);
    let backend = BACKENDS.get(known.backend).ok_or(Event::DropInternal)?;
    match flow::judge(&known, work.packet.tcp, backend, judging.settings, judging.ticks) {
        Fate::Follow => follow(ctx, &judging, backend),
        Fate::Reset => reset::answer(ctx, &work.packet),
        Fate::Over => place(ctx, &judging, true),
    }
}

/// Refuses what must not be forwarded to a backend nor back to a client.
#[inline(always)]
pub(crate) fn check(packet: &Packet) -> Result<(), Event> {
    header::check_addresses(&packet.key)?;
    match packet.tcp {
        _ if !packet.part.is_whole() => {
            fragment::check_first(packet.part, packet.tcp, packet.own_len, packet.l4_len)?;
        }
        Some(flags) => header::check_tcp(packet.own_len as u8, flags, packet.l4_len)?,
        None => header::check_udp(packet.own_len, packet.l4_len)?,
    }
    // Nothing else protects its addresses, so that every receiver discards it (RFC 8200, 8.1), but
    // for the end of a tunnel (RFC 6935), which no listener is.
    if packet.unsummed {
        return Err(Event::DropUdpUnsummed);
    }
    // Before anything is made for it.
    if packet.hops_left <= 1 { Err(Event::DropTtlExceeded) } else { Ok(()) }
}

/// Goes with the flow in [`Work::found`].
#[inline(always)]
fn follow(ctx: &XdpContext, judging: &Judging<'_>, backend: &Backend) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let known = Flow::unpack(work.found.entry);
    let state = match work.packet.tcp {
        Some(flags) => flow::next_state(known.state, flags, Side::Client),
        None => known.state,
    };
    let age = ticks::since(known.seen, judging.ticks);
    work.backend = known.placed(backend.generation);
    work.new_flow = 0;
    load(work, &known, backend)?;
    way(backend)?;
    let proves = known.pin_owed && flow::proves_client(work.packet.tcp);
    if state != known.state || age >= judging.vip.refresh_ticks || proves {
        work.state = state;
        if !note(ctx, judging, backend) {
            return move_port(ctx, judging, backend);
        }
    }
    Ok(Event::Forwarded)
}

/// The source of a flow that is translated, or none.
#[inline(always)]
fn load(work: &mut Work, known: &Flow, backend: &Backend) -> Result<(), Event> {
    work.nat_port_be = known.port_be;
    work.nat_source = known.source;
    work.nat_address = if known.port_be == 0 {
        FlowKey::NO_ADDRESS
    } else {
        nat::source(backend, known.source).ok_or(Event::DropInternal)?
    };
    Ok(())
}

/// Writes down that a packet of the flow came: when its state changed, else at most once a
/// refresh step. Then the client's pin and the other direction hear of it too. False: the flow
/// has lost its source port.
///
/// A BPF function of its own, as all that an established flow's packet seldom needs: each has its
/// own share of the 512 bytes of stack.
#[inline(never)]
fn note(ctx: &XdpContext, judging: &Judging<'_>, backend: &Backend) -> bool {
    let Some(work) = work() else { return true };
    work.client = work.packet.key.source;
    let known = Flow::unpack(work.found.entry);
    let proves = flow::proves_client(work.packet.tcp);
    let still_owed = pin::touch(work, judging, Touch::Activity, known.pin_owed && proves);
    let pin_owed = if proves { still_owed } else { known.pin_owed };
    let next = Flow { seen: judging.ticks, state: work.state, pin_owed, ..known };
    lines::change(work.found.place, work.found.entry.life, next.life());
    lines::come_forward(next.life(), judging.settings, judging.ticks);
    !have(Features::NAT)
        || work.nat_port_be == 0
        || nat::note(ctx, judging, backend, work.nat_port_be)
}

/// Gives a flow whose source port went to another one, after its entry for answers was evicted, a
/// port of its own again. It stays on its backend (P6), which knows a TCP connection from there
/// no more and resets it: better than answers to another client.
#[inline(never)]
fn move_port(ctx: &XdpContext, judging: &Judging<'_>, backend: &Backend) -> Result<Event, Event> {
    nat::take(ctx, judging, backend)?;
    write(judging, true)?;
    way(backend)?;
    Ok(Event::Forwarded)
}

/// Places a new flow: pin, else hash; then a source port where the mode needs one. Nothing is
/// written before all of that was found. `renews`: over its own entry, in [`Work::found`].
#[inline(never)]
fn place(ctx: &XdpContext, judging: &Judging<'_>, renews: bool) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    if classify::is_own(&work.packet.key.source) {
        return Err(Event::DropBadSource);
    }
    work.client = work.packet.key.source;
    // A reset ends a flow, if there is one; it begins none.
    let chosen = pin::choose(judging, !work.packet.tcp.is_some_and(TcpFlags::rst))?;
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(work.backend.id()).ok_or(Event::DropInternal)?;
    let pool = POOLS.get(judging.vip.pool).ok_or(Event::DropInternal)?;
    work.nat_address = FlowKey::NO_ADDRESS;
    work.nat_port_be = 0;
    work.nat_source = 0;
    work.new_flow = 0;
    way(backend)?;
    let nat = have(Features::NAT) && pool.forward == Forward::Nat.code();
    if work.packet.tcp.is_some_and(TcpFlags::rst) {
        return if nat { Err(Event::DropNoFlow) } else { Ok(Event::Forwarded) };
    }
    let by_hash = !nat && pool.scheduler == Scheduler::Maglev.code();
    if by_hash && !renews && work.packet.tcp.is_some_and(TcpFlags::is_opening) {
        // The next packet finds its way as this one did (P12).
        count::event(judging.vip.listener, chosen);
        count::event(judging.vip.listener, Event::SynSent);
        return Ok(Event::Forwarded);
    }
    if !flood::admits(judging, chosen == Event::PinFollowed) {
        return beyond_rate(judging, chosen, nat);
    }
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    work.state = flow::first_state(work.packet.tcp);
    work.new_flow = 1;
    if nat {
        nat::take(ctx, judging, backend)?;
        way(backend)?;
    }
    count::event(judging.vip.listener, chosen);
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    if work.pinned {
        let _not_yet = pin::touch(work, judging, Touch::NewFlow, false);
    }
    work.pin_owed = 1;
    write(judging, renews)?;
    debug!(ctx, "flow placed: backend {}", work.backend.id());
    Ok(Event::Forwarded)
}

/// What becomes of a packet that may leave no flow: where the next one is sent alike without it,
/// by pin or hash, it is sent.
#[inline(always)]
fn beyond_rate(judging: &Judging<'_>, chosen: Event, nat: bool) -> Result<Event, Event> {
    if nat || chosen == Event::FlowScheduled {
        return Err(Event::DropFlood);
    }
    count::event(judging.vip.listener, Event::FlowLimited);
    Ok(Event::Forwarded)
}

/// Writes the entry of a new flow, over its own of before or in another place.
#[inline(always)]
fn write(judging: &Judging<'_>, renews: bool) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let flow = Flow {
        backend: work.backend.id(),
        generation: work.backend.generation(),
        seen: judging.ticks,
        state: work.state,
        pin_owed: work.pin_owed != 0,
        source: work.nat_source,
        port_be: work.nat_port_be,
    };
    let event = if renews {
        lines::renew(&flow)
    } else {
        lines::insert(&flow, judging.settings, judging.ticks)
    };
    count::event(judging.vip.listener, event);
    Ok(())
}

/// Finds the flow of the packet, if it is under way; nothing is noted. Its backend is
/// [`Work::backend`] then, its source where it is translated in [`Work`] too.
#[inline(always)]
pub(crate) fn known(judging: &Judging<'_>) -> bool {
    let Some(work) = work() else { return false };
    if !lines::find(&work.packet.key) {
        return false;
    }
    let Some(work) = crate::work::work() else { return false };
    let known = Flow::unpack(work.found.entry);
    let Some(backend) = BACKENDS.get(known.backend) else { return false };
    work.backend = known.placed(backend.generation);
    flow::in_time(&known, judging.settings, judging.ticks)
        && backend.honours_flow(work.backend)
        && load(work, &known, backend).is_ok()
}

/// Are packets for that listener translated?
#[inline(always)]
pub(crate) fn translates(vip: &Vip) -> bool {
    have(Features::NAT)
        && POOLS.get(vip.pool).is_some_and(|pool| pool.forward == Forward::Nat.code())
}

/// The way of a new flow's packet. A function of its own: see [`note`].
#[inline(never)]
fn way(backend: &Backend) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    way_to(work, backend, work.nat_address, work.nat_port_be)
}

/// The way to a backend; of a translated flow, its source address and port.
#[inline(always)]
pub(crate) fn way_to(
    work: &mut Work,
    backend: &Backend,
    nat_address: Address,
    nat_port_be: u16,
) -> Result<(), Event> {
    if backend.hop.interface == 0 {
        return Err(Event::DropNoNextHop);
    }
    encap::check(&work.packet, backend, work.backend.id())?;
    work.hop = backend.hop;
    work.tunnel = backend.tunnel.kind;
    work.translated = u8::from(nat_port_be != 0);
    work.to.source = nat_address;
    work.to.source_port_be = nat_port_be;
    work.to.destination = backend.address;
    work.to.destination_port_be = nat::backend_port_be(&work.packet, backend);
    Ok(())
}
