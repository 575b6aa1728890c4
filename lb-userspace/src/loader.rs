//! Loads the XDP program, attaches it, and keeps program, links and maps pinned in bpffs.
//!
//! Starting over an instance that is attached takes its maps over and swaps the program by link
//! update, which is atomic: each packet meets the old program or the new one.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError as AyaMapError},
    programs::{
        Iter, Program, ProgramError, TestRun as _, TestRunOptions, Xdp, XdpMode as AyaMode,
        links::{FdLink, LinkError, PinnedLink},
        xdp::XdpLink,
    },
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
    config::{Limits, XdpMode},
    limits::{self, difference, entries},
    maps::{
        MapError,
        kernel::{self, KernelMaps},
        older::{self, OLDEST},
        ticks::{Ticks, jiffy_ns, now_ns},
        walk,
    },
    upgrade,
};

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

/// How a program came to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It replaced the one that was there.
    Replaced,
    /// In the driver.
    Native,
    /// On socket buffers.
    Generic,
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

    /// Puts the program on an interface, by the link that is pinned there or by a new one.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, LoadError> {
        let before = self.before.as_ref().map(|before| link_pin(before, interface));
        let pin = link_pin(&self.directory, interface);
        let (ebpf, directory) = (&mut self.ebpf, self.directory.as_path());
        let mut linked = Linked { ebpf, directory, program: PROGRAM };
        if let Some(before) = before.filter(|before| before.exists()) {
            let kept = linked.replace(interface, &before);
            // The pin of a link that leads nowhere is dealt with below.
            if matches!(kept, Ok(()) | Err(LoadError::Attach { .. })) {
                let moved = fs::rename(&before, &pin);
                moved.map_err(|source| LoadError::Link {
                    interface: interface.to_owned(),
                    source,
                })?;
            }
        }
        linked.attach(interface, mode)
    }
}

/// Has the kernel verify an XDP program.
pub(crate) fn verify(ebpf: &mut Ebpf, program: &str) -> Result<(), LoadError> {
    named(ebpf, program).and_then(Xdp::load).map_err(LoadError::Verify)
}

/// An XDP program whose links are kept in a directory of bpffs.
pub(crate) struct Linked<'a> {
    pub(crate) ebpf: &'a mut Ebpf,
    pub(crate) directory: &'a Path,
    /// Its name.
    pub(crate) program: &'static str,
}

impl Linked<'_> {
    fn program(&mut self) -> Result<&mut Xdp, ProgramError> {
        named(self.ebpf, self.program)
    }

    /// As [`Loaded::attach`].
    pub(crate) fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, LoadError> {
        let pin = link_pin(self.directory, interface);
        if pin.exists() {
            match self.replace(interface, &pin) {
                Ok(()) => return Ok(Attached::Replaced),
                // The interface has gone and come back: the old link leads nowhere.
                Err(LoadError::Attach { .. }) => {
                    fs::remove_file(&pin).map_err(|source| LoadError::Link {
                        interface: interface.to_owned(),
                        source,
                    })?;
                }
                Err(other) => return Err(other),
            }
        }
        let native = || (AyaMode::Driver, Attached::Native);
        let generic = || (AyaMode::Skb, Attached::Generic);
        match mode {
            XdpMode::Native => self.attach_new(interface, native(), &pin),
            XdpMode::Generic => self.attach_new(interface, generic(), &pin),
            XdpMode::Auto => match self.attach_new(interface, native(), &pin) {
                Err(LoadError::Attach { .. }) => self.attach_new(interface, generic(), &pin),
                other => other,
            },
        }
    }

    fn replace(&mut self, interface: &str, pin: &Path) -> Result<(), LoadError> {
        let link = PinnedLink::from_pin(pin)
            .map_err(|error| link_error(interface, error))
            .map(FdLink::from)?;
        let link = XdpLink::try_from(link).map_err(|error| link_error(interface, error))?;
        let replaced = self.program().and_then(|program| {
            let id = program.attach_to_link(link)?;
            program.take_link(id)
        });
        // The link lives on by its pin.
        replaced.map(drop).map_err(|source| attach_error(interface, source))
    }

    fn attach_new(
        &mut self,
        interface: &str,
        (mode, attached): (AyaMode, Attached),
        pin: &Path,
    ) -> Result<Attached, LoadError> {
        let link = self
            .program()
            .and_then(|program| {
                let id = program.attach(interface, mode)?;
                program.take_link(id)
            })
            .map_err(|source| attach_error(interface, source))?;
        let link = FdLink::try_from(link).map_err(|error| link_error(interface, error))?;
        let pinned = link.pin(pin).map_err(|error| LoadError::Link {
            interface: interface.to_owned(),
            source: io::Error::other(error),
        })?;
        drop(pinned);
        Ok(attached)
    }
}

/// What is to be done where an interface has a program that is not this instance's.
pub const BUSY: &str = "another XDP program is attached: see `ip link show`, take it off with `ip \
                        link set DEV xdp off` or what put it there";

fn attach_error(interface: &str, source: ProgramError) -> LoadError {
    let busy = matches!(&source, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)));
    let hint = if busy { BUSY } else { "" };
    LoadError::Attach { interface: interface.to_owned(), source, hint }
}

fn link_error(interface: &str, error: LinkError) -> LoadError {
    LoadError::Link { interface: interface.to_owned(), source: io::Error::other(error) }
}

const LINK_PREFIX: &str = "link-";

/// The pin of an interface's link.
pub(crate) fn link_pin(directory: &Path, interface: &str) -> PathBuf {
    // A dot may not stand in the name of a bpffs pin.
    directory.join(format!("{LINK_PREFIX}{}", interface.replace('.', "+")))
}

/// Id of the program that the link pinned for an interface carries, also where an upgrade has moved
/// it already; `None` where there is none, or where it leads nowhere any more.
#[must_use]
pub fn linked_program(directory: &Path, interface: &str) -> Option<u32> {
    let pinned = |directory: &Path| PinnedLink::from_pin(link_pin(directory, interface)).ok();
    let link = pinned(directory).or_else(|| pinned(&upgrade::next(directory)))?;
    Some(FdLink::from(link).info().ok()?.program_id())
}

/// What a start has made in the instance's directory; dropping it removes that again, unless
/// [`Self::keep`] says that the start went well. Holds no more than names: to be made and dropped
/// by who holds the instance's lock.
#[derive(Debug)]
pub struct Made<'a> {
    directory: &'a Path,
    /// What was there before; `None`: not even the directory.
    before: Option<BTreeSet<OsString>>,
    keep: bool,
}

impl<'a> Made<'a> {
    /// From now on; `fresh`: the directory has just been made.
    pub fn from_now(directory: &'a Path, fresh: bool) -> io::Result<Self> {
        let before = if fresh { None } else { Some(names(directory)?) };
        Ok(Self { directory, before, keep: false })
    }

    /// All of it stays.
    pub fn keep(mut self) {
        self.keep = true;
    }

    fn remove(&self) -> io::Result<()> {
        let before = self.before.as_ref();
        for name in names(self.directory)? {
            if !before.is_some_and(|before| before.contains(&name)) {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        if before.is_none() { fs::remove_dir(self.directory) } else { Ok(()) }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.remove()
        {
            tracing::warn!("{}: something of it is left: {error}", self.directory.display());
        }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Interfaces that have a pinned link.
pub fn attached(directory: &Path) -> io::Result<Vec<String>> {
    let mut interfaces = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(LINK_PREFIX)) {
            interfaces.push(name.replace('+', "."));
        }
    }
    interfaces.sort();
    Ok(interfaces)
}

/// Takes the program off an interface.
pub fn detach(directory: &Path, interface: &str) -> io::Result<()> {
    fs::remove_file(link_pin(directory, interface))
}

/// Takes the program off every interface and removes the directory with whatever pins are in it: an
/// instance of another version has others. Fine when nothing is there.
pub fn remove(directory: &Path) -> io::Result<()> {
    let names = match names(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    if is_mount(directory)? {
        return Err(io::Error::other(WHOLE_BPFFS));
    }
    let is_link = |name: &OsString| name.as_encoded_bytes().starts_with(LINK_PREFIX.as_bytes());
    let (links, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_link);
    for name in links.into_iter().chain(others) {
        fs::remove_file(directory.join(name))?;
    }
    fs::remove_dir(directory)
}

/// Why a file system's root is no instance's directory.
pub const WHOLE_BPFFS: &str =
    "it is the BPF file system itself, which others use too: name a directory in it";

/// Is something mounted there?
pub fn is_mount(directory: &Path) -> io::Result<bool> {
    let device = |path: &Path| path.metadata().map(|found| found.dev());
    Ok(device(directory)? != device(&directory.join(".."))?)
}
