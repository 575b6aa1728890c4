//! The time that packets are judged by.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

use crate::maps::{CLOCK, TEST_CLOCK};

/// Monotonic clock as of the last tick, nanoseconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    if TEST_CLOCK.load() != 0 {
        return CLOCK.get(0).copied().unwrap_or(0);
    }
    // SAFETY: the helper takes nothing and returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}
