//! Batch operations on maps (Linux 5.6, `kernel/bpf/syscall.c`), which aya does not offer.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use bytemuck::{Pod, Zeroable};

/// Commands of `bpf(2)`, from `enum bpf_cmd` in `include/uapi/linux/bpf.h`.
#[derive(Clone, Copy)]
pub(super) enum Command {
    LookupElement = 1,
    UpdateElement = 2,
    Lookup = 24,
    Update = 26,
    Delete = 27,
}

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A position in a hash map is a bucket, in an array an index: four bytes each.
pub(super) type Position = [u8; 4];

/// What a batch look-up found, and where to go on; `None`: the map is at its end.
pub(super) type Found<K, V> = (Vec<(K, V)>, Option<Position>);

/// Up to `count` entries from `from` on; of a hash map a bucket more when one is larger.
pub(super) fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    from: Option<Position>,
    count: u32,
) -> io::Result<Found<K, V>> {
    let mut count = count;
    loop {
        match lookup_once(map, from, count) {
            // A bucket holds more entries than were asked for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && count < 1 << 20 => {
                count *= 2;
            }
            other => return other,
        }
    }
}

fn lookup_once<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    from: Option<Position>,
    count: u32,
) -> io::Result<Found<K, V>> {
    let mut keys = vec![K::zeroed(); count as usize];
    let mut values = vec![V::zeroed(); count as usize];
    let mut out: Position = [0; 4];
    let mut attributes = Attributes {
        in_batch: from.as_ref().map_or(0, |position| position.as_ptr() as u64),
        out_batch: out.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: raw(map),
        ..Attributes::zeroed()
    };
    // SAFETY: keys and values have room for `count` entries of the map's sizes, which the typed
    // maps have checked; both positions are four bytes; all outlive the call.
    let next = match unsafe { bpf(Command::Lookup, &mut attributes) } {
        Ok(()) => Some(out),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    keys.truncate(attributes.count as usize);
    Ok((keys.into_iter().zip(values).collect(), next))
}

/// Writes entries; on an error some may have been written.
pub(super) fn update<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "a value for each key");
    let mut attributes = Attributes {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: count(keys.len())?,
        map_fd: raw(map),
        ..Attributes::zeroed()
    };
    // SAFETY: keys and values hold `count` entries each; the kernel only reads them.
    unsafe { bpf(Command::Update, &mut attributes) }
}

/// The members for one element of `union bpf_attr`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Element {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// Inserts an entry unless its key is there.
pub(super) fn insert<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    const NOEXIST: u64 = 1;
    // A full LRU map makes room before it finds the key there (`kernel/bpf/hashtab.c`).
    if exists::<K, V>(map, key)? {
        return Ok(());
    }
    let mut attributes = Element {
        map_fd: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_ref(value) as u64,
        flags: NOEXIST,
    };
    // SAFETY: key and value are of the map's sizes, which the typed maps have checked; the kernel
    // only reads them.
    match unsafe { bpf(Command::UpdateElement, &mut attributes) } {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn exists<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut value = V::zeroed();
    let mut attributes = Element {
        map_fd: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    // SAFETY: key and value are of the map's sizes, which the typed maps have checked; the kernel
    // reads the one and writes the other.
    match unsafe { bpf(Command::LookupElement, &mut attributes) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Deletes entries, passing over those that are not there; how many were.
pub(super) fn delete<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<u64> {
    let mut rest = keys;
    let mut deleted = 0;
    while !rest.is_empty() {
        let mut attributes = Attributes {
            keys: rest.as_ptr() as u64,
            count: count(rest.len())?,
            map_fd: raw(map),
            ..Attributes::zeroed()
        };
        // SAFETY: there are `count` keys; the kernel only reads them.
        let result = unsafe { bpf(Command::Delete, &mut attributes) };
        deleted += u64::from(attributes.count);
        let done = attributes.count as usize;
        match result {
            Ok(()) => break,
            // It stops at a key that is not there, having counted those before it.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                rest = rest.get(done + 1..).unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

/// # Safety
/// `attributes` is the command's member of `union bpf_attr`, and the pointers in it are valid for
/// what the command does with them.
pub(super) unsafe fn bpf<A: Pod>(command: Command, attributes: &mut A) -> io::Result<()> {
    // SAFETY: the caller vouches for the attributes, which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attributes),
            size_of::<A>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn count(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(io::Error::other)
}

fn raw(map: BorrowedFd<'_>) -> u32 {
    map.as_raw_fd().cast_unsigned()
}
