//! Iterators of BPF maps (Linux 5.9, `kernel/bpf/map_iter.c`), of which aya offers only those
//! without a map.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use bytemuck::{Pod, Zeroable};
use lb_common::sweep::Verdict;

/// Of `enum bpf_cmd` in `include/uapi/linux/bpf.h`.
const OBJ_PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;
/// Of `enum bpf_attach_type`.
const TRACE_ITER: u32 = 28;

/// The `link_create` member of `union bpf_attr`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LinkCreate {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// The members of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ObjPin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Has `program` meet the entries of `map` when somebody reads `path`, which must not be there
/// yet.
pub(crate) fn pin(program: BorrowedFd<'_>, map: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // `union bpf_iter_link_info`: the map.
    let info = [raw(map)];
    let create = LinkCreate {
        program_fd: raw(program),
        attach_type: TRACE_ITER,
        iter_info: info.as_ptr() as u64,
        iter_info_len: 4,
        ..LinkCreate::zeroed()
    };
    // SAFETY: the information and its length belong together, and outlive the call.
    let link = unsafe { bpf(LINK_CREATE, &create) }?;
    // SAFETY: the descriptor is new and nobody else's.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let pin = ObjPin { path: path.as_ptr() as u64, fd: link.as_raw_fd().cast_unsigned(), flags: 0 };
    // SAFETY: the path ends with a zero, and outlives the call.
    unsafe { bpf(OBJ_PIN, &pin) }.map(drop)
}

/// Entries a read, at most.
const BATCH: usize = 4096;

/// What a sweeper's program did with the next entries; none: that were all.
pub(super) fn read(iterator: &mut File) -> io::Result<Vec<Verdict>> {
    let mut words = [0_u32; BATCH];
    loop {
        match iterator.read(bytemuck::cast_slice_mut(&mut words)) {
            Ok(bytes) => {
                let words = words.iter().take(bytes / size_of::<u32>());
                return Ok(words.map(|word| Verdict::from_word(*word)).collect());
            }
            // So the kernel says that it has met a million entries with nothing to tell.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// # Safety
/// The pointers in `attributes` are valid for what the command does with them.
unsafe fn bpf<A: Pod>(command: libc::c_int, attributes: &A) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are a whole member, and the caller vouches for its pointers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
