//! Moves flows to where they belong once more regions of `FLOWS` are in use: an iterator of that
//! map, which the agent reads. Meanwhile packets look in both places.
//!
//! What a packet notes in the moment between two words being written may be lost with the old
//! entry; the flow's next packet notes it again.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use lb_common::{
    event::Event,
    layout::{FLOWS_IN_LINE, FlowEntry, FlowLine},
    lines::{self, BUSY},
};

use crate::{
    count,
    iterator::Context,
    lines::{change, entry, exchange, put, read, space},
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
    let Some(old) = entry(line * FLOWS_IN_LINE as u32 + at) else { return };
    let there = read(old);
    if !lines::is_flow(there.owner) {
        return;
    }
    let Some(to) = lines::moves_to(line, there.owner >> 16, FLOW_LINES.load(), mask) else {
        return;
    };
    let copy = copy(to, there.owner, there.life);
    // SAFETY: aligned words of a map value that lives for the program's run. While it is busy
    // nobody else writes the entry.
    unsafe {
        if exchange(addr_of_mut!((*old).owner), there.owner, BUSY) {
            let noted = read_volatile(addr_of_mut!((*old).life));
            if noted != there.life && copy < NOWHERE {
                change(to * FLOWS_IN_LINE as u32 + copy, there.life, noted);
            }
            write_volatile(addr_of_mut!((*old).owner), 0);
        }
    }
}

/// Puts an entry into a free place of that line: its number there, or [`NOWHERE`].
#[inline(never)]
fn copy(to: u32, owner: u64, life: u64) -> u32 {
    for at in 0..NOWHERE {
        if put(to * FLOWS_IN_LINE as u32 + at, 0, FlowEntry { owner, life }) {
            return at;
        }
    }
    count::event(0, Event::FlowEvicted);
    NOWHERE
}

const NOWHERE: u32 = FLOWS_IN_LINE as u32;
