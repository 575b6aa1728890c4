//! The lines of `FLOWS`: where a flow's entry is, and which one a new flow gets.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use lb_common::{
    event::Event,
    fingerprint::{Destination, Fingerprint},
    layout::{FLOWS_IN_LINE, Flow, FlowEntry, FlowKey, FlowSpace, Settings},
    lines::{self, BUSY},
};

use crate::{
    classify::key,
    count,
    maps::{FLOW_LINES, FLOW_SPACE, FLOWS},
    work::work,
};

/// A flow's place, and what was read there.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// Its tag.
    pub(crate) tag: u64,
    /// The lines that it can be in.
    lines: [u32; 2],
    /// Number of the entry, over all lines.
    pub(crate) place: u32,
    /// The entry.
    pub(crate) entry: FlowEntry,
}

/// Looks for a flow's entry, into [`crate::work::Work::found`], of which tag and lines are filled
/// in even if there is none.
#[inline(never)]
pub(crate) fn find(flow: &FlowKey) -> bool {
    let Some(work) = work() else { return false };
    let found = &mut work.found;
    let print = Destination::new(flow.destination, flow.destination_port_be, flow.protocol, key)
        .with_source(flow.source, flow.source_port_be, key);
    found.tag = print.tag;
    let Some(space) = space() else { return false };
    found.lines = lines::lines_of(&print, FLOW_LINES.load(), space.mask);
    let [one, other] = found.lines;
    let [one_before, other_before] = lines::lines_of(&print, FLOW_LINES.load(), space.before);
    // An entry may have been moved to its first line, or by who makes more room, from where was not
    // looked yet to where was: once more.
    let places = if space.mask == space.before { 3 } else { 6 };
    let places = [one, other, one_before, other_before, one, other].into_iter().take(places);
    for number in places {
        let Some(line) = FLOWS.get_ptr_mut(number) else { continue };
        for at in 0..FLOWS_IN_LINE {
            // SAFETY: a pointer from a map look-up is valid for the program's run.
            let entry = unsafe { addr_of_mut!((*line).entries).cast::<FlowEntry>().add(at) };
            let there = read(entry);
            if !lines::is_of(there.owner, print.tag) {
                continue;
            }
            // SAFETY: as above. If another flow got the entry meanwhile, what was read of it
            // belongs together no more.
            if unsafe { read_volatile(addr_of_mut!((*entry).owner)) } != there.owner {
                return false;
            }
            found.entry = there;
            found.place = number * FLOWS_IN_LINE as u32 + at as u32;
            return true;
        }
    }
    false
}

/// The entry of the flow with that fingerprint.
#[inline(always)]
pub(crate) fn look(print: Fingerprint) -> Option<FlowEntry> {
    // Whoever has not been moved yet is found by `find`.
    for number in lines::lines_of(&print, FLOW_LINES.load(), space()?.mask) {
        let line = FLOWS.get_ptr_mut(number)?;
        let entry = |at: usize| {
            // SAFETY: a pointer from a map look-up is valid for the program's run; one of its four.
            unsafe { addr_of_mut!((*line).entries).cast::<FlowEntry>().add(at % FLOWS_IN_LINE) }
        };
        let Some(at) = lines::which([0, 1, 2, 3].map(|at| owner(entry(at))), print.tag) else {
            continue;
        };
        let there = read(entry(at));
        // If another flow got the entry meanwhile, what was read of it belongs together no more.
        let still = lines::is_of(there.owner, print.tag) && owner(entry(at)) == there.owner;
        return if still { Some(there) } else { None };
    }
    None
}

/// How much of `FLOWS` is in use.
#[inline(always)]
pub(crate) fn space() -> Option<FlowSpace> {
    let space = FLOW_SPACE.get_ptr_mut(0)?;
    // SAFETY: a map value that lives for the program's run; volatile, since the agent writes it.
    unsafe {
        Some(FlowSpace {
            mask: read_volatile(addr_of_mut!((*space).mask)),
            before: read_volatile(addr_of_mut!((*space).before)),
        })
    }
}

#[inline(always)]
fn owner(entry: *mut FlowEntry) -> u64 {
    // SAFETY: as in `read`.
    unsafe { read_volatile(addr_of_mut!((*entry).owner)) }
}

/// The owner first: see [`put`].
#[inline(always)]
pub(crate) fn read(entry: *mut FlowEntry) -> FlowEntry {
    // SAFETY: the entry is in a map value that lives for the program's run. Volatile, since other
    // CPUs write it; each word is read as one.
    unsafe {
        FlowEntry {
            owner: read_volatile(addr_of_mut!((*entry).owner)),
            life: read_volatile(addr_of_mut!((*entry).life)),
        }
    }
}

/// Writes the second word of an entry, if nobody has changed it since it was read.
#[inline(always)]
pub(crate) fn change(place: u32, old: u64, new: u64) {
    if let Some(entry) = entry(place) {
        // SAFETY: an aligned word of a map value that lives for the program's run.
        let _first = unsafe { exchange(addr_of_mut!((*entry).life), old, new) };
    }
}

/// Gives a new flow the entry that it had before, in [`crate::work::Work::found`].
#[inline(always)]
pub(crate) fn renew(flow: &Flow) -> Event {
    let Some(work) = work() else { return Event::FlowInsertFailed };
    let done = put(work.found.place, work.found.entry.owner, flow.pack(work.found.tag));
    if done { Event::FlowRenewed } else { Event::FlowInsertFailed }
}

/// Gives a new flow the best place in its two lines, at `now`: those in
/// [`crate::work::Work::found`].
#[inline(never)]
pub(crate) fn insert(flow: &Flow, settings: &Settings, now: u32) -> Event {
    let Some(work) = work() else { return Event::FlowInsertFailed };
    let [first, second] = work.found.lines;
    let (one, other) = (best(first, settings, now), best(second, settings, now));
    let (line, best) = if other >> 2 > one >> 2 { (second, other) } else { (first, one) };
    let place = line * FLOWS_IN_LINE as u32 + (best & 3) as u32;
    let Some(entry) = entry(place) else { return Event::FlowInsertFailed };
    if !put(place, read(entry).owner, flow.pack(work.found.tag)) {
        return Event::FlowInsertFailed;
    }
    if lines::evicts((best >> 2) as u32) {
        count::event(0, Event::FlowEvicted);
    }
    Event::FlowMade
}

/// The best place of a line: its rank, and in the lowest two bits its number.
///
/// Ranks go by way of `WORK`: what is read from there is unknown to the verifier, to which all ways
/// to a rank are one then.
#[inline(never)]
fn best(line: u32, settings: &Settings, now: u32) -> u64 {
    let Some(work) = work() else { return 0 };
    for (at, offer) in (0..FLOWS_IN_LINE as u32).zip(&mut work.offers) {
        let Some(entry) = entry(line * FLOWS_IN_LINE as u32 + at) else { return 0 };
        let rank = u64::from(lines::rank(read(entry), settings, now)) << 2 | u64::from(at);
        // SAFETY: a word of the CPU's own memory. Volatile: it is not to be kept in a register.
        unsafe { write_volatile(offer, rank) };
    }
    // SAFETY: the same.
    let [a, b, c, d] = work.offers.each_ref().map(|offer| unsafe { read_volatile(offer) });
    a.max(b).max(c.max(d))
}

/// Writes an entry over that of `old`. While it is being written it is nobody's, so no packet reads
/// half of one flow and half of another. False: another CPU was faster.
#[inline(always)]
pub(crate) fn put(place: u32, old: u64, new: FlowEntry) -> bool {
    let Some(entry) = entry(place) else { return false };
    // SAFETY: aligned words of a map value that lives for the program's run; whoever has exchanged
    // the owner writes the entry alone.
    unsafe {
        if old == BUSY || !exchange(addr_of_mut!((*entry).owner), old, BUSY) {
            return false;
        }
        write_volatile(addr_of_mut!((*entry).life), new.life);
        write_volatile(addr_of_mut!((*entry).owner), new.owner);
    }
    true
}

/// Moves an entry to another place, over that of `old`. False: another CPU was faster there.
///
/// What a packet notes in the moment between two words being written may be lost with the old
/// entry; the flow's next packet notes it again.
#[inline(never)]
pub(crate) fn shift(place: u32, there: FlowEntry, to: u32, old: u64) -> bool {
    if !put(to, old, there) {
        return false;
    }
    if let Some(noted) = clear(place, there.owner)
        && noted != there.life
    {
        change(to, there.life, noted);
    }
    true
}

/// Frees an entry of that owner; what its second word was.
#[inline(always)]
pub(crate) fn clear(place: u32, owner: u64) -> Option<u64> {
    let entry = entry(place)?;
    // SAFETY: aligned words of a map value that lives for the program's run. While it is busy
    // nobody else writes the entry.
    unsafe {
        if !exchange(addr_of_mut!((*entry).owner), owner, BUSY) {
            return None;
        }
        let noted = read_volatile(addr_of_mut!((*entry).life));
        write_volatile(addr_of_mut!((*entry).owner), 0);
        Some(noted)
    }
}

/// Moves the flow in [`crate::work::Work::found`], whose second word is `life` now, to the first of
/// its lines if nobody is to be driven out there: it was put into the other one when there was no
/// room, and has cost each of its packets a line more since.
#[inline(never)]
pub(crate) fn come_forward(life: u64, settings: &Settings, now: u32) {
    let Some(work) = work() else { return };
    let [first, _] = work.found.lines;
    if work.found.place / FLOWS_IN_LINE as u32 == first {
        return;
    }
    let best = best(first, settings, now);
    if !lines::is_vacant((best >> 2) as u32) {
        return;
    }
    let to = first * FLOWS_IN_LINE as u32 + (best & 3) as u32;
    let Some(old) = entry(to).map(owner) else { return };
    let Some(work) = crate::work::work() else { return };
    work.found.entry.life = life;
    if shift(work.found.place, work.found.entry, to, old) {
        work.found.place = to;
    }
}

#[inline(always)]
pub(crate) fn entry(place: u32) -> Option<*mut FlowEntry> {
    let line = FLOWS.get_ptr_mut(place / FLOWS_IN_LINE as u32)?;
    let at = place as usize % FLOWS_IN_LINE;
    // SAFETY: within the line's entries; the pointer is valid for the program's run.
    Some(unsafe { addr_of_mut!((*line).entries).cast::<FlowEntry>().add(at) })
}

/// Changes a word from `old` to `new`; false when it was not `old`.
///
/// # Safety
///
/// `word` is aligned and in memory that lives for the program's run.
#[inline(always)]
pub(crate) unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let seen: u64;
    // SAFETY: the caller's. In assembly, since rustc's BPF target offers no compare and exchange
    // (Linux has it from 5.12).
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            in("r1") word,
            in("r2") new,
            inout("r0") old => seen,
        );
    }
    seen == old
}
