//! The data path's tables as the agent sees them. Nothing above this trait knows of BPF.

mod batch;
pub mod dump;
pub mod fake;
pub mod kernel;
mod large;
pub mod older;
mod per_cpu;
pub mod ticks;
mod vip_index;
pub(crate) mod walk;

use lb_common::{
    address::Address,
    layout::{
        Backend, BackendCounters, Flood, Flow, FlowSpace, IdentityKey, ListenerCounters, Lives,
        Meta, Name, Own, Pin, PinKey, Pool, Reclaim, Running, ScopeTimes, Settings, SweepRules,
        Vip, VipKey,
    },
    sweep::Verdict,
};

/// A table could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {map}: {source}")]
pub struct MapError {
    /// What was tried: `read`, `write`, `delete from`, ...
    pub operation: &'static str,
    /// The map's name in [`lb_common::maps`].
    pub map: &'static str,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

/// Where a scan of a large table stands; `Default` is its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// What the table's backing needs to go on; empty at the beginning.
    pub position: Vec<u8>,
    /// The scan is over.
    pub done: bool,
}

/// Entries of a large table, in no order. A scan that runs while the table changes may miss or
/// repeat entries that are inserted or deleted meanwhile.
pub type Batch<K, V> = Vec<(K, V)>;

/// A table that is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// `PINS`.
    Pins,
    /// `REPLIES`.
    Replies,
}

/// The maps of one instance.
///
/// Methods that change one row are atomic for packets unless they say otherwise.
pub trait LbMaps {
    /// What the maps were made with.
    fn meta(&self) -> Result<Meta, MapError>;
    /// Writes it.
    fn set_meta(&mut self, meta: &Meta) -> Result<(), MapError>;
    /// Writes the idle times.
    fn set_settings(&mut self, settings: &Settings) -> Result<(), MapError>;
    /// Writes the rates of new flows.
    fn set_flood(&mut self, flood: &Flood) -> Result<(), MapError>;

    /// All names and their numbers.
    fn identities(&self) -> Result<Vec<(IdentityKey, Name)>, MapError>;
    /// Gives numbers their names; after an error some may have theirs.
    fn set_identities(&mut self, names: &[(IdentityKey, Name)]) -> Result<(), MapError>;
    /// Frees numbers, passing over those that are free; after an error some may be.
    fn remove_identities(&mut self, keys: &[IdentityKey]) -> Result<(), MapError>;

    /// All VIPs.
    fn vips(&self) -> Result<Vec<(VipKey, Vip)>, MapError>;
    /// Adds or replaces a VIP.
    fn set_vip(&mut self, key: &VipKey, vip: &Vip) -> Result<(), MapError>;
    /// Removes a VIP; no error when there is none.
    fn remove_vip(&mut self, key: &VipKey) -> Result<(), MapError>;

    /// All own addresses.
    fn own(&self) -> Result<Vec<(Address, Own)>, MapError>;
    /// Adds or replaces some; after an error some of them.
    fn set_own(&mut self, addresses: &[(Address, Own)]) -> Result<(), MapError>;
    /// Removes some, passing over those that are not there; after an error some of them.
    fn remove_own(&mut self, addresses: &[Address]) -> Result<(), MapError>;

    /// A row of `POOLS`.
    fn pool(&self, id: u32) -> Result<Pool, MapError>;
    /// Writes it.
    fn set_pool(&mut self, id: u32, pool: &Pool) -> Result<(), MapError>;
    /// Writes a whole Maglev table, `table` counted from 1, a backend id a slot. Not atomic: only
    /// for a table that no pool names, and that none has named since the last grace period.
    fn write_table(&mut self, table: u32, slots: &[u16]) -> Result<(), MapError>;
    /// Reads a whole Maglev table.
    fn table(&self, table: u32) -> Result<Vec<u16>, MapError>;

    /// All rows of `BACKENDS` that were ever used, with their ids.
    fn backends(&self) -> Result<Vec<(u32, Backend)>, MapError>;
    /// Writes rows; after an error some may be written. No row is written atomically as a whole,
    /// so an address changes only together with a new generation.
    fn set_backends(&mut self, rows: &[(u32, Backend)]) -> Result<(), MapError>;

    /// All rows of `RUNNING`, by backend.
    fn running(&self) -> Result<Vec<Running>, MapError>;
    /// Writes rows, each as a whole; flows that packets count meanwhile may be lost.
    fn set_running(&mut self, rows: &[(u32, Running)]) -> Result<(), MapError>;

    /// Waits until every packet whose processing began before the call has been dealt with.
    fn grace_period(&self) -> Result<(), MapError>;
    /// The sweep's mark and totals.
    fn reclaim(&self) -> Result<Reclaim, MapError>;
    /// Writes them.
    fn set_reclaim(&mut self, reclaim: &Reclaim) -> Result<(), MapError>;

    /// The next pins of a scan, some thousands at a time.
    fn scan_pins(&self, cursor: &mut Cursor) -> Result<Batch<PinKey, Pin>, MapError>;
    /// The next flows of a scan, also those that are over.
    fn scan_flows(&self, cursor: &mut Cursor) -> Result<Vec<Flow>, MapError>;
    /// What a sample of the places of flows holds: flows, also those that are over, of so many
    /// entries.
    fn sample_flows(&self) -> Result<(Vec<Flow>, usize), MapError>;
    /// How much of the flow table is in use.
    fn flow_space(&self) -> Result<FlowSpace, MapError>;
    /// Writes it.
    fn set_flow_space(&mut self, space: &FlowSpace) -> Result<(), MapError>;
    /// Moves flows to where they belong by the space that was written.
    fn move_flows(&mut self) -> Result<(), MapError>;
    /// Deletes pins; those that are not there are passed over. How many were there.
    fn remove_pins(&mut self, keys: &[PinKey]) -> Result<u64, MapError>;

    /// Writes what the next sweep goes by: of every scope that a VIP has, and of every backend
    /// that there ever was.
    fn set_sweep(
        &mut self,
        rules: &SweepRules,
        scopes: &[(u32, ScopeTimes)],
        lives: &[(u32, Lives)],
    ) -> Result<(), MapError>;
    /// Begins to sweep a table from its beginning.
    fn begin_sweep(&mut self, table: Swept) -> Result<(), MapError>;
    /// Goes on with the table that was begun, by some thousands of entries: those that are dead
    /// are deleted. What became of each; none: that were all. Nothing is deleted unless the mark
    /// in `RECLAIM` is that of the rules.
    fn sweep(&mut self) -> Result<Vec<Verdict>, MapError>;

    /// A listener's counters, added up over the CPUs; row 0: packets of no listener.
    fn listener_counters(&self, row: u32) -> Result<ListenerCounters, MapError>;
    /// A backend's counters, added up over the CPUs.
    fn backend_counters(&self, row: u32) -> Result<BackendCounters, MapError>;
    /// Sets a listener's counters to zero, before a new listener gets the row.
    fn clear_listener_counters(&mut self, row: u32) -> Result<(), MapError>;
    /// Sets a backend's counters to zero, before a new backend gets the row.
    fn clear_backend_counters(&mut self, row: u32) -> Result<(), MapError>;

    /// The clock that pins are judged by: monotonic, nanoseconds.
    fn now_ns(&self) -> u64;
    /// The clock that flows are judged by; see [`lb_common::ticks`].
    fn now_ticks(&self) -> u32;
    /// How long its ticks are, nanoseconds.
    fn tick_ns(&self) -> u64;
}
