//! The entries of `ANSWERS`, and of `ORIGINS` that they speak of: copies of `REPLIES` that answers
//! find without a hash map. When one counts, and why none outlives what it is a copy of, says
//! `lb-common`.
//!
//! No packet acts on what is half of one entry and half of another: who writes one makes its
//! version odd by compare and exchange, writes the rest, and then makes it one more than before.
//! Who reads one reads the version first and once more at the end.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use lb_common::{
    address::Address,
    answers::{self, alike, element_of, is_steady, may_be_had, opened},
    fingerprint::{Destination, Fingerprint},
    layout::{ANSWERS_IN_LINES, Answer, AnswerLines, FlowKey, Origin, Reply},
    lines::is_of,
};

use crate::{
    atomic::settled,
    classify::{self, key},
    clock,
    lines::{exchange, space},
    maps::{ANSWER_LINES, ANSWER_MASK, ANSWERS, ORIGINS, REPLIES},
    work::work,
};

/// The entry that counts for the answers with that fingerprint.
#[inline(always)]
pub(crate) fn look(print: Fingerprint) -> Option<Answer> {
    let element = element(print)?;
    for at in 0..ANSWERS_IN_LINES {
        let entry = entry(element, at);
        // SAFETY: words of a map value that lives for the program's run. Volatile, since other
        // CPUs write them, and so that they are read in this order.
        let (answer, again) = unsafe {
            if !is_of(read_volatile(addr_of_mut!((*entry).owner)), print.tag) {
                continue;
            }
            let version = read_volatile(addr_of_mut!((*entry).version));
            let answer = Answer { version, ..read_volatile(entry) };
            (answer, read_volatile(addr_of_mut!((*entry).version)))
        };
        let whole = again == answer.version && !answers::is_being_written(again);
        // By the tag once more: another may have written it meanwhile, and be done.
        if whole && is_of(answer.owner, print.tag) && clock::jiffies() < answer.until {
            return Some(answer);
        }
    }
    None
}

/// The listener's address and port that answers come from then, for clients; `None` when the row
/// is another address's meanwhile.
#[inline(always)]
pub(crate) fn origin(answer: &Answer) -> Option<(Address, u16)> {
    let row = ORIGINS.get_ptr_mut(answer.listener.into())?;
    // SAFETY: as in `look`.
    unsafe {
        let version = read_volatile(addr_of_mut!((*row).version));
        let origin = (
            read_volatile(addr_of_mut!((*row).address)),
            read_volatile(addr_of_mut!((*row).port_be)),
        );
        let again = read_volatile(addr_of_mut!((*row).version));
        if again == version && answers::speaks_of(answer.version, version) {
            Some(origin)
        } else {
            None
        }
    }
}

/// Copies the reply of the answer in [`crate::work::Work`], which was found valid, if answers that
/// are plain change nothing there.
///
/// BPF functions of their own, as all here that write: each has its own share of the stack.
#[inline(never)]
pub(crate) fn keep(found: *mut Reply) {
    if prepare(found) && put() {
        confirm();
    }
}

/// The copy, into [`crate::work::Work`]; false: there is to be none.
#[inline(never)]
fn prepare(found: *mut Reply) -> bool {
    let Some(work) = work() else { return false };
    // Before the reply is read: a copy may count for too short a time, never for too long.
    let (jiffies, now_ns) = (clock::jiffies(), clock::now_ns());
    read(found, &raw mut work.reply);
    let reply = &work.reply;
    let until = answers::until(reply, now_ns, jiffies, clock::jiffy_ns());
    let plain = work.packet.vlans == 0 && work.packet.part.is_whole() && reply.hop.vlans == 0;
    if !plain || until <= jiffies || !is_steady(reply.state) {
        return false;
    }
    // The flows of an address that the listener had before would write its row in turns with those
    // of the present one.
    let current = classify::vip(&reply.client).is_some_and(|vip| vip.listener == reply.listener);
    let Ok(listener) = u16::try_from(reply.listener) else { return false };
    if !current {
        return false;
    }
    let Some(origin) = name_origin(listener, &reply.client) else { return false };
    work.print = fingerprint(&work.packet.key);
    let answer = &mut work.answer;
    answer.version = origin;
    answer.owner = work.print.tag << 16 | u64::from(reply.backend.id() & 0xffff);
    answer.until = until;
    answer.generation = reply.backend.generation();
    answer.client_port_be = reply.client.source_port_be;
    answer.listener = listener;
    answer.client = reply.client.source;
    answer.interface = reply.hop.interface;
    answer.to = reply.hop.to;
    answer.from = reply.hop.from;
    true
}

/// Copies a reply word by word, past the stack.
#[inline(always)]
fn read(from: *mut Reply, to: *mut Reply) {
    const WORDS: usize = size_of::<Reply>() / size_of::<u64>();
    const { assert!(size_of::<Reply>() == WORDS * 8 && align_of::<Reply>() == 8) };
    for word in 0..WORDS {
        // SAFETY: within values of maps that live for the program's run, aligned; one is written by
        // other CPUs, the other is this one's own.
        unsafe {
            to.cast::<u64>().add(word).write(read_volatile(from.cast::<u64>().add(word)));
        }
    }
}

/// Takes back what was just copied, if the reply is another by now.
#[inline(never)]
fn confirm() {
    let Some(work) = work() else { return };
    let same = REPLIES.get_ptr(&work.packet.key).is_some_and(|now| {
        // SAFETY: as in `keep`.
        alike(unsafe { &*now }, &work.reply)
    });
    if !same {
        forget(&work.packet.key);
    }
}

/// Takes away the copies of the reply with that key, which has just been changed.
#[inline(never)]
pub(crate) fn forget(answers: &FlowKey) {
    let print = fingerprint(answers);
    let Some(element) = element(print) else { return };
    for at in 0..ANSWERS_IN_LINES {
        let owner = owner(element, at);
        // Once the change is to be seen: who writes a copy later sees it too.
        let there = settled(owner);
        if is_of(there, print.tag) {
            // SAFETY: an aligned word of a map value that lives for the program's run.
            let _first = unsafe { exchange(owner, there, 0) };
        }
    }
}

/// Writes the copy into the answers' place, else into one that is to be had. False: there is none,
/// or another CPU was faster.
#[inline(never)]
fn put() -> bool {
    let Some(work) = work() else { return false };
    let Some(element) = element(work.print) else { return false };
    let jiffies = clock::jiffies();
    let mut chosen = None;
    for at in 0..ANSWERS_IN_LINES {
        let entry = entry(element, at);
        // SAFETY: as in `look`.
        let (version, owner, until) = unsafe {
            (
                read_volatile(addr_of_mut!((*entry).version)),
                read_volatile(addr_of_mut!((*entry).owner)),
                read_volatile(addr_of_mut!((*entry).until)),
            )
        };
        let own = is_of(owner, work.print.tag);
        if own || (chosen.is_none() && may_be_had(owner, until, jiffies)) {
            chosen = Some((entry, version));
        }
        if own {
            break;
        }
    }
    match chosen {
        Some((entry, version)) => write(entry, version, &work.answer),
        None => false,
    }
}

/// Writes an entry whose version was that; false: it is not any more, or somebody is writing.
#[inline(always)]
fn write(entry: *mut Answer, version: u64, answer: &Answer) -> bool {
    let opened = opened(version);
    // SAFETY: as in `look`; whoever has made the version odd writes the entry alone. All that it
    // has written is to be seen before the exchange that ends it, and what it reads afterwards is
    // read later.
    unsafe {
        let word = addr_of_mut!((*entry).version);
        if answers::is_being_written(version) || !exchange(word, version, opened) {
            return false;
        }
        write_volatile(addr_of_mut!((*entry).owner), answer.owner);
        write_volatile(addr_of_mut!((*entry).until), answer.until);
        write_volatile(addr_of_mut!((*entry).generation), answer.generation);
        write_volatile(addr_of_mut!((*entry).client_port_be), answer.client_port_be);
        write_volatile(addr_of_mut!((*entry).listener), answer.listener);
        write_volatile(addr_of_mut!((*entry).client), answer.client);
        write_volatile(addr_of_mut!((*entry).interface), answer.interface);
        write_volatile(addr_of_mut!((*entry).to), answer.to);
        write_volatile(addr_of_mut!((*entry).from), answer.from);
        exchange(word, opened, answers::closed(opened, answer.version))
    }
}

/// Sees to it that the listener's row says what the client asked for; its version then.
#[inline(always)]
fn name_origin(listener: u16, client: &FlowKey) -> Option<u64> {
    let row: *mut Origin = ORIGINS.get_ptr_mut(listener.into())?;
    // SAFETY: as in `write`.
    unsafe {
        let word = addr_of_mut!((*row).version);
        let version = read_volatile(word);
        if answers::is_origin_being_written(version) {
            return None;
        }
        let same = read_volatile(addr_of_mut!((*row).address)) == client.destination
            && read_volatile(addr_of_mut!((*row).port_be)) == client.destination_port_be;
        if same {
            // If another was written in between, the entry will speak of a version that is gone.
            return Some(version);
        }
        if !exchange(word, version, version + 1) {
            return None;
        }
        write_volatile(addr_of_mut!((*row).address), client.destination);
        write_volatile(addr_of_mut!((*row).port_be), client.destination_port_be);
        let _done = exchange(word, version + 1, version + 2);
        Some(version + 2)
    }
}

#[inline(always)]
fn fingerprint(answers: &FlowKey) -> Fingerprint {
    Destination::new(answers.destination, answers.destination_port_be, answers.protocol, key)
        .with_source(answers.source, answers.source_port_be, key)
}

#[inline(always)]
fn element(print: Fingerprint) -> Option<*mut AnswerLines> {
    let mask = answers::mask(space()?.mask, ANSWER_MASK.load());
    ANSWERS.get_ptr_mut(element_of(&print, ANSWER_LINES.load(), mask))
}

#[inline(always)]
fn entry(element: *mut AnswerLines, at: usize) -> *mut Answer {
    // SAFETY: within the element's entries; the pointer is valid for the program's run.
    unsafe { addr_of_mut!((*element).entries).cast::<Answer>().add(at) }
}

#[inline(always)]
fn owner(element: *mut AnswerLines, at: usize) -> *mut u64 {
    // SAFETY: the same.
    unsafe { addr_of_mut!((*entry(element, at)).owner) }
}
