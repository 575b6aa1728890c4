//! Holdfast's XDP program: one packet, one pass, the stages in order.
//!
//! parse, classify, flow, pin, select, rewrite, transmit: each looks up what its twin in
//! `lb-common` needs and does what that decides. A stage that ends a packet's way returns the
//! [`Event`] that says why; here, once, it is counted and becomes an XDP action.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // for BPF's compare and exchange
#![deny(unused_results, clippy::indexing_slicing, clippy::panic)]
#![expect(
    clippy::inline_always,
    reason = "a BPF call costs more than most of these functions, and the verifier forgets bounds \
              over it"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values handed over by value would be copied to the stack"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lengths of packets and headers, far below 64 KiB; actions of a few bits"
)]

mod answers;
mod atomic;
mod classify;
mod clock;
mod count;
mod ctx;
mod encap;
mod established;
mod features;
mod flood;
mod flow;
mod fragment;
mod grow;
mod icmp;
mod iterator;
mod lines;
mod maps;
mod mtu;
mod nat;
mod parse;
mod pin;
mod rate;
mod reply;
mod reset;
mod rewrite;
mod running;
mod select;
mod sidecar;
mod sweep;
mod too_big;
mod transmit;
mod work;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_common::{
    event::{Event, EventKind},
    features::Features,
};

use crate::{parse::Kind, work::work};

/// The program's entry.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "so the macro hands it over")]
fn holdfast(ctx: XdpContext) -> u32 {
    let action = established::forward(&ctx);
    if action != xdp_action::XDP_ABORTED {
        return action;
    }
    let (event, action) = match stages(&ctx) {
        Ok((event, action)) => (event, action),
        Err(event) => (event, xdp_action::XDP_DROP),
    };
    let listener = work().map_or(0, |work| work.listener);
    count::event(listener, event);
    match event.kind() {
        EventKind::Sent => action,
        EventKind::Passed => {
            if event == Event::PassSidecar {
                count::bytes_up(listener, ctx::len(&ctx) as u64);
            }
            xdp_action::XDP_PASS
        }
        EventKind::Dropped | EventKind::Noted => {
            log_drop(&ctx, event as u32, listener);
            xdp_action::XDP_DROP
        }
    }
}

/// A function of its own: what logging keeps on the stack is not under the stages' then, of which
/// Linux up to 6.6 rounds each share of the 512 bytes up to 32.
#[inline(never)]
#[expect(clippy::large_stack_frames, reason = "`debug!` before it is optimised")]
fn log_drop(ctx: &XdpContext, event: u32, listener: u32) {
    debug!(ctx, "dropped: event {}, listener {}", event, listener);
}

/// Parses the packet, into [`work`]. A function of its own, as is [`log_drop`].
#[inline(never)]
fn read_headers(ctx: &XdpContext) {
    if let Some(work) = work() {
        work.parsed = parse::parse(ctx, &mut work.packet);
    }
}

/// Refuses a packet that the interface which it is to leave by does not take. Of a tunnel that was
/// asked where its way was found.
#[inline(never)]
fn fits(ctx: &XdpContext, placed: Event) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    if work.tunnel == 0 && matches!(placed, Event::Forwarded | Event::Replied) {
        let packet = &work.packet;
        work.mtu = mtu::exceeded(ctx, work.hop.interface, packet.v6, encap::length(packet));
    }
    if work.mtu == 0 { Ok(placed) } else { Err(Event::DropTooBig) }
}

/// A packet's way: what to count, and the XDP action when it is sent.
#[inline(always)]
fn stages(ctx: &XdpContext) -> Result<(Event, u32), Event> {
    let unparsed = work().ok_or(Event::DropInternal)?;
    unparsed.listener = 0;
    unparsed.tunnel = 0;
    unparsed.mtu = 0;
    read_headers(ctx);
    let placed = match work().ok_or(Event::DropInternal)?.parsed? {
        Kind::Icmp => icmp::place(ctx)?,
        Kind::NoPorts => fragment::later(ctx).and_then(|placed| fits(ctx, placed))?,
        Kind::Ports => {
            let parsed = work().ok_or(Event::DropInternal)?;
            let fate = match classify::vip(&parsed.packet.key) {
                Some(vip) if vip.is_sidecars() => Err(sidecar::place(vip)),
                Some(vip) => flow::to_backend(ctx, parsed, vip),
                None => reply::to_client(parsed),
            };
            let fate = fate.and_then(|placed| fits(ctx, placed));
            let whole = work().ok_or(Event::DropInternal)?.packet.part.is_whole();
            if matches!(fate, Err(Event::DropTooBig)) {
                too_big::answer(ctx)?
            } else if whole {
                fate?
            } else {
                fragment::first(ctx, fate)?
            }
        }
    };
    if matches!(placed, Event::ResetSent | Event::EchoAnswered | Event::TooBigAnswered) {
        return Ok((placed, xdp_action::XDP_TX));
    }

    let placed_work = work().ok_or(Event::DropInternal)?;
    count::bytes(placed_work, placed, ctx::len(ctx) as u64);
    rewrite::rewrite(ctx)?;
    if features::have(Features::TUNNEL) && placed_work.tunnel != 0 {
        let inner = encap::Inner::of(ctx, placed_work).ok_or(Event::DropInternal)?;
        encap::wrap(ctx, placed_work.backend.id(), &inner)?;
    } else {
        transmit::ready(ctx, &placed_work.packet, &placed_work.hop)?;
    }
    let sent = work().ok_or(Event::DropInternal)?;
    Ok((placed, transmit::out_by(ctx, sent.hop.interface)))
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
