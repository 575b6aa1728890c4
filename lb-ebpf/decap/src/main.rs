//! The XDP program of backends: takes packets out of tunnels, for the addresses that it is told,
//! and passes everything else on as it is.
#![no_std]
#![no_main]
#![deny(unused_results, clippy::indexing_slicing, clippy::panic)]
#![expect(clippy::inline_always, reason = "the verifier forgets bounds over a call")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths of headers, far below 64 KiB"
)]

#[path = "../../src/ctx.rs"]
mod ctx;
mod maps;
mod unwrap;

use core::hint::black_box;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{decap::DecapEvent, event::EventKind};

use crate::maps::DECAP_STATS;

/// The program's entry.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "so the macro hands it over")]
fn decap(ctx: XdpContext) -> u32 {
    let event = match unwrap::unwrap(&ctx) {
        Ok(()) => DecapEvent::Decapsulated,
        Err(event) => event,
    };
    count(event);
    match event.kind() {
        EventKind::Dropped => xdp_action::XDP_DROP,
        EventKind::Sent | EventKind::Passed | EventKind::Noted => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn count(event: DecapEvent) {
    let Some(row) = DECAP_STATS.get_ptr_mut(0) else { return };
    // The compiler knows that the code is in range and would drop the check, which the verifier
    // needs.
    let code = black_box(event as usize);
    // SAFETY: the row is this CPU's own, and nothing interrupts the program on it.
    if let Some(count) = unsafe { (*row).events.get_mut(code) } {
        *count += 1;
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics; the verifier would refuse a program that could reach this loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
