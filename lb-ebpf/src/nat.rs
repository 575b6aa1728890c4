//! Full NAT's other half: the source port that a flow gets, and the entry by which a backend's
//! answer finds its client.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::{bindings::BPF_NOEXIST, programs::XdpContext};
use lb_common::{
    address::Address,
    event::Event,
    layout::{Backend, BackendRef, Flow, FlowKey, Reply},
    nat::{self, Claim},
    select::flow_hash,
};

use crate::{count, flow::Judging, maps::REPLIES, parse::Packet, select, transmit};

/// Takes a source address and port for a new flow, and writes the entry for its answers.
#[inline(always)]
pub(crate) fn take(
    ctx: &XdpContext,
    packet: &Packet,
    judging: &Judging<'_>,
    placed: BackendRef,
    backend: &Backend,
    state: u8,
) -> Result<(Address, u16), Event> {
    let hash = flow_hash(select::seed(), &packet.key);
    let source = *backend
        .nat_sources
        .get(nat::source_index(hash, backend.nat_source_count))
        .ok_or(Event::DropInternal)?;
    if backend.nat_source_count == 0 {
        return Err(Event::DropNoSource);
    }
    let reply = entry(ctx, packet, judging, placed, state);
    let mut key = key(packet, backend, source, 0);
    for attempt in 0..nat::TRIES {
        let port_be = nat::port_be(hash, attempt);
        key.destination_port_be = port_be;
        if REPLIES.insert(&key, &reply, u64::from(BPF_NOEXIST)).is_ok() {
            count::event(judging.vip.listener, Event::ReplyMade);
            return Ok((source, port_be));
        }
        let Some(found) = REPLIES.get_ptr_mut(&key) else { continue };
        // SAFETY: a pointer from a map look-up is valid for the program's run.
        let known = unsafe { found.read() };
        let claim =
            nat::claim(&known, &packet.key, judging.settings, judging.reclaim, judging.now_ns);
        let claimed = match claim {
            Claim::Taken => false,
            Claim::Own => true,
            Claim::TakeOver => exchange(found, known.last_seen_ns, judging.now_ns),
        };
        if claimed {
            // SAFETY: as above; whoever changed `last_seen_ns` from its old value owns the entry.
            unsafe { found.write(reply) };
            if matches!(claim, Claim::TakeOver) {
                count::event(judging.vip.listener, Event::ReplyTakenOver);
            }
            return Ok((source, port_be));
        }
    }
    Err(Event::DropPortsExhausted)
}

/// Tells the entry for answers that a packet of its flow came; makes it anew if it was evicted.
#[inline(always)]
pub(crate) fn note(
    ctx: &XdpContext,
    packet: &Packet,
    judging: &Judging<'_>,
    known: &Flow,
    backend: &Backend,
    state: u8,
) {
    let key = key(packet, backend, known.nat_address, known.nat_port_be);
    let reply = entry(ctx, packet, judging, known.backend, state);
    let Some(found) = REPLIES.get_ptr_mut(&key) else {
        if REPLIES.insert(&key, &reply, u64::from(BPF_NOEXIST)).is_ok() {
            count::event(judging.vip.listener, Event::ReplyMade);
        }
        return;
    };
    // SAFETY: as in `take`.
    let owner = unsafe { (*found).client };
    if owner == packet.key {
        // SAFETY: as in `take`; the way back to the client may have changed too.
        unsafe { found.write(reply) };
    }
}

/// The five-tuple of a backend's answer.
#[inline(always)]
fn key(packet: &Packet, backend: &Backend, source: Address, port_be: u16) -> FlowKey {
    FlowKey {
        source: backend.address,
        destination: source,
        source_port_be: if backend.port_be == 0 {
            packet.key.destination_port_be
        } else {
            backend.port_be
        },
        destination_port_be: port_be,
        protocol: packet.key.protocol,
        pad: [0; 3],
    }
}

#[inline(always)]
fn entry(
    ctx: &XdpContext,
    packet: &Packet,
    judging: &Judging<'_>,
    placed: BackendRef,
    state: u8,
) -> Reply {
    Reply {
        last_seen_ns: judging.now_ns,
        backend: placed,
        client: packet.key,
        hop: transmit::way_back(ctx, packet),
        listener: judging.vip.listener,
        state,
        pad: [0; 3],
    }
}

/// Changes the time of an entry from `old` to `new`; false when another CPU was first.
#[inline(always)]
fn exchange(found: *mut Reply, old: u64, new: u64) -> bool {
    let seen: u64;
    // SAFETY: the field is an aligned word of a map value that lives for the program's run. In
    // assembly, since rustc's BPF target offers no compare and exchange (Linux has it from 5.12).
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            in("r1") addr_of_mut!((*found).last_seen_ns),
            in("r2") new,
            inout("r0") old => seen,
        );
    }
    seen == old
}

/// Writes the time and state of an entry whose backend has just answered.
#[inline(always)]
pub(crate) fn answered(found: *mut Reply, state: u8, now_ns: u64) {
    // SAFETY: a pointer from a map look-up is valid for the program's run; each field is one word
    // or less.
    unsafe {
        write_volatile(addr_of_mut!((*found).last_seen_ns), now_ns);
        write_volatile(addr_of_mut!((*found).state), state);
    }
}
