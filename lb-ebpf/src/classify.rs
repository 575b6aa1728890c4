//! Stage 2: which VIP a packet is for.

use core::ptr::read_volatile;

use aya_ebpf::Global;
use lb_common::{
    address::Address,
    fingerprint::{Destination, Fingerprint},
    layout::{FlowKey, Own, Vip, VipLine},
};

use crate::maps::{KEYS, OWN, VIP_INDEX, VIP_LINES, VIPS};

/// The VIP of the packet's destination address, port and protocol: one line of the index, seldom
/// two, and the row that it names.
#[inline(always)]
pub(crate) fn vip(packet: &FlowKey) -> Option<&'static Vip> {
    let destination =
        Destination::new(packet.destination, packet.destination_port_be, packet.protocol, key);
    found_by(destination, packet)
}

/// The same, of the destination's sums.
#[inline(always)]
pub(crate) fn found_by(destination: Destination, packet: &FlowKey) -> Option<&'static Vip> {
    let row = VIPS.get(row(destination.fingerprint())?)?;
    let same = row.key.address == packet.destination
        && row.key.port_be == packet.destination_port_be
        && row.key.protocol == packet.protocol;
    if same { Some(&row.vip) } else { None }
}

/// The row of the VIP with that fingerprint.
#[inline(always)]
fn row(print: Fingerprint) -> Option<u32> {
    for line in print.lines(VIP_LINES.load()) {
        let line = VIP_INDEX.get(line)?;
        for entry in &line.entries {
            // SAFETY: a word of a map value that lives for the program's run. Volatile: the agent
            // may change it between two reads.
            let entry = unsafe { read_volatile(entry) };
            if VipLine::tag(entry) == print.tag {
                return Some(VipLine::row(entry).into());
            }
            if entry == 0 {
                return None;
            }
        }
    }
    None
}

/// One of the keys of fingerprints.
#[inline(always)]
pub(crate) fn key(number: usize) -> u64 {
    KEYS.get(number).map_or(0, Global::load)
}

/// Is this one of the balancer's own addresses, a VIP or a NAT source? From there comes no client;
/// an answer sent there would be a client's packet again, of another listener maybe, and so on.
#[inline(always)]
pub(crate) fn is_own(address: &Address) -> bool {
    OWN.get_ptr(address).is_some()
}

/// What is known of an address, if it is the balancer's own.
#[inline(always)]
pub(crate) fn own(address: &Address) -> Option<Own> {
    // SAFETY: the agent replaces an entry as a whole; a removed one's memory is reused at the
    // worst, for another address.
    unsafe { OWN.get(address) }.copied()
}
