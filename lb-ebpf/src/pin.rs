//! Stage 4: the client's pin.

use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::{
    event::Event,
    layout::{BackendRef, FlowKey, Pin, PinKey, Reclaim, Vip},
    pin::{self, Standing, Touch},
};

use crate::{
    count,
    maps::{BACKENDS, PINS},
    select,
};

/// Where a new flow goes.
pub(crate) struct Choice {
    pub(crate) backend: BackendRef,
    /// Its client's pin could not be written.
    pub(crate) pin_owed: bool,
}

/// Chooses the backend of a new flow: the client's pin, else the hash; and pins the client.
#[inline(always)]
pub(crate) fn choose(
    packet: &FlowKey,
    vip: &Vip,
    reclaim: Reclaim,
    now_ns: u64,
) -> Result<Choice, Event> {
    if vip.scope == 0 {
        let backend = select::by_hash(packet, vip)?;
        count::event(vip.listener, Event::FlowPlacedByHash);
        return Ok(Choice { backend, pin_owed: false });
    }
    let key = key(packet, vip);
    if let Some(found) = PINS.get_ptr_mut(&key) {
        match standing(found, vip, reclaim, now_ns) {
            (Standing::Honoured, backend) => {
                refresh(found, vip, backend, Touch::NewFlow, now_ns);
                count::event(vip.listener, Event::PinFollowed);
                return Ok(Choice { backend, pin_owed: false });
            }
            (Standing::Void, _) => {
                let backend = select::by_hash(packet, vip)?;
                renew(found, backend, now_ns);
                count::event(vip.listener, Event::PinRenewed);
                return Ok(Choice { backend, pin_owed: false });
            }
            (Standing::Reclaiming, _) => {
                let backend = select::by_hash(packet, vip)?;
                count::event(vip.listener, Event::PinReclaiming);
                return Ok(Choice { backend, pin_owed: true });
            }
        }
    }
    let backend = select::by_hash(packet, vip)?;
    count::event(vip.listener, Event::FlowPlacedByHash);
    Ok(Choice { backend, pin_owed: !insert(&key, vip, backend, now_ns) })
}

/// What a packet of a flow under way does for its client's pin: refreshes it (P4, P5), or makes
/// it if that is still owed. Is it still owed?
#[inline(always)]
pub(crate) fn touch(
    packet: &FlowKey,
    vip: &Vip,
    flow_backend: BackendRef,
    owed: bool,
    reclaim: Reclaim,
    now_ns: u64,
) -> bool {
    if vip.scope == 0 {
        return false;
    }
    let key = key(packet, vip);
    let Some(found) = PINS.get_ptr_mut(&key) else {
        return owed && serves(flow_backend) && !insert(&key, vip, flow_backend, now_ns);
    };
    refresh(found, vip, flow_backend, Touch::Activity, now_ns);
    if !owed {
        return false;
    }
    match standing(found, vip, reclaim, now_ns).0 {
        Standing::Honoured => false,
        Standing::Reclaiming => true,
        Standing::Void => {
            if serves(flow_backend) {
                renew(found, flow_backend, now_ns);
                count::event(vip.listener, Event::PinRenewed);
            }
            false
        }
    }
}

#[inline(always)]
fn key(packet: &FlowKey, vip: &Vip) -> PinKey {
    PinKey { client: packet.source.masked(vip.client_mask), scope: vip.scope }
}

/// Does the backend take pins in that life?
#[inline(always)]
fn serves(backend: BackendRef) -> bool {
    BACKENDS.get(backend.id()).is_some_and(|record| record.honours_pin(backend))
}

#[inline(always)]
fn standing(found: *mut Pin, vip: &Vip, reclaim: Reclaim, now_ns: u64) -> (Standing, BackendRef) {
    // SAFETY: a pointer from a map look-up is valid for the program's run. Another CPU may write
    // the pin meanwhile: each field is one word, and a mixture reads as void.
    let pin = unsafe { found.read() };
    let standing = match BACKENDS.get(pin.backend.id()) {
        Some(backend) => pin::judge(&pin, vip, backend, reclaim, now_ns),
        None => Standing::Void,
    };
    (standing, pin.backend)
}

#[inline(always)]
fn refresh(found: *mut Pin, vip: &Vip, backend: BackendRef, touch: Touch, now_ns: u64) {
    // SAFETY: as in `standing`.
    let pin = unsafe { found.read() };
    if pin::refreshes(&pin, vip, backend, touch, now_ns) {
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

/// Inserts a pin. A pin that another CPU has just inserted is as good: the hash gave the same.
#[inline(always)]
fn insert(key: &PinKey, vip: &Vip, backend: BackendRef, now_ns: u64) -> bool {
    const EEXIST: i32 = -17;
    let pin = Pin { backend, created_ns: now_ns, last_seen_ns: now_ns };
    match PINS.insert(key, &pin, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            count::event(vip.listener, Event::PinMade);
            true
        }
        Err(EEXIST) => true,
        Err(_) => {
            count::event(vip.listener, Event::PinInsertFailed);
            false
        }
    }
}
