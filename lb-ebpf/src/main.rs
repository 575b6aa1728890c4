//! Holdfast's XDP program: one packet, one pass, the stages in order.
//!
//! parse, classify, flow, pin, select, rewrite, transmit: each looks up what its twin in
//! `lb-common` needs and does what that decides. A stage that ends a packet's way returns the
//! [`Event`] that says why; here, once, it is counted and becomes an XDP action.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // for BPF's compare and exchange
#![deny(unused_results, clippy::indexing_slicing, clippy::panic)]

mod classify;
mod clock;
mod count;
mod ctx;
mod flow;
mod maps;
mod nat;
mod parse;
mod pin;
mod reply;
mod reset;
mod rewrite;
mod select;
mod transmit;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_common::event::{Event, EventKind};

use crate::parse::Packet;

/// What ends a packet's way: the event, the counters' row and, when it is sent, how.
pub(crate) struct Verdict {
    event: Event,
    /// Row of the listener; 0: none.
    listener: u32,
    /// The XDP action of a packet that is sent.
    action: u32,
}

impl Verdict {
    /// The packet is not sent.
    #[inline(always)]
    pub(crate) const fn ends(event: Event, listener: u32) -> Self {
        Self { event, listener, action: xdp_action::XDP_DROP }
    }
}

/// The program's entry.
#[xdp]
fn holdfast(ctx: XdpContext) -> u32 {
    let mut packet = Packet::EMPTY;
    let verdict = match parse::parse(&ctx, &mut packet) {
        Ok(()) => balance(&ctx, &packet),
        Err(event) => Verdict::ends(event, 0),
    };
    count::event(verdict.listener, verdict.event);
    match verdict.event.kind() {
        EventKind::Sent => verdict.action,
        EventKind::Passed => xdp_action::XDP_PASS,
        EventKind::Dropped | EventKind::Noted => {
            debug!(&ctx, "dropped, event {}, listener {}", verdict.event as u8, verdict.listener);
            xdp_action::XDP_DROP
        }
    }
}

#[inline(always)]
fn balance(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let mut listener = 0;
    let outcome = match classify::vip(&packet.key) {
        Some(vip) => {
            listener = vip.listener;
            flow::to_backend(ctx, packet, vip)
        }
        None => reply::to_client(ctx, packet, &mut listener),
    };
    match outcome {
        Ok((event, action)) => Verdict { event, listener, action },
        Err(event) => Verdict::ends(event, listener),
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics: every index and every division is checked. The verifier would refuse
    // a program that could reach this loop.
    loop {}
}

/// The helpers that the program calls are lent to GPL-compatible programs; it may be had under
/// the GPL-2.0 as well as under the MIT licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
