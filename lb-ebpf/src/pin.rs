//! Stage 4: the client's pin.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::{
    event::Event,
    layout::{BackendRef, Pin, Vip},
    pin::{self, Standing, Touch},
};

use crate::{
    count,
    flow::Judging,
    maps::{BACKENDS, PINS},
    select,
    work::{Work, work},
};

/// Chooses the backend of a packet without a flow, into [`Work::backend`]: by the client's pin,
/// else as [`select::choose`] does. Makes nothing; what to count is in the answer.
#[inline(always)]
pub(crate) fn choose(judging: &Judging<'_>, begins: bool) -> Result<Event, Event> {
    if follow(judging) { Ok(Event::PinFollowed) } else { select::choose(judging.vip, begins) }
}

/// Puts the backend of the client's pin into [`Work::backend`]; false: there is no valid one. Whether
/// there is one at all is in [`Work::pinned`].
#[inline(never)]
fn follow(judging: &Judging<'_>) -> bool {
    let Some(work) = work() else { return false };
    work.pinned = false;
    if judging.vip.scope == 0 {
        return false;
    }
    key(work, judging.vip);
    let Some(found) = PINS.get_ptr_mut(&work.pin_key) else { return false };
    work.pinned = true;
    let (standing, backend) = standing(found, judging);
    work.backend = backend;
    matches!(standing, Standing::Honoured)
}

/// What a packet of a flow on [`Work::backend`] does for its client's pin: refreshes it (P4, P5),
/// or makes it if that is `owed`. Is it still owed?
#[inline(always)]
pub(crate) fn touch(work: &mut Work, judging: &Judging<'_>, touch: Touch, owed: bool) -> bool {
    let vip = judging.vip;
    if vip.scope == 0 {
        return false;
    }
    key(work, vip);
    let Some(found) = PINS.get_ptr_mut(&work.pin_key) else {
        return owed && serves(work.backend) && !insert(work, judging);
    };
    refresh(found, vip, work.backend, touch, judging.now_ns);
    if !owed {
        return false;
    }
    match standing(found, judging).0 {
        Standing::Honoured => false,
        Standing::Reclaiming => {
            count::event(vip.listener, Event::PinReclaiming);
            true
        }
        Standing::Void => {
            if serves(work.backend) {
                renew(found, work.backend, judging.now_ns);
                count::event(vip.listener, Event::PinRenewed);
            }
            false
        }
    }
}

#[inline(always)]
fn key(work: &mut Work, vip: &Vip) {
    work.pin_key.client = work.client.masked(vip.client_mask);
    work.pin_key.scope = vip.scope;
}

/// Does the backend take pins in that life?
#[inline(always)]
fn serves(backend: BackendRef) -> bool {
    BACKENDS.get(backend.id()).is_some_and(|record| record.honours_pin(backend))
}

#[inline(always)]
fn standing(found: *mut Pin, judging: &Judging<'_>) -> (Standing, BackendRef) {
    // SAFETY: a pointer from a map look-up is valid for the program's run. Another CPU may write
    // the pin meanwhile: each field is one word, and a mixture reads as void.
    let pin = unsafe { &*found.cast_const() };
    let pinned = pin.backend;
    let standing = match BACKENDS.get(pinned.id()) {
        Some(backend) => {
            pin::judge(pin, judging.vip, backend, judging.reclaim_before_ns, judging.now_ns)
        }
        None => Standing::Void,
    };
    (standing, pinned)
}

#[inline(always)]
fn refresh(found: *mut Pin, vip: &Vip, backend: BackendRef, touch: Touch, now_ns: u64) {
    // SAFETY: as in `standing`.
    let pin = unsafe { &*found.cast_const() };
    if pin::refreshes(pin, vip, backend, touch, now_ns) {
        // SAFETY: as in `standing`. Volatile: the write must happen, and as one word.
        unsafe { write_volatile(addr_of_mut!((*found).last_seen_ns), now_ns) };
    }
}

/// Makes a void pin anew. The backend first: with the old times the pin stays void, so no other
/// CPU follows the old backend with the new time.
#[inline(always)]
fn renew(found: *mut Pin, backend: BackendRef, now_ns: u64) {
    // SAFETY: as in `standing`; volatile keeps the order.
    unsafe {
        write_volatile(addr_of_mut!((*found).backend.word), backend.word);
        write_volatile(addr_of_mut!((*found).created_ns), now_ns);
        write_volatile(addr_of_mut!((*found).last_seen_ns), now_ns);
    }
}

/// Inserts a pin to [`Work::backend`]. A pin that another CPU has just inserted is as good: the
/// hash gave the same, or else this flow stays where it is without it (P5, P6).
#[inline(always)]
fn insert(work: &mut Work, judging: &Judging<'_>) -> bool {
    const EEXIST: i32 = -17;
    work.pin.backend = work.backend;
    work.pin.created_ns = judging.now_ns;
    work.pin.last_seen_ns = judging.now_ns;
    match PINS.insert(&work.pin_key, &work.pin, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            count::event(judging.vip.listener, Event::PinMade);
            true
        }
        Err(EEXIST) => true,
        Err(_) => {
            count::event(judging.vip.listener, Event::PinInsertFailed);
            false
        }
    }
}
