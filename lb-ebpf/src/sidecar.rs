//! What comes to the sidecar's VIPs: it goes up, to a socket of this machine. New connections are
//! held to the rates of new flows; nothing is made for any packet. What the sidecar answers leaves
//! through the kernel's stack, and does not come by here.

use lb_common::{
    event::Event,
    header::{self, TcpFlags},
    layout::Vip,
};

use crate::{
    classify, flood,
    flow::Judging,
    work::{Work, work},
};

/// What becomes of a packet with ports for the sidecar: [`Event::PassSidecar`], or why it is
/// dropped. Only one that would open a connection may be: whatever a flood uses up, a connection
/// under way does not miss it. Its headers are for the kernel to judge.
#[inline(never)]
pub(crate) fn place(vip: &Vip) -> Event {
    let Some(work) = work() else { return Event::DropInternal };
    work.listener = vip.listener;
    if !work.packet.tcp.is_some_and(TcpFlags::is_opening) {
        return Event::PassSidecar;
    }
    match check(work) {
        Err(event) => event,
        Ok(()) => open(vip),
    }
}

/// The source of a new connection: as that of a new flow.
#[inline(always)]
fn check(work: &Work) -> Result<(), Event> {
    header::check_addresses(&work.packet.key)?;
    if classify::is_own(&work.packet.key.source) { Err(Event::DropBadSource) } else { Ok(()) }
}

#[inline(always)]
fn open(vip: &Vip) -> Event {
    let Some(judging) = Judging::new(vip) else { return Event::DropInternal };
    // Nobody has a pin here that would speak for it.
    if flood::admits(&judging, false) { Event::PassSidecar } else { Event::DropFlood }
}
