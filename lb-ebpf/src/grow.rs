//! Moves flows to where they belong once more regions of `FLOWS` are in use: an iterator of that
//! map, which the agent reads. Meanwhile packets look in both places.

use lb_common::{
    event::Event,
    layout::{FLOWS_IN_LINE, FlowLine},
    lines,
};

use crate::{
    count,
    iterator::Context,
    lines::{clear, entry, read, shift, space},
    maps::FLOW_LINES,
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
extern "C" fn move_flows(context: *const Context<u32, FlowLine>) -> i32 {
    // SAFETY: the kernel gives a context that is whole.
    let key = unsafe { (*context).key };
    let Some(space) = space() else { return 0 };
    if key.is_null() || space.mask == space.before {
        return 0;
    }
    // SAFETY: not null.
    let line = unsafe { *key };
    for at in 0..FLOWS_IN_LINE as u32 {
        move_on(line, at, space.mask);
    }
    0
}

/// Moves the entry if it belongs elsewhere. A flow for which there is no room is lost.
#[inline(never)]
fn move_on(line: u32, at: u32, mask: u32) {
    let place = line * FLOWS_IN_LINE as u32 + at;
    let Some(there) = entry(place).map(read) else { return };
    if !lines::is_flow(there.owner) {
        return;
    }
    let Some(to) = lines::moves_to(line, there.owner >> 16, FLOW_LINES.load(), mask) else {
        return;
    };
    for at in 0..FLOWS_IN_LINE as u32 {
        if shift(place, there, to * FLOWS_IN_LINE as u32 + at, 0) {
            return;
        }
    }
    if clear(place, there.owner).is_some() {
        count::event(0, Event::FlowEvicted);
    }
}
