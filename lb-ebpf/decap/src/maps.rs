//! The program's maps, filled before it is attached; only the counters outlive it.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use lb_common::{
    address::Address,
    layout::{DECAP_SOURCES, DecapCounters, DecapFrom},
};

#[map]
pub(crate) static DECAP_ADDRESSES: HashMap<Address, u8> = HashMap::with_max_entries(1024, 0);
#[map]
pub(crate) static DECAP_FROM: Array<DecapFrom> = Array::with_max_entries(DECAP_SOURCES as u32, 0);
#[map]
pub(crate) static DECAP_STATS: PerCpuArray<DecapCounters> = PerCpuArray::pinned(1, 0);

// Read-only once loaded: the verifier takes them for constants.
#[unsafe(no_mangle)]
pub(crate) static DECAP_FROM_COUNT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static DECAP_PORT: Global<u16> = Global::new(0);
