//! Maps as the kernel makes them: of any type and size, pinned.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// From `enum bpf_cmd` in `include/uapi/linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_OBJ_PIN: libc::c_long = 6;
/// From `enum bpf_map_type` there: a hash map.
pub const HASH: u32 = 1;
/// An array.
pub const ARRAY: u32 = 2;

/// Makes a map of that type and pins it there.
///
/// # Panics
///
/// When the kernel refuses.
pub fn pin(path: &Path, kind: u32, key_bytes: usize, value_bytes: usize, entries: u32) {
    let size = |bytes: usize| u32::try_from(bytes).expect("a few bytes");
    // The first members of `union bpf_attr` for the command: type, sizes, entries.
    let create = [kind, size(key_bytes), size(value_bytes), entries];
    // SAFETY: the kernel reads the array, whose size it is told; it returns a descriptor.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, create.as_ptr(), size_of_val(&create))
    };
    let fd = i32::try_from(fd).expect("a descriptor");
    assert!(fd >= 0, "a map: {}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // For this command: the path's address, the descriptor, flags.
    let descriptor = u64::from(map.as_raw_fd().unsigned_abs());
    let pin = [path.as_ptr() as u64, descriptor];
    // SAFETY: the kernel reads the array and the path it points to; both outlive the call.
    let pinned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, pin.as_ptr(), size_of_val(&pin)) };
    assert_eq!(pinned, 0, "{}", io::Error::last_os_error());
}
