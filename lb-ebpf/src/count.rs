//! Counters: one row a listener and one a backend, per CPU.

use core::hint::black_box;

use lb_common::event::Event;

use crate::{
    maps::{BACKEND_STATS, LISTENER_STATS},
    running,
    work::Work,
};

/// Counts an event of that listener (0: of none).
#[inline(always)]
pub(crate) fn event(listener: u32, event: Event) {
    let Some(row) = LISTENER_STATS.get_ptr_mut(listener) else { return };
    // The compiler knows that the code is in range and would drop the check, which the verifier
    // needs: it forgets ranges over a call.
    let code = black_box(event as usize);
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    if let Some(count) = unsafe { (*row).events.get_mut(code) } {
        *count += 1;
    }
}

/// Counts a packet that is for no listener. As [`event`] does, with a code that is known.
#[inline(always)]
pub(crate) fn no_listener() {
    const CODE: usize = Event::PassNoListener as usize;
    let Some(row) = LISTENER_STATS.get_ptr_mut(0) else { return };
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    if let Some(count) = unsafe { (*row).events.get_mut(CODE) } {
        *count += 1;
    }
}

/// Counts a packet in the middle of a connection that is passed to the sidecar, and its bytes.
#[inline(always)]
pub(crate) fn to_sidecar(listener: u32, bytes: u64) {
    const CODE: usize = Event::PassSidecar as usize;
    let Some(row) = LISTENER_STATS.get_ptr_mut(listener) else { return };
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    let row = unsafe { &mut *row };
    if let Some(count) = row.events.get_mut(CODE) {
        *count += 1;
    }
    row.bytes_in += bytes;
}

/// Counts the bytes of a packet that is passed to the sidecar, from its Ethernet header on.
#[inline(always)]
pub(crate) fn bytes_up(listener: u32, bytes: u64) {
    let Some(row) = LISTENER_STATS.get_ptr_mut(listener) else { return };
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    unsafe { (*row).bytes_in += bytes };
}

/// Counts a packet of a flow under way that is forwarded, and its bytes.
#[inline(always)]
pub(crate) fn forwarded(listener: u32, backend: u32, bytes: u64) {
    if let Some(row) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
        let row = unsafe { &mut *row };
        let [forwarded, ..] = &mut row.events;
        *forwarded += 1;
        row.bytes_in += bytes;
    }
    if let Some(row) = BACKEND_STATS.get_ptr_mut(backend) {
        // SAFETY: the same.
        let row = unsafe { &mut *row };
        row.packets_in += 1;
        row.bytes_in += bytes;
    }
}

const _: () = assert!(Event::Forwarded as usize == 0);

/// Counts a backend's answer that is sent to its client, and its bytes.
#[inline(always)]
pub(crate) fn replied(listener: u32, backend: u32, bytes: u64) {
    const CODE: usize = Event::Replied as usize;
    if let Some(row) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
        let row = unsafe { &mut *row };
        if let Some(count) = row.events.get_mut(CODE) {
            *count += 1;
        }
        row.bytes_out += bytes;
    }
    if let Some(row) = BACKEND_STATS.get_ptr_mut(backend) {
        // SAFETY: the same.
        let row = unsafe { &mut *row };
        row.packets_out += 1;
        row.bytes_out += bytes;
    }
}

/// Counts the bytes of a packet that is sent, from its Ethernet header on, for its listener and
/// its backend.
#[inline(always)]
pub(crate) fn bytes(work: &Work, event: Event, bytes: u64) {
    let (Some(listener), Some(backend)) =
        (LISTENER_STATS.get_ptr_mut(work.listener), BACKEND_STATS.get_ptr_mut(work.backend.id()))
    else {
        return;
    };
    // SAFETY: the rows are this CPU's own.
    let (listener, backend) = unsafe { (&mut *listener, &mut *backend) };
    if matches!(event, Event::Replied | Event::IcmpReplied) {
        listener.bytes_out += bytes;
        backend.packets_out += 1;
        backend.bytes_out += bytes;
    } else {
        listener.bytes_in += bytes;
        backend.packets_in += 1;
        backend.bytes_in += bytes;
        backend.flows += u64::from(work.new_flow);
        if work.new_flow != 0 {
            running::placed(work.backend.id());
        }
    }
}
