//! Every map of the program. Sizes stand here as defaults; the agent sets them before load.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use lb_common::{
    address::Address,
    fingerprint, flood,
    fragment::DATAGRAMS,
    layout::{
        AnswerLines, Backend, BackendCounters, Datagram, Flood, FlowKey, FlowLine, FlowSpace,
        FragmentKey, IdentityKey, ListenerCounters, Lives, Meta, Name, Origin, Own, Pin, PinKey,
        Pool, Reclaim, Reply, Running, ScopeTimes, Settings, SweepRules, VipLine, VipRow,
    },
    tunnel::BUCKETS,
};

use crate::{sweep::Deferred, work::Work};

/// Rows begin at the begin of a page, so one of 64 bytes is in one cache line: an array that is not
/// to be mapped begins behind the kernel's own record of it, in the middle of one.
const ALIGNED: u32 = BPF_F_MMAPABLE;

#[map]
pub(crate) static VIPS: Array<VipRow> = Array::pinned(1, 0);
#[map]
pub(crate) static VIP_INDEX: Array<VipLine> = Array::pinned(1, ALIGNED);
#[map]
pub(crate) static OWN: HashMap<Address, Own> = HashMap::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static POOLS: Array<Pool> = Array::pinned(64, 0);
#[map]
pub(crate) static TABLES: Array<u64> = Array::pinned(1, 0);
#[map]
pub(crate) static TURNS: Array<u64> = Array::pinned(64, 0);
#[map]
pub(crate) static RUNNING: Array<Running> = Array::pinned(4096, 0);
#[map]
pub(crate) static BACKENDS: Array<Backend> = Array::pinned(4096, 0);
#[map]
pub(crate) static PINS: LruHashMap<PinKey, Pin> = LruHashMap::pinned(1_000_000, 0);
#[map]
pub(crate) static FLOWS: Array<FlowLine> = Array::pinned(1, ALIGNED);
#[map]
pub(crate) static FLOW_SPACE: Array<FlowSpace> = Array::pinned(1, 0);
#[map]
pub(crate) static REPLIES: LruHashMap<FlowKey, Reply> = LruHashMap::pinned(1_000_000, 0);
#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, Datagram> = LruHashMap::pinned(DATAGRAMS, 0);
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
pub(crate) static FLOOD: Array<Flood> = Array::pinned(1, 0);
#[map]
pub(crate) static RECLAIM: Array<Reclaim> = Array::pinned(1, 0);
#[map]
pub(crate) static LISTENER_STATS: PerCpuArray<ListenerCounters> = PerCpuArray::pinned(1, 0);
#[map]
pub(crate) static BACKEND_STATS: PerCpuArray<BackendCounters> = PerCpuArray::pinned(1, 0);

// What the sweep under way goes by, and the keys that it has still to delete.
#[map]
pub(crate) static SWEEP: Array<SweepRules> = Array::pinned(1, 0);
#[map]
pub(crate) static SWEEP_SCOPES: HashMap<u32, ScopeTimes> = HashMap::pinned(1024, 0);
#[map]
pub(crate) static SWEEP_LIVES: Array<Lives> = Array::pinned(4096, 0);
#[map]
pub(crate) static DEAD_PINS: Array<Deferred<PinKey>> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static DEAD_REPLIES: Array<Deferred<FlowKey>> = Array::with_max_entries(1, 0);

// The agent's own notes: kept beside the maps so that they live and die with them.
#[map]
static META: Array<Meta> = Array::pinned(1, 0);
#[map]
static IDENTITIES: HashMap<IdentityKey, Name> = HashMap::pinned(1, 0);

/// The packet under way.
#[map]
pub(crate) static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// The next identification of a translated datagram that comes in fragments.
#[map]
pub(crate) static FRAGMENT_IDS: Array<u64> = Array::with_max_entries(1, 0);

/// What `read_jiffies` has read.
#[map]
pub(crate) static JIFFIES: Array<u64> = Array::with_max_entries(1, 0);

/// Buckets of clients that are told that their packets are too big.
#[map]
pub(crate) static TOO_BIG: Array<u64> = Array::with_max_entries(BUCKETS, 0);

/// What routers inside tunnels report; see [`lb_common::mtu`].
#[map]
pub(crate) static PATH_MTUS: Array<u64> = Array::with_max_entries(4096, 0);

/// Ways of answers.
#[map]
pub(crate) static ANSWERS: Array<AnswerLines> = Array::with_max_entries(1, ALIGNED);

/// Where they come from, by listener.
#[map]
pub(crate) static ORIGINS: Array<Origin> = Array::with_max_entries(1, 0);

/// Rates of new flows; see [`flood`].
#[map]
pub(crate) static FLOOD_CELLS: Array<u64> = Array::with_max_entries(flood::CELLS, 0);

/// The tests' clock, nanoseconds; read only when `TEST_CLOCK` is set.
#[map]
pub(crate) static CLOCK: Array<u64> = Array::with_max_entries(1, 0);

// Read-only once loaded: the verifier takes them for constants.
#[unsafe(no_mangle)]
pub(crate) static SEED: Global<[u64; 2]> = Global::new([0; 2]);
#[unsafe(no_mangle)]
pub(crate) static KEYS: [Global<u64>; fingerprint::KEYS] =
    [const { Global::new(0) }; fingerprint::KEYS];
#[unsafe(no_mangle)]
pub(crate) static FEATURES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static VIP_LINES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static FLOW_LINES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static ANSWER_LINES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static ANSWER_MASK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static JIFFY_NS: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static TICK_SHIFT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static SLOTS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static TEST_CLOCK: Global<u8> = Global::new(0);
