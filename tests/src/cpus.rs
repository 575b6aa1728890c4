//! Which CPUs work runs on: what is measured has one to itself.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The CPUs that this thread may use, from the first.
///
/// # Panics
///
/// When the kernel does not say.
#[must_use]
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("this thread's CPUs");
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// Binds this thread, and what it starts from now on, to one CPU.
///
/// # Panics
///
/// When it may not use that.
pub fn keep_to(cpu: usize) {
    let mut one = CpuSet::new();
    one.set(cpu).expect("its number");
    sched_setaffinity(Pid::from_raw(0), &one).unwrap_or_else(|e| panic!("CPU {cpu}: {e}"));
}
