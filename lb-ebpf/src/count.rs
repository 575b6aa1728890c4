//! Counters: one row a listener and one a backend, per CPU.

use lb_common::event::Event;

use crate::maps::{BACKEND_STATS, LISTENER_STATS};

/// Counts an event of that listener (0: of none).
#[inline(always)]
pub(crate) fn event(listener: u32, event: Event) {
    let Some(row) = LISTENER_STATS.get_ptr_mut(listener) else { return };
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    if let Some(count) = unsafe { (*row).events.get_mut(event as usize) } {
        *count += 1;
    }
}

/// Counts a packet that goes to a backend.
#[inline(always)]
pub(crate) fn to_backend(listener: u32, backend: u32, bytes: u64, new_flow: bool) {
    if let Some(row) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: the row is this CPU's own.
        unsafe { (*row).bytes_in += bytes };
    }
    if let Some(row) = BACKEND_STATS.get_ptr_mut(backend) {
        // SAFETY: the row is this CPU's own.
        unsafe {
            (*row).packets_in += 1;
            (*row).bytes_in += bytes;
            (*row).flows += u64::from(new_flow);
        }
    }
}

/// Counts a packet that goes back to a client.
#[inline(always)]
pub(crate) fn to_client(listener: u32, backend: u32, bytes: u64) {
    if let Some(row) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: the row is this CPU's own.
        unsafe { (*row).bytes_out += bytes };
    }
    if let Some(row) = BACKEND_STATS.get_ptr_mut(backend) {
        // SAFETY: the row is this CPU's own.
        unsafe {
            (*row).packets_out += 1;
            (*row).bytes_out += bytes;
        }
    }
}
