//! Map names, capacities and the version of the layouts.

/// Moves with every change of a key, a value or the meaning of one.
pub const LAYOUT_VERSION: u32 = 11;

/// Array of [`crate::layout::VipRow`]; row 0 is nobody's.
pub const VIPS: &str = "VIPS";
/// Array of [`crate::layout::VipLine`]: where in [`VIPS`] a VIP is.
pub const VIP_INDEX: &str = "VIP_INDEX";
/// [`crate::address::Address`] to [`crate::layout::Own`]: VIPs and NAT sources, which no client
/// has.
pub const OWN: &str = "OWN";
/// Array of [`crate::layout::Pool`].
pub const POOLS: &str = "POOLS";
/// Array of words of four table slots each; see [`crate::select`].
pub const TABLES: &str = "TABLES";
/// Array of words, by pool: flows that round-robin has placed.
pub const TURNS: &str = "TURNS";
/// Array of [`crate::layout::Running`], by backend.
pub const RUNNING: &str = "RUNNING";
/// Array of [`crate::layout::Backend`].
pub const BACKENDS: &str = "BACKENDS";
/// [`crate::layout::PinKey`] to [`crate::layout::Pin`].
pub const PINS: &str = "PINS";
/// Array of [`crate::layout::FlowLine`].
pub const FLOWS: &str = "FLOWS";
/// [`crate::layout::FlowSpace`].
pub const FLOW_SPACE: &str = "FLOW_SPACE";
/// [`crate::layout::FlowKey`] to [`crate::layout::Reply`].
pub const REPLIES: &str = "REPLIES";
/// Array of [`crate::layout::AnswerLines`], of the program's own: see [`crate::answers`].
pub const ANSWERS: &str = "ANSWERS";
/// Array of [`crate::layout::Origin`], of the program's own, by listener.
pub const ORIGINS: &str = "ORIGINS";
/// [`crate::layout::FragmentKey`] to [`crate::layout::Datagram`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// [`crate::layout::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// [`crate::layout::Flood`].
pub const FLOOD: &str = "FLOOD";
/// [`crate::layout::Reclaim`].
pub const RECLAIM: &str = "RECLAIM";
/// [`crate::layout::Meta`].
pub const META: &str = "META";
/// Per-CPU array of [`crate::layout::ListenerCounters`].
pub const LISTENER_STATS: &str = "LISTENER_STATS";
/// Per-CPU array of [`crate::layout::BackendCounters`].
pub const BACKEND_STATS: &str = "BACKEND_STATS";
/// [`crate::layout::IdentityKey`] to [`crate::layout::Name`].
pub const IDENTITIES: &str = "IDENTITIES";
/// The one row of the sweep under way: [`crate::layout::SweepRules`].
pub const SWEEP: &str = "SWEEP";
/// Scopes to [`crate::layout::ScopeTimes`].
pub const SWEEP_SCOPES: &str = "SWEEP_SCOPES";
/// Array of [`crate::layout::Lives`], by backend.
pub const SWEEP_LIVES: &str = "SWEEP_LIVES";
/// Array of words, by backend: see [`crate::mtu`]. The program's own.
pub const PATH_MTUS: &str = "PATH_MTUS";
/// Array of one word: what [`READ_JIFFIES`] has read.
pub const JIFFIES: &str = "JIFFIES";
/// Array of one word: the time that the program takes for now when [`TEST_CLOCK`] is set.
pub const CLOCK: &str = "CLOCK";

/// Every map of an instance that outlives the agent.
pub const PERSISTENT: [&str; 23] = [
    VIPS,
    VIP_INDEX,
    OWN,
    POOLS,
    TABLES,
    TURNS,
    RUNNING,
    BACKENDS,
    PINS,
    FLOWS,
    FLOW_SPACE,
    REPLIES,
    FRAGMENTS,
    SETTINGS,
    FLOOD,
    RECLAIM,
    META,
    LISTENER_STATS,
    BACKEND_STATS,
    IDENTITIES,
    SWEEP,
    SWEEP_SCOPES,
    SWEEP_LIVES,
];

/// Read-only global, two `u64`: the secret seed of every choice.
pub const SEED: &str = "SEED";
/// Read-only global, [`crate::fingerprint::KEYS`] of `u64`: what follows from the seed there.
pub const KEYS: &str = "KEYS";
/// Read-only global, `u32`: see [`crate::features::Features`].
pub const FEATURES: &str = "FEATURES";
/// Read-only global, `u32`: lines of [`VIP_INDEX`].
pub const VIP_LINES: &str = "VIP_LINES";
/// Read-only global, `u32`: lines of a region of [`FLOWS`]; see [`crate::lines`].
pub const FLOW_LINES: &str = "FLOW_LINES";
/// Read-only global, `u32`: elements of a region of [`ANSWERS`].
pub const ANSWER_LINES: &str = "ANSWER_LINES";
/// Read-only global, `u32`: the mask that tells all its regions apart.
pub const ANSWER_MASK: &str = "ANSWER_MASK";
/// Read-only global, `u64`: how long a jiffy is, in nanoseconds.
pub const JIFFY_NS: &str = "JIFFY_NS";
/// Read-only global, `u32`: how many times a jiffy is doubled for a tick; see [`crate::ticks`].
pub const TICK_SHIFT: &str = "TICK_SHIFT";
/// Read-only global, `u32`: slots of a Maglev table.
pub const SLOTS: &str = "SLOTS";
/// Read-only global, `u8`: 1 makes the program read its time from [`CLOCK`], for tests.
pub const TEST_CLOCK: &str = "TEST_CLOCK";
/// The program.
pub const PROGRAM: &str = "holdfast";
/// Reads the kernel's jiffies into [`JIFFIES`].
pub const READ_JIFFIES: &str = "read_jiffies";
/// The programs that the agent walks maps with, each pinned under its name as an iterator of its
/// map.
pub const ITERATORS: [(&str, &str); 3] =
    [(SWEEP_PINS, PINS), (SWEEP_REPLIES, REPLIES), (MOVE_FLOWS, FLOWS)];
/// Sweeps [`PINS`].
pub const SWEEP_PINS: &str = "sweep_pins";
/// Sweeps [`REPLIES`].
pub const SWEEP_REPLIES: &str = "sweep_replies";

/// Moves flows within [`FLOWS`].
pub const MOVE_FLOWS: &str = "move_flows";

/// The program that takes packets out of tunnels.
pub const DECAP: &str = "decap";
/// Its map from [`crate::address::Address`] to [`crate::layout::DECAP_OUTER`] and
/// [`crate::layout::DECAP_VIP`].
pub const DECAP_ADDRESSES: &str = "DECAP_ADDRESSES";
/// Its array of [`crate::layout::DecapFrom`].
pub const DECAP_FROM: &str = "DECAP_FROM";
/// Its per-CPU array of [`crate::layout::DecapCounters`].
pub const DECAP_STATS: &str = "DECAP_STATS";
/// Its read-only global, `u32`: rows of [`DECAP_FROM`] that count; 0: from anywhere.
pub const DECAP_FROM_COUNT: &str = "DECAP_FROM_COUNT";
/// Its read-only global, `u16`: the UDP port of GUE.
pub const DECAP_PORT: &str = "DECAP_PORT";
