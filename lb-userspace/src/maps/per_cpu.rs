//! Arrays with a value for each CPU. aya reads the number of CPUs from a file for every row, which
//! is most of the time where there are thousands of rows.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::MapData;
use bytemuck::{Pod, Zeroable as _};

use super::{
    MapError,
    batch::{Command, Element, bpf},
    large::{failed, failed_io},
};

/// A per-CPU array.
pub(super) struct PerCpu<V> {
    data: MapData,
    name: &'static str,
    cpus: usize,
    value: PhantomData<V>,
}

impl<V: Pod> PerCpu<V> {
    /// The kernel rounds sizes up to this.
    const ALIGNED: () = assert!(size_of::<V>().is_multiple_of(8));

    /// Opens the map that is pinned under its name in `directory`.
    pub(super) fn open(directory: &Path, name: &'static str) -> Result<Self, MapError> {
        let () = Self::ALIGNED;
        let opened = MapData::from_pin(directory.join(name))
            .and_then(|data| data.info().map(|info| (info, data)));
        let (info, data) = opened.map_err(|error| failed("open", name, error))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        if sizes != (4, size_of::<V>()) {
            let source = io::Error::other(format!("keys and values of {sizes:?} bytes"));
            return Err(MapError { operation: "open", map: name, source });
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| MapError {
            operation: "count the CPUs for",
            map: name,
            source,
        })?;
        Ok(Self { data, name, cpus, value: PhantomData })
    }

    /// A row's values, one a CPU.
    pub(super) fn row(&self, row: u32) -> Result<Vec<V>, MapError> {
        let mut values = vec![V::zeroed(); self.cpus];
        self.call(Command::LookupElement, row, values.as_mut_ptr() as u64)
            .map_err(failed_io("read", self.name))?;
        Ok(values)
    }

    /// Sets a row to zero on every CPU.
    pub(super) fn clear(&self, row: u32) -> Result<(), MapError> {
        let zeros = vec![V::zeroed(); self.cpus];
        self.call(Command::UpdateElement, row, zeros.as_ptr() as u64)
            .map_err(failed_io("write", self.name))
    }

    /// `values`: where a value for each CPU is, or goes.
    fn call(&self, command: Command, row: u32, values: u64) -> io::Result<()> {
        let mut attributes = Element {
            map_fd: self.data.fd().as_fd().as_raw_fd().cast_unsigned(),
            key: (&raw const row) as u64,
            value: values,
            ..Element::zeroed()
        };
        // SAFETY: the key is four bytes, and there is room for a value of each possible CPU, whose
        // size is that of the map's, a multiple of eight; both outlive the call.
        unsafe { bpf(command, &mut attributes) }
    }
}
