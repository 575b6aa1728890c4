//! Stage 3: the flow under way, or a new one.

use core::ptr::{addr_of_mut, null_mut, write_volatile};

use aya_ebpf::{bindings::BPF_NOEXIST, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_common::{
    address::Address,
    event::Event,
    flow::{self, Fate, Side},
    fragment,
    header::{self, TcpFlags},
    layout::{Backend, Flow, Forward, Settings, Vip},
    pin::Touch,
};

use crate::{
    classify, clock, count, encap,
    maps::{BACKENDS, FLOWS, POOLS, RECLAIM, SETTINGS},
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
    pub(crate) now_ns: u64,
}

impl<'a> Judging<'a> {
    /// Not a `Result`: it would share memory between an event and a pointer, of which the verifier
    /// lets no part be stored.
    #[inline(always)]
    pub(crate) fn new(vip: &'a Vip, now_ns: u64) -> Option<Self> {
        let (settings, reclaim) = (SETTINGS.get(0)?, RECLAIM.get(0)?);
        Some(Self { vip, settings, reclaim_before_ns: reclaim.before_ns, now_ns })
    }
}

/// Finds the way to a client's packet's backend: [`Event::Forwarded`], or [`Event::ResetSent`]
/// when the packet has become a reset.
#[inline(always)]
pub(crate) fn to_backend(ctx: &XdpContext, work: &mut Work, vip: &Vip) -> Result<Event, Event> {
    work.listener = vip.listener;
    check(&work.packet)?;
    let Some(judging) = Judging::new(vip, clock::now_ns()) else { return Err(Event::DropInternal) };
    let Some(found) = FLOWS.get_ptr_mut(&work.packet.key) else {
        return place(ctx, &judging, null_mut(), false);
    };
    // SAFETY: a pointer from a map look-up is valid for the program's run; another CPU may write
    // the entry meanwhile, each field as one word.
    let (state, last_seen_ns, placed) =
        unsafe { ((*found).state, (*found).last_seen_ns, (*found).backend) };
    let backend = BACKENDS.get(placed.id()).ok_or(Event::DropInternal)?;
    let fate = flow::judge(
        (state, last_seen_ns, placed),
        work.packet.tcp,
        backend,
        judging.settings,
        judging.reclaim_before_ns,
        judging.now_ns,
    );
    match fate {
        Fate::Follow => follow(ctx, work, &judging, found, backend),
        Fate::Reset => reset::answer(ctx, &work.packet),
        Fate::Over => place(ctx, &judging, found, false),
        Fate::Reclaiming => place(ctx, &judging, null_mut(), true),
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
    // Before anything is made for it.
    if packet.hops_left <= 1 { Err(Event::DropTtlExceeded) } else { Ok(()) }
}

#[inline(always)]
fn follow(
    ctx: &XdpContext,
    work: &mut Work,
    judging: &Judging<'_>,
    found: *mut Flow,
    backend: &Backend,
) -> Result<Event, Event> {
    // SAFETY: as in `to_backend`.
    let known = unsafe { &*found.cast_const() };
    let state = match work.packet.tcp {
        Some(flags) => flow::next_state(known.state, flags, Side::Client),
        None => known.state,
    };
    let age_ns = judging.now_ns.saturating_sub(known.last_seen_ns);
    work.backend = known.backend;
    work.new_flow = 0;
    way_to(work, backend, known.nat_address, known.nat_port_be)?;
    if state != known.state || age_ns >= judging.vip.refresh_ns {
        work.state = state;
        if !note(ctx, judging, found, backend) {
            return move_port(ctx, judging, found, backend);
        }
    }
    Ok(Event::Forwarded)
}

/// Writes down that a packet of the flow came: when its state changed, else at most once a
/// refresh step. Then the client's pin and the other direction hear of it too. False: the flow
/// has lost its source port.
///
/// A BPF function of its own, as all that an established flow's packet seldom needs: each has its
/// own share of the 512 bytes of stack.
#[inline(never)]
fn note(ctx: &XdpContext, judging: &Judging<'_>, found: *mut Flow, backend: &Backend) -> bool {
    let Some(work) = work() else { return true };
    // SAFETY: as in `to_backend`.
    let (owed, nat_address, nat_port_be) =
        unsafe { ((*found).pin_owed != 0, (*found).nat_address, (*found).nat_port_be) };
    work.flow.nat_address = nat_address;
    work.client = work.packet.key.source;
    let owed = pin::touch(work, judging, Touch::Activity, owed);
    work.pin_owed = u8::from(owed);
    // SAFETY: as in `to_backend`.
    unsafe {
        write_volatile(addr_of_mut!((*found).last_seen_ns), judging.now_ns);
        write_volatile(addr_of_mut!((*found).state), work.state);
        write_volatile(addr_of_mut!((*found).pin_owed), work.pin_owed);
    }
    nat_port_be == 0 || nat::note(ctx, judging, backend, nat_port_be)
}

/// Gives a flow whose source port went to another one, after its entry for answers was evicted, a
/// port of its own again. It stays on its backend (P6), which knows a TCP connection from there
/// no more and resets it: better than answers to another client.
#[inline(never)]
fn move_port(
    ctx: &XdpContext,
    judging: &Judging<'_>,
    found: *mut Flow,
    backend: &Backend,
) -> Result<Event, Event> {
    nat::take(ctx, judging, backend)?;
    write(judging, found, false)?;
    way(backend)?;
    Ok(Event::Forwarded)
}

/// Places a new flow: pin, else hash; then a source port where the mode needs one. Nothing is
/// written before all of that was found. `renewed` is the entry to write over, null for none;
/// `reclaiming`: there is one that is to be left alone.
#[inline(never)]
fn place(
    ctx: &XdpContext,
    judging: &Judging<'_>,
    renewed: *mut Flow,
    reclaiming: bool,
) -> Result<Event, Event> {
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
    work.flow.nat_address = Address { words_be: [0; 4] };
    work.flow.nat_port_be = 0;
    work.new_flow = 0;
    way(backend)?;
    let nat = pool.forward == Forward::Nat.code();
    if work.packet.tcp.is_some_and(TcpFlags::rst) {
        return if nat { Err(Event::DropNoFlow) } else { Ok(Event::Forwarded) };
    }
    work.state = flow::first_state(work.packet.tcp);
    work.new_flow = 1;
    if nat {
        nat::take(ctx, judging, backend)?;
        way(backend)?;
    }
    count::event(judging.vip.listener, chosen);
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    work.pin_owed = u8::from(pin::touch(work, judging, Touch::NewFlow, true));
    write(judging, renewed, reclaiming)?;
    debug!(ctx, "flow placed: backend {}", work.backend.id());
    Ok(Event::Forwarded)
}

/// Writes the entry of a new flow.
#[inline(always)]
fn write(judging: &Judging<'_>, renewed: *mut Flow, reclaiming: bool) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    work.flow.backend = work.backend;
    work.flow.last_seen_ns = judging.now_ns;
    work.flow.state = work.state;
    work.flow.pin_owed = work.pin_owed;
    work.flow.pad = 0;
    let event = if reclaiming {
        Event::FlowInsertFailed
    } else if !renewed.is_null() {
        // SAFETY: as in `to_backend`. Not one word, so another CPU could read a mixture: but a
        // network card brings all packets of a five-tuple to one CPU.
        unsafe { renewed.write(work.flow) };
        Event::FlowRenewed
    } else {
        match FLOWS.insert(&work.packet.key, &work.flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Event::FlowMade,
            Err(_) => Event::FlowInsertFailed,
        }
    };
    count::event(judging.vip.listener, event);
    Ok(())
}

/// Where the flow of that packet is, if it is under way; nothing is noted.
#[inline(always)]
pub(crate) fn known(work: &Work, judging: &Judging<'_>) -> Option<Flow> {
    let found = FLOWS.get_ptr_mut(&work.packet.key)?;
    // SAFETY: as in `to_backend`.
    let known = unsafe { found.read() };
    let alive = flow::in_time(known.state, known.last_seen_ns, judging.settings, judging.now_ns);
    let backend = BACKENDS.get(known.backend.id())?;
    if alive && backend.honours_flow(known.backend) { Some(known) } else { None }
}

/// Are packets for that listener translated?
#[inline(always)]
pub(crate) fn translates(vip: &Vip) -> bool {
    POOLS.get(vip.pool).is_some_and(|pool| pool.forward == Forward::Nat.code())
}

/// The way of a new flow's packet. A function of its own: see [`note`].
#[inline(never)]
fn way(backend: &Backend) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    way_to(work, backend, work.flow.nat_address, work.flow.nat_port_be)
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
    encap::check(&work.packet, backend)?;
    work.hop = backend.hop;
    work.tunnel = backend.tunnel.kind;
    work.translated = u8::from(nat_port_be != 0);
    work.to.source = nat_address;
    work.to.source_port_be = nat_port_be;
    work.to.destination = backend.address;
    work.to.destination_port_be = nat::backend_port_be(&work.packet, backend);
    Ok(())
}
