//! Loads the XDP program, attaches it ([`links`]), and keeps program, links and maps pinned in bpffs
//! ([`directory`]).
//!
//! Starting over an instance that is attached takes its maps over and swaps the program.

mod directory;
mod links;

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError as AyaMapError},
    programs::{Iter, Program, ProgramError, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    answers,
    features::Features,
    fingerprint,
    hash::Seed,
    layout::{FlowKey, Reply},
    maps::{
        ANSWER_LINES, ANSWER_MASK, FEATURES, FLOW_LINES, ITERATORS, JIFFIES, JIFFY_NS, KEYS,
        LAYOUT_VERSION, META, PROGRAM, READ_JIFFIES, REPLIES, SEED, SLOTS, TEST_CLOCK, TICK_SHIFT,
        VIP_LINES,
    },
    ticks,
};

use crate::{
    config::Limits,
    limits::{self, difference, entries},
    maps::{
        MapError,
        kernel::{self, KernelMaps},
        older::{self, OLDEST},
        ticks::{Ticks, jiffy_ns, now_ns},
        walk,
    },
};

pub use directory::{Made, WHOLE_BPFFS, is_mount, remove};
pub use links::{Attached, BUSY, attached, detach, linked_program};
pub(crate) use links::{Linked, link_pin};

/// Loading, attaching or detaching failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory in bpffs cannot be used.
    #[error("{path}: {source}; is it on a bpffs? mount one with `mount -t bpf bpf /sys/fs/bpf`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The instance that is there was made by a newer version, or by one that nobody remembers.
    #[error(
        "{path} holds an instance of layout version {there}; this is version {LAYOUT_VERSION}, \
         which takes over versions from {OLDEST} on: run a newer holdfast, or take it off with \
         `holdfast detach` first (its pins and flows are lost)"
    )]
    OtherLayout {
        /// The instance's directory.
        path: PathBuf,
        /// What the instance has.
        there: u32,
    },
    /// The instance that is there was made with other sizes.
    #[error(
        "limits.{limit} = {wanted}, but {path} holds an instance made with {there}: leave it at \
         that, or take the instance off with `holdfast detach` first (its pins and flows are lost)"
    )]
    OtherLimit {
        /// The instance's directory.
        path: PathBuf,
        /// What differs, a key of `[limits]`.
        limit: &'static str,
        /// What the instance has.
        there: u32,
        /// What the configuration wants.
        wanted: u32,
    },
    /// The kernel refused the program or a map.
    #[error("the kernel refused the XDP program: {0}")]
    Load(#[from] EbpfError),
    /// A map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The program could not be loaded or attached.
    #[error("{interface}: {source}{}{hint}", if .hint.is_empty() { "" } else { "; " })]
    Attach {
        /// Interface.
        interface: String,
        /// Why.
        source: ProgramError,
        /// What to do about it.
        hint: &'static str,
    },
    /// The program did not verify.
    #[error("the kernel's verifier refused the XDP program: {0}")]
    Verify(ProgramError),
    /// A bpffs pin of a link.
    #[error("{interface}: its link cannot be kept: {source}")]
    Link {
        /// Interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
}

/// What the program is loaded with.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The program's ELF object.
    pub object: &'a [u8],
    /// The instance's directory in bpffs; made when it is not there.
    pub directory: &'a Path,
    /// Map sizes.
    pub limits: &'a Limits,
    /// Secret seed of every choice.
    pub seed: Seed,
    /// Debug events through aya-log.
    pub packet_events: bool,
    /// What it is loaded for; flows of an instance that is there may take more.
    pub features: Features,
    /// The program takes the time from the map `CLOCK`: for tests.
    pub test_clock: bool,
}

/// A loaded program, not attached by its loading.
pub struct Loaded {
    /// aya's handle; dropping it leaves what is pinned.
    pub ebpf: Ebpf,
    directory: PathBuf,
    /// Where links are that have the program of an instance to be replaced.
    before: Option<PathBuf>,
    seed: Seed,
    ticks: Ticks,
    features: Features,
}

/// Loads the program over the maps pinned in the directory; makes those that are not there.
pub fn load(options: &Options<'_>) -> Result<Loaded, LoadError> {
    let directory = options.directory;
    let wrong = |source| LoadError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(wrong)?;
    check_instance(directory, options.limits)?;

    let limits = options.limits;
    let slots = limits.maglev_slots;
    let features =
        if translates(directory) { options.features.with(Features::NAT) } else { options.features };
    let keys = fingerprint::keys(options.seed);
    let vip_lines = limits::vip_lines(limits);
    let flow_lines = limits::flow_lines(limits);
    let flow_lines = flow_lines / limits::flow_regions(flow_lines);
    let answer_lines = limits::answer_lines(limits, features);
    let answer_regions = limits::answer_regions(answer_lines);
    let (answer_lines, answer_mask) = (answer_lines / answer_regions, answer_regions - 1);
    let tick_shift = ticks::shift(jiffy_ns());
    let jiffy_ns = if options.test_clock { answers::TEST_JIFFY_NS } else { jiffy_ns() };
    let test_clock = u8::from(options.test_clock);
    let log_level = if options.packet_events { u8::MAX } else { 0 };
    // The loader reads the kernel's types by itself; they take some 20 MiB, so it goes before they
    // are read once more.
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(directory)
        .override_global(SEED, &options.seed.0, true)
        .override_global(KEYS, &keys, true)
        .override_global(FEATURES, &features.0, true)
        .override_global(VIP_LINES, &vip_lines, true)
        .override_global(FLOW_LINES, &flow_lines, true)
        .override_global(ANSWER_LINES, &answer_lines, true)
        .override_global(ANSWER_MASK, &answer_mask, true)
        .override_global(JIFFY_NS, &jiffy_ns, true)
        .override_global(TICK_SHIFT, &tick_shift, true)
        .override_global(SLOTS, &slots, true)
        .override_global(TEST_CLOCK, &test_clock, true)
        .override_global(aya_log::LEVEL, &log_level, false);
    for (map, entries) in entries(limits, features) {
        loader.map_max_entries(map, entries);
    }
    let mut ebpf = loader.load(options.object)?;
    drop(loader);
    verify(&mut ebpf, PROGRAM)?;
    let types = Btf::from_sys_fs().map_err(EbpfError::from)?;
    for (name, map) in ITERATORS {
        let program: &mut Iter = named(&mut ebpf, name).map_err(LoadError::Verify)?;
        program.load("bpf_map_elem", &types).map_err(LoadError::Verify)?;
        pin_iterator(program, &directory.join(map), &directory.join(name))
            .map_err(|source| MapError { operation: "walk", map, source })?;
    }
    let ticks = ticks_now(&mut ebpf)?;
    let (directory, seed) = (directory.to_owned(), options.seed);
    Ok(Loaded { ebpf, directory, before: None, seed, ticks, features })
}

/// Refuses maps of another layout or of other sizes: they would be taken over unseen. Fine where
/// there are none.
pub fn check_instance(directory: &Path, limits: &Limits) -> Result<(), LoadError> {
    if !directory.join(META).exists() {
        return Ok(());
    }
    let there = kernel::meta(directory)?;
    let path = || directory.to_owned();
    if there.layout_version == 0 {
        return Ok(());
    }
    if there.layout_version != LAYOUT_VERSION && !older::is_known(there.layout_version) {
        return Err(LoadError::OtherLayout { path: path(), there: there.layout_version });
    }
    match difference(limits, &there) {
        None => Ok(()),
        Some((limit, wanted, there)) => {
            Err(LoadError::OtherLimit { path: path(), limit, there, wanted })
        }
    }
}

/// The layout version of the instance in that directory, if it is an earlier one that would be
/// taken over.
#[must_use]
pub fn older_version(directory: &Path) -> Option<u32> {
    Some(older::Older::find(directory).ok()??.version())
}

fn named<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<P, ProgramError>
where
    P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(ProgramError::InvalidName { name: name.to_owned() })
        .and_then(TryInto::try_into)
}

/// Has the instance flows that were translated, whose answers may still come?
fn translates(directory: &Path) -> bool {
    let Ok(data) = MapData::from_pin(directory.join(REPLIES)) else { return false };
    // Of keys and values that this program does not know: it will not take them over.
    let map: Result<HashMap<_, FlowKey, Reply>, _> = HashMap::try_from(Map::LruHashMap(data));
    map.is_ok_and(|map| map.keys().next().is_some())
}

/// Asks the kernel for its jiffies.
fn ticks_now(ebpf: &mut Ebpf) -> Result<Ticks, LoadError> {
    // As much as the kernel wants of a packet.
    const PACKET: [u8; 14] = [0; 14];
    let reader: &mut Xdp = named(ebpf, READ_JIFFIES).map_err(LoadError::Verify)?;
    reader.load().map_err(LoadError::Verify)?;
    let options = TestRunOptions { data_in: Some(&PACKET), ..TestRunOptions::new() };
    let then_ns = now_ns();
    let _result = reader.test_run(options).map_err(LoadError::Verify)?;
    let failed = |error: AyaMapError| MapError {
        operation: "read",
        map: JIFFIES,
        source: io::Error::other(error),
    };
    let missing = || failed(AyaMapError::InvalidName { name: JIFFIES.to_owned() });
    let told: Array<_, u64> =
        Array::try_from(ebpf.map(JIFFIES).ok_or_else(missing)?).map_err(failed)?;
    Ok(Ticks::new(told.get(&0, 0).map_err(failed)?, then_ns))
}

/// Puts the program in the place of the one that walked the map before, if there was one.
fn pin_iterator(program: &Iter, map: &Path, pin: &Path) -> io::Result<()> {
    let program = program.fd().map_err(io::Error::other)?.as_fd();
    let map = MapData::from_pin(map).map_err(io::Error::other)?;
    remove_pin(pin)?;
    walk::pin(program, map.fd().as_fd(), pin)
}

fn remove_pin(pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Loaded {
    /// What the program was loaded for.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The maps.
    pub fn maps(&self) -> Result<KernelMaps, MapError> {
        KernelMaps::open(&self.directory, self.seed, self.ticks)
    }

    /// Where its maps and links are pinned.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Links that are pinned in that directory get this program and move to this one's.
    pub fn take_links_from(&mut self, before: &Path) {
        self.before = Some(before.to_owned());
    }

    /// Its pins are in another directory now.
    pub fn moved_to(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
        self.before = None;
    }
}

/// Has the kernel verify an XDP program.
pub(crate) fn verify(ebpf: &mut Ebpf, program: &str) -> Result<(), LoadError> {
    named(ebpf, program).and_then(Xdp::load).map_err(LoadError::Verify)
}
