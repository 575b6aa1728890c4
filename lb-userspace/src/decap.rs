//! On backends: the program that takes packets out of tunnels, put on an interface, kept there by
//! bpffs, and taken off again. Nothing runs meanwhile.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError as AyaError, PerCpuArray},
};
use lb_common::{
    address::Address,
    decap::DecapEvent,
    layout::{DECAP_OUTER, DECAP_SOURCES, DECAP_VIP, DecapCounters, DecapFrom},
    maps::{DECAP, DECAP_ADDRESSES, DECAP_FROM, DECAP_FROM_COUNT, DECAP_PORT, DECAP_STATS},
};

use crate::{
    api::Prefix,
    config::XdpMode,
    loader::{self, Attached, Linked, LoadError},
    maps::MapError,
};

/// What is to be taken out of tunnels.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where outer packets come to; at least one.
    pub addresses: Vec<IpAddr>,
    /// Whose packets are taken out; at least one.
    pub vips: Vec<IpAddr>,
    /// Where outer packets may come from; none: anywhere. At most [`DECAP_SOURCES`].
    pub from: Vec<Prefix>,
    /// The UDP port of GUE.
    pub port: u16,
}

/// Something of it failed.
#[derive(Debug, thiserror::Error)]
pub enum DecapError {
    /// More prefixes than there is room for.
    #[error("{0} prefixes to take packets from: up to {DECAP_SOURCES} are allowed")]
    TooManySources(usize),
    /// More addresses than there is room for, or a map that does not take them.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The program, or its link.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is none.
    #[error("{0}: nothing is taken out of tunnels there")]
    NotThere(String),
    /// A file in bpffs.
    #[error("{path}: {source}")]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The loaded program, not attached by its loading.
pub struct Loaded {
    /// aya's handle.
    pub ebpf: Ebpf,
    directory: PathBuf,
}

/// Where an interface's program is kept, in `bpffs`.
#[must_use]
pub fn directory(bpffs: &Path, interface: &str) -> PathBuf {
    bpffs.join(interface.replace('.', "+"))
}

/// Loads the program with those rules; its counters go on where there are some in the directory.
pub fn load(object: &[u8], directory: &Path, rules: &Rules) -> Result<Loaded, DecapError> {
    let wrong = |source| LoadError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(wrong)?;
    let count = u32::try_from(rules.from.len()).unwrap_or(u32::MAX);
    if rules.from.len() > DECAP_SOURCES {
        return Err(DecapError::TooManySources(rules.from.len()));
    }
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(directory)
        .override_global(DECAP_FROM_COUNT, &count, true)
        .override_global(DECAP_PORT, &rules.port, true);
    let mut ebpf = loader.load(object).map_err(LoadError::from)?;
    loader::verify(&mut ebpf, DECAP)?;
    fill(&mut ebpf, rules)?;
    Ok(Loaded { ebpf, directory: directory.to_owned() })
}

/// Puts the program on an interface, in the place of the one that is there if need be: no packet
/// meets none.
pub fn put(
    object: &[u8],
    directory: &Path,
    interface: &str,
    mode: XdpMode,
    rules: &Rules,
) -> Result<Attached, DecapError> {
    let fresh = !directory.exists();
    let attached = load(object, directory, rules).and_then(|mut loaded| {
        let (ebpf, directory) = (&mut loaded.ebpf, loaded.directory.as_path());
        Ok(Linked { ebpf, directory, program: DECAP }.attach(interface, mode)?)
    });
    if attached.is_err() && fresh {
        // What it has made, if anything; the error is worth more than one about that.
        take_off(directory, interface).ok();
    }
    attached
}

/// Takes the program off an interface, and removes its counters.
pub fn take_off(directory: &Path, interface: &str) -> Result<(), DecapError> {
    if !directory.exists() {
        return Err(DecapError::NotThere(interface.to_owned()));
    }
    let failed = |path: &Path, source| DecapError::Files { path: path.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        fs::remove_file(&path).map_err(|error| failed(&path, error))?;
    }
    fs::remove_dir(directory).map_err(|error| failed(directory, error))
}

/// What was counted on an interface, added up over the CPUs.
pub fn counted(directory: &Path, interface: &str) -> Result<Vec<(DecapEvent, u64)>, DecapError> {
    if loader::linked_program(directory, interface).is_none() {
        return Err(DecapError::NotThere(interface.to_owned()));
    }
    Ok(counters(directory)?)
}

/// The counters in that directory, whether the program is on an interface or not.
pub fn counters(directory: &Path) -> Result<Vec<(DecapEvent, u64)>, MapError> {
    let failed = |error| failed("read", DECAP_STATS, error);
    let rows = MapData::from_pin(directory.join(DECAP_STATS))
        .and_then(|data| PerCpuArray::<_, DecapCounters>::try_from(Map::PerCpuArray(data)))
        .and_then(|map| map.get(&0, 0))
        .map_err(failed)?;
    let count = |event: DecapEvent| rows.iter().map(|row| row.events[event as usize]).sum();
    Ok(DecapEvent::ALL.into_iter().map(|event| (event, count(event))).collect())
}

fn fill(ebpf: &mut Ebpf, rules: &Rules) -> Result<(), MapError> {
    let mut addresses = std::collections::BTreeMap::<Address, u8>::new();
    for address in &rules.addresses {
        *addresses.entry((*address).into()).or_default() |= DECAP_OUTER;
    }
    for vip in &rules.vips {
        *addresses.entry((*vip).into()).or_default() |= DECAP_VIP;
    }
    let map = ebpf.map_mut(DECAP_ADDRESSES).ok_or_else(|| missing(DECAP_ADDRESSES))?;
    let mut map: HashMap<_, Address, u8> =
        map.try_into().map_err(|error| failed("open", DECAP_ADDRESSES, error))?;
    for (address, flags) in addresses {
        map.insert(address, flags, 0).map_err(|error| failed("write", DECAP_ADDRESSES, error))?;
    }
    let map = ebpf.map_mut(DECAP_FROM).ok_or_else(|| missing(DECAP_FROM))?;
    let mut map: Array<_, DecapFrom> =
        map.try_into().map_err(|error| failed("open", DECAP_FROM, error))?;
    for (row, prefix) in (0..).zip(&rules.from) {
        let bits = prefix.bits() + if prefix.address().is_ipv4() { 96 } else { 0 };
        let from = DecapFrom { address: prefix.address().into(), mask: Address::mask(bits) };
        map.set(row, from, 0).map_err(|error| failed("write", DECAP_FROM, error))?;
    }
    Ok(())
}

fn missing(map: &'static str) -> MapError {
    MapError { operation: "find", map, source: io::ErrorKind::NotFound.into() }
}

fn failed(operation: &'static str, map: &'static str, error: AyaError) -> MapError {
    MapError { operation, map, source: io::Error::other(error) }
}
