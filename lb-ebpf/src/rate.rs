//! Rates, kept in arrays of buckets.

use aya_ebpf::maps::Array;
use lb_common::rate::Rate;

use crate::lines::exchange;

/// May it be done once more, by that bucket?
///
/// Who loses a race with another CPU is not counted: it may be done once more than the rate says.
/// Only who is admitted writes, so there is nothing to race for once a rate is used up.
#[inline(always)]
pub(crate) fn admits(buckets: &Array<u64>, number: u32, rate: Rate, now_ns: u64) -> bool {
    let Some(bucket) = buckets.get_ptr_mut(number) else { return false };
    // SAFETY: a pointer from a map look-up is valid for the program's run; an aligned word.
    let known = unsafe { bucket.read_volatile() };
    let Some(next) = rate.admits(known, now_ns) else { return false };
    // SAFETY: the same.
    let _won = unsafe { exchange(bucket, known, next) };
    true
}
