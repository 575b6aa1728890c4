//! Additions to words that several CPUs add to. In assembly, since rustc's BPF target offers none.

/// Adds one; what it was before (Linux has it from 5.12).
///
/// `word` is an aligned word of a map value, which lives for the program's run.
#[inline(always)]
pub(crate) fn next(word: *mut u64) -> u64 {
    let before: u64;
    // SAFETY: by what the caller gives.
    unsafe {
        core::arch::asm!(
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)",
            in("r1") word,
            inout("r2") 1_u64 => before,
        );
    }
    before
}

/// Adds one. `word` is as in [`next`].
#[inline(always)]
pub(crate) fn increment(word: *mut u32) {
    // SAFETY: by what the caller gives.
    unsafe {
        core::arch::asm!(
            "lock *(u32 *)(r1 + 0) += w2",
            in("r1") word,
            in("r2") 1_u64,
        );
    }
}

/// What it is. All that this CPU has written before is to be seen then: it is a full barrier.
///
/// `word` is as in [`next`].
#[inline(always)]
pub(crate) fn settled(word: *mut u64) -> u64 {
    let there: u64;
    // SAFETY: by what the caller gives.
    unsafe {
        core::arch::asm!(
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)",
            in("r1") word,
            inout("r2") 0_u64 => there,
        );
    }
    there
}
