//! Running flows by backend, and the choice by them.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_common::{layout::Running, running};

use crate::{atomic, maps::RUNNING};

/// The backend of two, each drawn by `draw` from a random number, that has fewer flows for its
/// weight; its id.
#[inline(always)]
pub(crate) fn better_of_two(draw: impl Fn(u64) -> Option<u32>) -> Option<u32> {
    // SAFETY: the helper takes nothing and returns a number.
    let random = || u64::from(unsafe { bpf_get_prandom_u32() });
    let first = draw(random())?;
    let mut second = first;
    for _ in 0..running::DRAWS {
        second = draw(random())?;
        if second != first {
            break;
        }
    }
    let first_is_better = running::first_is_better(of(first), of(second));
    Some(if first_is_better { first } else { second })
}

#[inline(always)]
fn of(backend: u32) -> Running {
    RUNNING.get(backend).copied().unwrap_or_default()
}

/// Counts a flow that was placed, where a scheduler asks for it: the agent has given the backend a
/// weight there.
#[inline(always)]
pub(crate) fn placed(backend: u32) {
    let Some(row) = RUNNING.get_ptr_mut(backend) else { return };
    // SAFETY: a pointer from a map look-up is valid for the program's run.
    unsafe {
        if (*row).weight != 0 {
            atomic::increment(addr_of_mut!((*row).flows));
        }
    }
}
