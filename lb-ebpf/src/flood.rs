//! The rates of new flows.

use lb_common::flood;

use crate::{
    flow::Judging,
    maps::{FLOOD, FLOOD_CELLS},
    rate, select,
    work::work,
};

/// May the packet leave a flow and a pin? `pinned`: its client has a valid pin.
///
/// The network's rate is asked first, so that one network cannot use up what all have.
#[inline(never)]
pub(crate) fn admits(judging: &Judging<'_>, pinned: bool) -> bool {
    let (Some(work), Some(rules)) = (work(), FLOOD.get(0)) else { return false };
    let client = work.packet.key.source;
    let masked =
        if pinned { client.masked(judging.vip.client_mask) } else { rules.network_of(client) };
    let cell = flood::cell_of(select::seed(), masked, pinned);
    rate::admits(&FLOOD_CELLS, cell, rules.network, judging.now_ns)
        && rate::admits(&FLOOD_CELLS, flood::cell_of_all(pinned), rules.all, judging.now_ns)
}
