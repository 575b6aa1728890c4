//! The benchmark's programs: drivers that write a fresh packet and call what is measured, what
//! that is compared with, and the end of a wire.
//!
//! A test run repeats a program on one packet and never makes that anew; a driver does, so every
//! repeat sees a packet as it comes from the wire. There is a driver for each program that is
//! called, since only a tail call to a fixed place is a plain jump.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // for BPF's atomic addition
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
    reason = "packets are shorter than a page; checksums are folded to 16 bits"
)]

mod draw;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, LruHashMap, PerCpuArray, ProgramArray},
    programs::XdpContext,
};

use crate::draw::{Draw, LONG, SHORT};

/// A five-tuple in 40 bytes, as the packet carries it; IPv4 mapped into IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key {
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
    protocol: u32,
}

#[map]
static DRAW: Array<Draw> = Array::with_max_entries(1, 0);
/// The next flow's place in order, or the state of the random numbers; never 0 then.
#[map]
static NEXT: Array<u64> = Array::with_max_entries(1, 0);
/// The programs that are measured: empty, look-up, insert, another object's.
#[map]
static MEASURED: ProgramArray = ProgramArray::with_max_entries(4, 0);
/// Five-tuples that were inserted.
#[map]
static TABLE: LruHashMap<Key, [u64; 2]> = LruHashMap::with_max_entries(1024, 0);
/// Packets that were written.
#[map]
static WRITTEN: Array<u64> = Array::with_max_entries(1, 0);
/// Five-tuples that were looked for in vain.
#[map]
static MISSED: Array<u64> = Array::with_max_entries(1, 0);
/// Packets that came to the end of a wire.
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

macro_rules! drivers {
    ($($driver:ident = $slot:literal: $doc:literal;)+) => {
        $(
            #[doc = $doc]
            #[xdp]
            fn $driver(ctx: XdpContext) -> u32 {
                if write_packet(&ctx).is_some() {
                    // SAFETY: nothing here is to be dropped.
                    unsafe { MEASURED.tail_call(&ctx, $slot) };
                }
                xdp_action::XDP_ABORTED
            }
        )+
    };
}

drivers! {
    drive_empty = 0: "A fresh packet, then [`empty`].";
    drive_look_up = 1: "A fresh packet, then [`look_up`].";
    drive_insert = 2: "A fresh packet, then [`insert`].";
    drive_other = 3: "A fresh packet, then a program of another object.";
}

/// Sends the packet back.
#[xdp]
fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// One look-up of the packet's five-tuple.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "so the macro hands it over")]
fn look_up(ctx: XdpContext) -> u32 {
    let Some(key) = key(&ctx) else { return xdp_action::XDP_ABORTED };
    if TABLE.get_ptr(&key).is_some() {
        return xdp_action::XDP_TX;
    }
    if let Some(missed) = MISSED.get_ptr_mut(0) {
        // SAFETY: test runs are on one CPU at a time.
        unsafe { *missed += 1 };
    }
    xdp_action::XDP_DROP
}

/// One insert of the packet's five-tuple.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "so the macro hands it over")]
fn insert(ctx: XdpContext) -> u32 {
    let Some(key) = key(&ctx) else { return xdp_action::XDP_ABORTED };
    match TABLE.insert(&key, &[1, 2], 0) {
        Ok(()) => xdp_action::XDP_TX,
        Err(_) => xdp_action::XDP_DROP,
    }
}

/// Hands the packet to the kernel's stack.
#[xdp]
fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The end of a wire: counts, and drops.
#[xdp]
fn sink(_ctx: XdpContext) -> u32 {
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: the row is this CPU's own.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}

/// Brings the packet to its length and writes it: the next flow's.
#[inline(always)]
fn write_packet(ctx: &XdpContext) -> Option<()> {
    let draw = DRAW.get(0)?;
    let next = NEXT.get_ptr_mut(0)?;
    // SAFETY: test runs are on one CPU at a time.
    let next = unsafe { &mut *next };
    let number = draw.first + drawn(draw, next);

    // What the program that is measured put before the last packet, or took away.
    let length = (ctx.data_end() - ctx.data()) as u64;
    if length != u64::from(draw.bytes) || draw.resized != 0 {
        let grown = (length as i64 - i64::from(draw.bytes)) as i32;
        // SAFETY: the context is the program's own; no pointer into the packet is held.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, grown) } != 0 {
            return None;
        }
    }
    let [short, long] = [SHORT, LONG].map(|bytes| bytes as usize / 8);
    let (first, rest) = draw.packet.split_at(short);
    for (index, word) in first.iter().enumerate() {
        write(ctx, 8 * index, *word)?;
    }
    if draw.bytes == LONG {
        for (index, word) in rest.iter().take(long - short).enumerate() {
            write(ctx, 8 * (short + index), *word)?;
        }
    }

    let client = number >> draw.client_shift;
    let of_client = number & ((1 << draw.client_shift) - 1);
    write(ctx, place(draw.address_at), (draw.address + client).to_be())?;
    write(ctx, place(draw.port_at), ((draw.port + of_client) as u16).to_be())?;
    let more = (client >> 16) + (client & 0xffff);
    if draw.ip_sum_at != 0 {
        write(ctx, place(draw.ip_sum_at), with(draw.ip_sum, more).to_be())?;
    }
    write(ctx, place(draw.l4_sum_at), with(draw.l4_sum, more + of_client).to_be())?;
    settle()
}

/// Waits until what was written is in the cache, as what a network card has written is. A CPU's
/// reads of what it has just written in other pieces would wait for that, which has nothing to do
/// with who reads.
#[inline(always)]
fn settle() -> Option<()> {
    let written = WRITTEN.get_ptr_mut(0)?;
    // An atomic addition is a full barrier on x86.
    // SAFETY: an aligned word of a map value, which lives for the program's run.
    unsafe {
        core::arch::asm!(
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)",
            in("r1") written,
            inout("r2") 1_u64 => _,
        );
    }
    Some(())
}

/// The next flow, counted from the first.
#[inline(always)]
fn drawn(draw: &Draw, next: &mut u64) -> u32 {
    let apart = u64::from(draw.apart);
    if apart != 0 {
        let this = *next / (2 * apart) * apart + *next % apart;
        *next += 1;
        return this as u32;
    }
    if draw.step != 0 {
        let this = *next as u32;
        let following = this + draw.step;
        let round = if following < draw.flows { 0 } else { draw.flows };
        *next = u64::from(following - round);
        return this;
    }
    // Marsaglia, "Xorshift RNGs" (2003): 13, 7, 17.
    let mut x = *next;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *next = x;
    ((u64::from((x >> 32) as u32) * u64::from(draw.flows)) >> 32) as u32
}

/// A checksum after `more` was added to what it sums up (RFC 1624, equation 3).
#[inline(always)]
fn with(sum: u32, more: u32) -> u16 {
    let mut total = (!sum & 0xffff) + more;
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    !(total as u16)
}

/// An offset in the packet, within bounds that the verifier sees.
#[inline(always)]
fn place(offset: u32) -> usize {
    (offset & 0x7f) as usize
}

/// The packet's five-tuple; it has no IP options or extension headers.
#[inline(always)]
fn key(ctx: &XdpContext) -> Option<Key> {
    if read::<u16>(ctx, 12)? != 0x0800_u16.to_be() {
        return Some(Key {
            source: read(ctx, 22)?,
            destination: read(ctx, 38)?,
            ports: read(ctx, 54)?,
            protocol: read::<u8>(ctx, 20)?.into(),
        });
    }
    let mapped = |address| [0, 0, 0xffff_u32.to_be(), address];
    Some(Key {
        source: mapped(read(ctx, 26)?),
        destination: mapped(read(ctx, 30)?),
        ports: read(ctx, 34)?,
        protocol: read::<u8>(ctx, 23)?.into(),
    })
}

#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies within the packet, and its bytes may be anything.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn write<T: Copy>(ctx: &XdpContext, offset: usize, value: T) -> Option<()> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies within the packet.
    unsafe { (start as *mut T).write_unaligned(value) };
    Some(())
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program that could reach this loop.
    loop {}
}

/// See lb-ebpf's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
