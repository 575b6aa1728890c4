//! The flows that the program holds.
//!
//! Their entries have no five-tuples, only tags; but those of all packets that were sent are known.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use lb_common::{
    address::Address,
    fingerprint,
    layout::{BackendRef, Flow, FlowKey, FlowLine},
    maps::FLOWS,
    ticks,
};
use lb_userspace::limits;

use super::{Bench, SEED};
use crate::packet::{Frame, Transport};

/// What is held of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The backend and its life.
    pub backend: BackendRef,
    /// When a packet was last noted: the test's clock, nanoseconds.
    pub seen_ns: u64,
    /// A [`lb_common::layout::TcpState`] code.
    pub state: u8,
    /// Its client's pin is still to be written.
    pub pin_owed: bool,
    /// `nat`: number of the source.
    pub source: u8,
    /// `nat`: source port; 0 in other modes.
    pub port: u16,
}

/// A packet's five-tuple.
pub(super) fn key_of(frame: &Frame) -> FlowKey {
    FlowKey {
        source: frame.source.ip().into(),
        destination: frame.destination.ip().into(),
        source_port_be: frame.source.port().to_be(),
        destination_port_be: frame.destination.port().to_be(),
        protocol: if matches!(frame.transport, Transport::Tcp { .. }) { 6 } else { 17 },
        pad: [0; 3],
    }
}

/// A key that no packet has.
fn unmet(tag: u64) -> FlowKey {
    let source = Address { words_be: [0, 0, (tag >> 32) as u32, (tag & 0xffff_ffff) as u32] };
    FlowKey {
        source,
        destination: FlowKey::NO_ADDRESS,
        source_port_be: 0,
        destination_port_be: 0,
        protocol: 0,
        pad: [0; 3],
    }
}

impl Bench {
    /// All flows that have an entry; those of packets that were sent as bytes by a key which only
    /// tells them apart.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<FlowKey, Held> {
        let map = self.flow_lines();
        let lines = (0..map.len()).map(|line| map.get(&line, 0).expect("a line"));
        let entries = lines.flat_map(|line| line.entries).filter(|entry| entry.owner != 0);
        let held = entries.map(|entry| {
            let tag = entry.owner >> 16;
            (self.met.get(&tag).copied().unwrap_or(unmet(tag)), self.held(Flow::unpack(entry)))
        });
        held.collect()
    }

    /// The lines in which flows are, one for each.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn flow_places(&self) -> Vec<u32> {
        let map = self.flow_lines();
        let held = |line: u32| {
            let entries = map.get(&line, 0).expect("a line").entries;
            entries.into_iter().filter(|entry| entry.owner != 0).map(move |_| line)
        };
        (0..map.len()).flat_map(held).collect()
    }

    fn held(&self, flow: Flow) -> Held {
        let tick = self.now_ns / ticks::TEST_NS;
        let age = ticks::since(flow.seen, ticks::short(tick));
        Held {
            backend: flow.placed(self.backends[&flow.backend].generation),
            seen_ns: (tick - u64::from(age)) * ticks::TEST_NS,
            state: flow.state,
            pin_owed: flow.pin_owed,
            source: flow.source,
            port: u16::from_be(flow.port_be),
        }
    }

    /// Deletes all flows, as evictions would.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn forget_flows(&mut self) {
        let mut map = self.flow_lines();
        for line in 0..map.len() {
            if map.get(&line, 0).expect("a line") != FlowLine::default() {
                map.set(line, FlowLine::default(), 0).expect("a line written");
            }
        }
    }

    /// Entries that the flows have.
    #[must_use]
    pub fn flow_entries(&self) -> usize {
        4 * limits::flow_lines(&self.limits) as usize
    }

    /// Remembers whose flow that packet is of.
    pub(super) fn meet(&mut self, frame: &Frame) {
        let key = key_of(frame);
        let tag = fingerprint::of_flow(&fingerprint::keys(SEED), &key).tag;
        let _old = self.met.insert(tag, key);
    }

    fn flow_lines(&self) -> Array<MapData, FlowLine> {
        let data = MapData::from_pin(self.mount.instance().join(FLOWS)).expect("a map opened");
        Array::try_from(aya::maps::Map::Array(data)).expect("an array")
    }
}
