//! Stage 3: the flow under way, or a new one; then on to its backend.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::{bindings::BPF_NOEXIST, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_common::{
    address::Address,
    event::Event,
    flow::{self, Fate, Side},
    header,
    layout::{Backend, BackendRef, Flow, FlowKey, Forward, Reclaim, Settings, Vip},
};

use crate::{
    count,
    ctx::len,
    maps::{BACKENDS, FLOWS, POOLS, RECLAIM, SETTINGS},
    nat,
    parse::Packet,
    pin, reset,
    rewrite::{self, Endpoints},
    transmit,
};

/// What a client's packet is judged with.
pub(crate) struct Judging<'a> {
    pub(crate) vip: &'a Vip,
    pub(crate) settings: &'a Settings,
    pub(crate) reclaim: Reclaim,
    pub(crate) now_ns: u64,
}

/// What is done with the entry found for a five-tuple.
enum Entry {
    /// There is none: insert.
    Absent,
    /// Write over it.
    Renew(*mut Flow),
    /// Leave it alone.
    Reclaiming,
}

/// Sends a client's packet to its backend: the event to count and the XDP action.
#[inline(always)]
pub(crate) fn to_backend(
    ctx: &XdpContext,
    packet: &Packet,
    vip: &Vip,
) -> Result<(Event, u32), Event> {
    check(packet)?;
    let settings = SETTINGS.get(0).ok_or(Event::DropInternal)?;
    let reclaim = *RECLAIM.get(0).ok_or(Event::DropInternal)?;
    let now_ns = crate::clock::now_ns();
    let judging = Judging { vip, settings, reclaim, now_ns };

    let mut entry = Entry::Absent;
    if let Some(found) = FLOWS.get_ptr_mut(&packet.key) {
        // SAFETY: a pointer from a map look-up is valid for the program's run.
        let known = unsafe { found.read() };
        let backend = BACKENDS.get(known.backend.id()).ok_or(Event::DropInternal)?;
        let met = (known.state, known.last_seen_ns, known.backend);
        match flow::judge(met, packet.tcp, backend, settings, reclaim, now_ns) {
            Fate::Follow => {
                let state = match packet.tcp {
                    Some(flags) => flow::next_state(known.state, flags, Side::Client),
                    None => known.state,
                };
                let age_ns = now_ns.saturating_sub(known.last_seen_ns);
                if state != known.state || age_ns >= vip.refresh_ns {
                    note(ctx, packet, &judging, found, state);
                }
                let nat = (known.nat_address, known.nat_port_be);
                return send(ctx, packet, vip, known.backend, backend, nat, false);
            }
            Fate::Reset => return reset::answer(ctx, packet),
            Fate::Over => entry = Entry::Renew(found),
            Fate::Reclaiming => entry = Entry::Reclaiming,
        }
    }
    place(ctx, packet, &judging, &entry)
}

/// Refuses what must not be forwarded to a backend nor back to a client.
#[inline(always)]
pub(crate) fn check(packet: &Packet) -> Result<(), Event> {
    header::check_addresses(&packet.key)?;
    match packet.tcp {
        Some(flags) => header::check_tcp(packet.own_len as u8, flags, packet.l4_len),
        None => header::check_udp(packet.own_len, packet.l4_len),
    }
}

/// Writes down that a packet of the flow came, when its state changed, else at most once a
/// refresh step. Then the client's pin and the other direction hear of it too.
#[inline(never)]
fn note(ctx: &XdpContext, packet: &Packet, judging: &Judging<'_>, found: *mut Flow, state: u8) {
    // SAFETY: as in `to_backend`.
    let known = unsafe { &found.read() };
    let Some(backend) = BACKENDS.get(known.backend.id()) else { return };
    let owed = pin::touch(
        &packet.key,
        judging.vip,
        known.backend,
        known.pin_owed != 0,
        judging.reclaim,
        judging.now_ns,
    );
    // SAFETY: as in `to_backend`; each field is one word or less.
    unsafe {
        write_volatile(addr_of_mut!((*found).last_seen_ns), judging.now_ns);
        write_volatile(addr_of_mut!((*found).state), state);
        write_volatile(addr_of_mut!((*found).pin_owed), u8::from(owed));
    }
    if known.nat_port_be != 0 {
        nat::note(ctx, packet, judging, known, backend, state);
    }
}

/// Places a new flow: pin, else hash; then a source port where the mode needs one.
///
/// A BPF function of its own, as all that an established flow's packet seldom needs: each has its
/// own share of the 512 bytes of stack.
#[inline(never)]
fn place(
    ctx: &XdpContext,
    packet: &Packet,
    judging: &Judging<'_>,
    entry: &Entry,
) -> Result<(Event, u32), Event> {
    let vip = judging.vip;
    let choice = pin::choose(&packet.key, vip, judging.reclaim, judging.now_ns)?;
    let backend = BACKENDS.get(choice.backend.id()).ok_or(Event::DropInternal)?;
    let state = flow::first_state(packet.tcp);
    let pool = POOLS.get(vip.pool).ok_or(Event::DropInternal)?;
    let nat = if pool.forward == Forward::Nat.code() {
        nat::take(ctx, packet, judging, choice.backend, backend, state)?
    } else {
        (Address { words_be: [0; 4] }, 0)
    };
    let flow = Flow {
        backend: choice.backend,
        last_seen_ns: judging.now_ns,
        nat_address: nat.0,
        nat_port_be: nat.1,
        state,
        pin_owed: u8::from(choice.pin_owed),
        pad: 0,
    };
    let event = write(&packet.key, &flow, entry);
    count::event(vip.listener, event);
    debug!(ctx, "flow placed, backend {}, event {}", choice.backend.id(), event as u8);
    send(ctx, packet, vip, choice.backend, backend, nat, true)
}

#[inline(always)]
fn write(key: &FlowKey, flow: &Flow, entry: &Entry) -> Event {
    match *entry {
        // SAFETY: as in `to_backend`.
        Entry::Renew(found) => {
            unsafe { found.write(*flow) };
            Event::FlowRenewed
        }
        Entry::Reclaiming => Event::FlowInsertFailed,
        Entry::Absent => match FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Event::FlowMade,
            Err(_) => Event::FlowInsertFailed,
        },
    }
}

#[inline(always)]
fn send(
    ctx: &XdpContext,
    packet: &Packet,
    vip: &Vip,
    placed: BackendRef,
    backend: &Backend,
    (nat_address, nat_port_be): (Address, u16),
    new_flow: bool,
) -> Result<(Event, u32), Event> {
    if backend.hop.interface == 0 {
        return Err(Event::DropNoNextHop);
    }
    if nat_port_be == 0 {
        rewrite::forwarded(ctx, packet)?;
    } else {
        let port_be =
            if backend.port_be == 0 { packet.key.destination_port_be } else { backend.port_be };
        let to = Endpoints {
            source: nat_address,
            destination: backend.address,
            source_port_be: nat_port_be,
            destination_port_be: port_be,
        };
        rewrite::translated(ctx, packet, &to)?;
    }
    let bytes = len(ctx) as u64;
    let action = transmit::by(ctx, packet, &backend.hop)?;
    count::to_backend(vip.listener, placed.id(), bytes, new_flow);
    Ok((Event::Forwarded, action))
}
