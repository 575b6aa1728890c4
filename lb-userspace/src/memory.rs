//! How the process's allocator keeps memory: an agent that is asked and told much for a moment is
//! small again afterwards.

/// Blocks from this size on get pages of their own, which go back at once when they are freed;
/// bytes. glibc would raise it with every such block that is freed.
#[cfg(target_env = "gnu")]
const OWN_PAGES: libc::c_int = 64 * 1024;

/// Sets the allocator up; before there are threads.
pub fn frugal() {
    #[cfg(target_env = "gnu")]
    {
        // One arena: what a thread has freed, another one uses.
        set(libc::M_ARENA_MAX, 1);
        set(libc::M_MMAP_THRESHOLD, OWN_PAGES);
        set(libc::M_TRIM_THRESHOLD, OWN_PAGES);
    }
}

/// Gives pages that nothing is on any more back to the kernel: after work that took many. Takes
/// some milliseconds.
pub fn give_back() {
    // SAFETY: it takes a number, and holds the allocator's locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        let _given = libc::malloc_trim(0);
    }
}

#[cfg(target_env = "gnu")]
fn set(parameter: libc::c_int, value: libc::c_int) {
    // SAFETY: it takes numbers; what it does not know it refuses.
    let known = unsafe { libc::mallopt(parameter, value) };
    debug_assert_eq!(known, 1, "mallopt {parameter}");
}
