//! Maps that are read and written in batches.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::maps::{MapData, MapError as AyaError};

use super::{Batch, Cursor, MapError, batch};

/// Entries a batch call.
const BATCH: u32 = 4096;

/// A map that is read and written in batches.
pub(super) struct Large<K, V> {
    data: MapData,
    name: &'static str,
    capacity: u32,
    entry: PhantomData<(K, V)>,
}

impl<K: bytemuck::Pod, V: bytemuck::Pod> Large<K, V> {
    /// Opens the map that is pinned under its name in `directory`.
    pub(super) fn open(directory: &Path, name: &'static str) -> Result<Self, MapError> {
        let opened = MapData::from_pin(directory.join(name))
            .and_then(|data| data.info().map(|info| (info, data)));
        let (info, data) = opened.map_err(|error| failed("open", name, error))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        if sizes != (size_of::<K>(), size_of::<V>()) {
            let source = io::Error::other(format!("keys and values of {sizes:?} bytes"));
            return Err(MapError { operation: "open", map: name, source });
        }
        Ok(Self { data, name, capacity: info.max_entries(), entry: PhantomData })
    }

    /// How many entries it has at most; an array always has them.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    /// Up to `count` entries from `from` on, and where to go on.
    pub(super) fn read(
        &self,
        from: Option<batch::Position>,
        count: u32,
    ) -> Result<batch::Found<K, V>, MapError> {
        batch::lookup(self.fd(), from, count).map_err(failed_io("read", self.name))
    }

    /// Every value, by rising index where it is an array.
    pub(super) fn all(&self) -> Result<Vec<V>, MapError> {
        Ok(self.entries()?.into_iter().map(|(_, value)| value).collect())
    }

    /// The next entries of a scan.
    pub(super) fn scan(&self, cursor: &mut Cursor) -> Result<Batch<K, V>, MapError> {
        if cursor.done {
            return Ok(Vec::new());
        }
        let from = batch::Position::try_from(cursor.position.as_slice()).ok();
        let (found, next) = self.read(from, BATCH)?;
        cursor.done = next.is_none();
        cursor.position = next.map_or_else(Vec::new, Vec::from);
        Ok(found)
    }

    /// Everything in it.
    pub(super) fn entries(&self) -> Result<Batch<K, V>, MapError> {
        let mut cursor = Cursor::default();
        let mut all = Vec::new();
        while !cursor.done {
            all.extend(self.scan(&mut cursor)?);
        }
        Ok(all)
    }

    /// Writes entries; on an error some may have been written.
    pub(super) fn write_entries(&self, entries: &[(K, V)]) -> Result<(), MapError> {
        for some in entries.chunks(BATCH as usize) {
            let (keys, values): (Vec<K>, Vec<V>) = some.iter().copied().unzip();
            self.write(&keys, &values)?;
        }
        Ok(())
    }

    /// Writes entries; on an error some may have been written.
    pub(super) fn write(&self, keys: &[K], values: &[V]) -> Result<(), MapError> {
        batch::update(self.fd(), keys, values).map_err(failed_io("write", self.name))
    }

    /// Inserts entries, passing over those whose key is there.
    pub(super) fn add_entries(&self, entries: &[(K, V)]) -> Result<(), MapError> {
        for (key, value) in entries {
            batch::insert(self.fd(), key, value).map_err(failed_io("write", self.name))?;
        }
        Ok(())
    }

    /// Deletes entries, passing over those that are not there; how many were.
    pub(super) fn remove(&self, keys: &[K]) -> Result<u64, MapError> {
        batch::delete(self.fd(), keys).map_err(failed_io("delete from", self.name))
    }
}

/// What an error of aya says, for a caller above it.
pub(super) fn failed(operation: &'static str, map: &'static str, error: AyaError) -> MapError {
    let source = if let AyaError::SyscallError(syscall) = error {
        syscall.io_error
    } else {
        io::Error::other(error)
    };
    MapError { operation, map, source }
}

/// The same of a system call.
pub(super) fn failed_io(
    operation: &'static str,
    map: &'static str,
) -> impl Fn(io::Error) -> MapError {
    move |source| MapError { operation, map, source }
}
