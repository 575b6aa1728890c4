//! The time that packets are judged by.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::ticks;

use crate::maps::{CLOCK, JIFFIES, JIFFY_NS, TEST_CLOCK, TICK_SHIFT};

/// Monotonic clock as of the last tick, nanoseconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    if TEST_CLOCK.load() != 0 {
        return CLOCK.get(0).copied().unwrap_or(0);
    }
    // SAFETY: the helper takes nothing and returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The time that flows are judged by, as their entries hold it.
#[inline(always)]
pub(crate) fn ticks() -> u32 {
    if TEST_CLOCK.load() != 0 {
        return ticks::short(now_ns() / ticks::TEST_NS);
    }
    ticks::short(kernel_jiffies() >> TICK_SHIFT.load())
}

/// The time that copies of replies are judged by: the kernel's jiffies.
#[inline(always)]
pub(crate) fn jiffies() -> u64 {
    if TEST_CLOCK.load() != 0 {
        return now_ns().checked_div(jiffy_ns()).unwrap_or(0);
    }
    kernel_jiffies()
}

/// How long a jiffy is.
#[inline(always)]
pub(crate) fn jiffy_ns() -> u64 {
    JIFFY_NS.load()
}

#[inline(always)]
fn kernel_jiffies() -> u64 {
    // SAFETY: the helper takes nothing and returns a number.
    unsafe { bpf_jiffies64() }
}

/// Tells the agent what the kernel's jiffies are; run by it, attached nowhere.
#[xdp]
fn read_jiffies(_ctx: XdpContext) -> u32 {
    if let Some(told) = JIFFIES.get_ptr_mut(0) {
        // SAFETY: the map's one word; the agent reads it after the run.
        unsafe { *told = kernel_jiffies() };
    }
    xdp_action::XDP_PASS
}
