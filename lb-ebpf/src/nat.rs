//! Full NAT's other half: the source port that a flow gets, and the entry by which a backend's
//! answer finds its client.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::{bindings::BPF_NOEXIST, programs::XdpContext};
use lb_common::{
    address::Address,
    answers::alike,
    event::Event,
    layout::{Backend, NAT_SOURCES, Reply},
    nat::{self, Claim},
    select::flow_hash,
};

use crate::{
    answers, classify, count,
    flow::Judging,
    lines::exchange,
    maps::REPLIES,
    parse::Packet,
    select, transmit,
    work::{Work, work},
};

/// Takes a source address and port for a new flow, into [`Work`], and writes the entry for its
/// answers.
#[inline(never)]
pub(crate) fn take(
    ctx: &XdpContext,
    judging: &Judging<'_>,
    backend: &Backend,
) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let hash = flow_hash(select::seed(), &work.packet.key);
    let index = nat::source_index(hash, backend.nat_source_mask).ok_or(Event::DropNoSource)?;
    work.nat_source = index as u8;
    work.nat_address = source(backend, work.nat_source).ok_or(Event::DropInternal)?;
    prepare(work, judging, backend);
    work.reply.hop = transmit::way_back(ctx, &work.packet);
    for attempt in 0..nat::TRIES {
        let port_be = nat::port_be(hash, attempt);
        work.reply_key.destination_port_be = port_be;
        work.nat_port_be = port_be;
        if classify::vip(&work.reply_key).is_some() {
            // Answers to there are packets for that listener.
            continue;
        }
        if REPLIES.insert(&work.reply_key, &work.reply, u64::from(BPF_NOEXIST)).is_ok() {
            count::event(judging.vip.listener, Event::ReplyMade);
            answers::forget(&work.reply_key);
            return Ok(());
        }
        let Some(found) = REPLIES.get_ptr_mut(&work.reply_key) else { continue };
        if claim(found, work, judging) {
            answers::forget(&work.reply_key);
            return Ok(());
        }
    }
    Err(Event::DropPortsExhausted)
}

/// Claims the entry of a port, if it may be had; writes it anew then.
#[inline(always)]
fn claim(found: *mut Reply, work: &Work, judging: &Judging<'_>) -> bool {
    // SAFETY: a pointer from a map look-up is valid for the program's run.
    let known = unsafe { &*found.cast_const() };
    let last_seen_ns = known.last_seen_ns;
    let claim = nat::claim(
        known,
        &work.packet.key,
        judging.settings,
        judging.reclaim_before_ns,
        judging.now_ns,
    );
    match claim {
        Claim::Taken => return false,
        Claim::Own => {}
        Claim::TakeOver => {
            // SAFETY: an aligned word of a map value that lives for the program's run.
            let time = unsafe { addr_of_mut!((*found).last_seen_ns) };
            // SAFETY: the same.
            if !unsafe { exchange(time, last_seen_ns, judging.now_ns) } {
                return false;
            }
            count::event(judging.vip.listener, Event::ReplyTakenOver);
        }
    }
    // SAFETY: as above; whoever changed `last_seen_ns` from its old value owns the entry.
    unsafe { found.write(work.reply) };
    true
}

/// Tells the entry for answers that a packet of its flow came, and by which way; makes it anew if
/// it was evicted. False: meanwhile the port went to another flow.
#[inline(always)]
pub(crate) fn note(
    ctx: &XdpContext,
    judging: &Judging<'_>,
    backend: &Backend,
    nat_port_be: u16,
) -> bool {
    let Some(work) = work() else { return true };
    prepare(work, judging, backend);
    work.reply.hop = transmit::way_back(ctx, &work.packet);
    work.reply_key.destination_port_be = nat_port_be;
    let Some(found) = REPLIES.get_ptr_mut(&work.reply_key) else {
        if REPLIES.insert(&work.reply_key, &work.reply, u64::from(BPF_NOEXIST)).is_ok() {
            count::event(judging.vip.listener, Event::ReplyMade);
            answers::forget(&work.reply_key);
        }
        return true;
    };
    // SAFETY: as in `claim`.
    let known = unsafe { &*found.cast_const() };
    if known.client != work.packet.key {
        return false;
    }
    let other = !alike(known, &work.reply);
    // SAFETY: as in `claim`; the entry is this flow's own.
    unsafe { found.write(work.reply) };
    if other {
        answers::forget(&work.reply_key);
    }
    true
}

/// The backend's NAT source with that number.
#[inline(always)]
pub(crate) fn source(backend: &Backend, number: u8) -> Option<Address> {
    // The mask changes nothing; the verifier needs it as a proof.
    backend.nat_sources.get(usize::from(number) % NAT_SOURCES).copied()
}

/// Key and value of the entry for answers, but for the port and the way back.
#[inline(always)]
fn prepare(work: &mut Work, judging: &Judging<'_>, backend: &Backend) {
    work.reply_key.source = backend.address;
    work.reply_key.destination = work.nat_address;
    work.reply_key.source_port_be = backend_port_be(&work.packet, backend);
    work.reply_key.protocol = work.packet.key.protocol;
    work.reply_key.pad = [0; 3];
    work.reply.last_seen_ns = judging.now_ns;
    work.reply.backend = work.backend;
    work.reply.client = work.packet.key;
    work.reply.listener = judging.vip.listener;
    work.reply.state = work.state;
    work.reply.pad = [0; 3];
}

/// The port that the backend is reached at, network byte order.
#[inline(always)]
pub(crate) fn backend_port_be(packet: &Packet, backend: &Backend) -> u16 {
    if backend.port_be == 0 { packet.key.destination_port_be } else { backend.port_be }
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
