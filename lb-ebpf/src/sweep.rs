//! The sweeper's programs: iterators of `PINS` and `REPLIES`, which the agent reads.
//!
//! Each entry comes by once; what `lb-common` calls dead is deleted. What is read from the
//! iterator is a word an entry: what became of it. A read ends when the reader's buffer is full,
//! and the next one goes on there.
//!
//! Where it goes on, the kernel knows by a bucket and a number of entries in it. So entries are
//! not deleted when they are met, or those behind them in the bucket would be passed over: their
//! keys wait until [`WAIT`] more have come. Before it is deleted an entry is judged again, since
//! in between the LRU may have evicted it and a packet made it anew.
//!
//! Rules that are not of the mark that packets see are of a sweep that was ended: under them
//! nothing is done, whoever reads.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::bpf_seq_write,
    maps::{Array, LruHashMap},
};
use lb_common::{
    layout::{BackendRef, FlowKey, Lives, Pin, PinKey, Reply, SweepRules},
    sweep::{self, Verdict},
};

use crate::{
    iterator::Context,
    maps::{DEAD_PINS, DEAD_REPLIES, PINS, RECLAIM, REPLIES, SWEEP, SWEEP_LIVES, SWEEP_SCOPES},
};

/// Keys that wait; a power of two, and more than a bucket holds: it has one entry on average.
const WAIT: usize = 16;

/// Keys of dead entries, a ring. A key of zeros, which no entry has, is none.
pub(crate) struct Deferred<K> {
    next: usize,
    keys: [K; WAIT],
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
extern "C" fn sweep_pins(context: *const Context<PinKey, Pin>) -> i32 {
    meet(context, &PINS, &DEAD_PINS, |rules, key, pin| {
        // SAFETY: the agent writes this map only between sweeps.
        let times = unsafe { SWEEP_SCOPES.get(&key.scope) };
        sweep::pin(rules, pin, times, lives(pin.backend))
    })
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
extern "C" fn sweep_replies(context: *const Context<FlowKey, Reply>) -> i32 {
    meet(context, &REPLIES, &DEAD_REPLIES, |rules, _, reply| sweep::reply(rules, reply))
}

#[inline(always)]
fn lives(backend: BackendRef) -> Lives {
    SWEEP_LIVES.get(backend.id()).copied().unwrap_or_default()
}

/// Deals with the entry in `context`; with all that wait, when there is none: that was the last.
/// 0: go on.
#[inline(always)]
fn meet<K: Copy, V>(
    context: *const Context<K, V>,
    map: &LruHashMap<K, V>,
    dead: &Array<Deferred<K>>,
    judge: impl Fn(&SweepRules, &K, &V) -> Verdict,
) -> i32 {
    let (Some(rules), Some(mark), Some(dead)) = (SWEEP.get(0), RECLAIM.get(0), dead.get_ptr_mut(0))
    else {
        return 0;
    };
    if mark.before_ns != rules.before_ns {
        return 0;
    }
    // SAFETY: the kernel gives a context whose `meta` and `seq` are there; the ring belongs to
    // whoever reads the iterator, which is the agent alone. Another reader could only mix up
    // keys, and a key is judged before it is deleted.
    let (seq, dead, key, value) =
        unsafe { ((*(*context).meta).seq, &mut *dead, (*context).key, (*context).value) };
    // SAFETY: a key of integers.
    let none = unsafe { core::mem::zeroed::<K>() };
    if key.is_null() {
        for waiting in &mut dead.keys {
            let old = *waiting;
            *waiting = none;
            reclaim(seq, rules, map, &old, &judge);
        }
        return 0;
    }
    if value.is_null() {
        return 0;
    }
    // SAFETY: neither is null. A packet may write the value meanwhile: each field is one word.
    // Volatile: copied to the stack in words, not from here to the ring in a loop over bytes.
    let (key, value) = unsafe { (read_volatile(key), &*value) };
    match judge(rules, &key, value) {
        held @ Verdict::Held(_) => tell(seq, held),
        Verdict::Dead => {
            let at = dead.next % WAIT;
            dead.next = at + 1;
            if let Some(waiting) = dead.keys.get_mut(at) {
                let old = *waiting;
                *waiting = key;
                reclaim(seq, rules, map, &old, &judge);
            }
        }
    }
    0
}

/// Deletes the entry if it is dead still.
#[inline(always)]
fn reclaim<K, V>(
    seq: *mut seq_file,
    rules: &SweepRules,
    map: &LruHashMap<K, V>,
    key: &K,
    judge: &impl Fn(&SweepRules, &K, &V) -> Verdict,
) {
    const ENOENT: i32 = -2;
    // SAFETY: as in `meet`.
    let Some(value) = (unsafe { map.get(key) }) else { return };
    match judge(rules, key, value) {
        held @ Verdict::Held(_) => tell(seq, held),
        Verdict::Dead => match map.remove(key) {
            Ok(()) => tell(seq, Verdict::Dead),
            // Evicted just now.
            Err(ENOENT) => {}
            Err(_) => tell(seq, Verdict::Held(0)),
        },
    }
}

/// Tells the reader what became of an entry.
#[inline(always)]
fn tell(seq: *mut seq_file, verdict: Verdict) {
    let word = verdict.word();
    // SAFETY: the kernel reads four bytes. It fails when the kernel's buffer is full, which is
    // several times the reader's.
    let _full = unsafe { bpf_seq_write(seq, (&raw const word).cast_mut().cast(), 4) };
}
