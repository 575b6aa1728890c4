//! The real program on maps of a test's own: a scene is set, packets go in, outcomes come out.

pub mod answers;
pub mod flows;
mod program;
mod scene;
pub mod site;

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::{
    address::Address,
    layout::{
        AnswerLines, Backend, Datagram, FlowKey, FragmentKey, Own, Pin, PinKey, Pool, Reply, Vip,
        VipKey,
    },
    maps::{FRAGMENTS, REPLIES},
};
use lb_userspace::{
    config::Limits,
    loader::Loaded,
    maps::{Cursor, LbMaps as _, kernel::KernelMaps},
};

use crate::mount::Mount;

pub use program::SHORTEST;
pub use scene::{NAT_SOURCE_V4, NAT_SOURCE_V6, SEED, SETTINGS, backend_mac, hop, socket};

/// A second, in nanoseconds.
pub const S: u64 = 1_000_000_000;

/// Where the test's clock begins: late enough that nothing is younger than zero.
pub const START: u64 = 1_000_000 * S;

/// The program, its maps and its clock.
///
/// Rows of maps that a test changes are kept here as well, so that it can say what changes.
pub struct Bench {
    /// The maps.
    pub maps: KernelMaps,
    limits: Limits,
    program: Loaded,
    clock: Array<MapData, u64>,
    answers: Array<MapData, AnswerLines>,
    now_ns: u64,
    /// Packets' flows, by tag.
    met: BTreeMap<u64, FlowKey>,
    vips: BTreeMap<VipKey, Vip>,
    own: BTreeMap<Address, Own>,
    pools: BTreeMap<u32, Pool>,
    backends: BTreeMap<u32, Backend>,
    counters: Vec<[u64; lb_common::event::EVENTS]>,
    rows: Vec<u32>,
    // The last to go: what is above is in it.
    mount: Mount,
}

impl Bench {
    /// All pins.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn pins(&self) -> BTreeMap<PinKey, Pin> {
        self.scan(KernelMaps::scan_pins)
    }

    /// All entries for answers.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn replies(&self) -> BTreeMap<FlowKey, Reply> {
        let map = self.open::<FlowKey, Reply>(REPLIES);
        map.iter().collect::<Result<_, _>>().expect("replies read")
    }

    /// All datagrams that are remembered.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn datagrams(&self) -> BTreeMap<FragmentKey, Datagram> {
        let map = self.open::<FragmentKey, Datagram>(FRAGMENTS);
        map.iter().collect::<Result<_, _>>().expect("datagrams read")
    }

    fn scan<K: Ord, V, E: std::fmt::Debug>(
        &self,
        next: impl Fn(&KernelMaps, &mut Cursor) -> Result<Vec<(K, V)>, E>,
    ) -> BTreeMap<K, V> {
        let mut cursor = Cursor::default();
        let mut all = BTreeMap::new();
        while !cursor.done {
            all.extend(next(&self.maps, &mut cursor).expect("a scan"));
        }
        all
    }

    fn open<K: aya::Pod, V: aya::Pod>(&self, name: &str) -> HashMap<MapData, K, V> {
        let data = MapData::from_pin(self.mount.instance().join(name)).expect("a map opened");
        HashMap::try_from(Map::LruHashMap(data)).expect("an LRU map")
    }

    /// The only pin.
    ///
    /// # Panics
    ///
    /// When there are more, or none.
    #[must_use]
    pub fn pin(&self) -> Pin {
        let pins = self.pins();
        assert_eq!(pins.len(), 1, "one pin: {pins:?}");
        pins.into_values().next().expect("one pin")
    }

    /// How many pins there is room for, and as many flows.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.limits.pins as usize
    }

    /// Back to the start: no pins, no flows, no sweep, the clock where it began. Listeners, pools
    /// and backends stay.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn reset(&mut self) {
        self.forget_flows();
        self.forget_replies();
        self.forget_pins();
        self.reclaim_before(0);
        self.at(START);
    }

    /// Writes an entry for answers, as if a flow had made it.
    ///
    /// # Panics
    ///
    /// When the map cannot be opened or written.
    pub fn put_reply(&mut self, key: &FlowKey, reply: &Reply) {
        let mut map = self.open::<FlowKey, Reply>(REPLIES);
        map.insert(key, reply, 0).expect("a reply written");
    }

    /// Deletes all entries for answers, as evictions would, and what was copied of them.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn forget_replies(&mut self) {
        self.forget_answers();
        self.evict_replies();
    }

    /// Deletes all entries for answers, as evictions do: copies stay for as long as they count.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn evict_replies(&mut self) {
        let mut map = self.open::<FlowKey, Reply>(REPLIES);
        for key in self.replies().keys() {
            map.remove(key).expect("a reply removed");
        }
    }

    /// Deletes all pins, as evictions would.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn forget_pins(&mut self) {
        let keys: Vec<_> = self.pins().into_keys().collect();
        self.maps.remove_pins(&keys).expect("pins removed");
    }
}
