//! What the kernel hands a program that walks a map's entries.

use core::ffi::c_void;

use aya_ebpf::bindings::seq_file;

/// `struct bpf_iter_meta` in `kernel/bpf/bpf_iter.c`, as far as it is used.
#[repr(C)]
pub(crate) struct Meta {
    pub(crate) seq: *mut seq_file,
}

/// `struct bpf_iter__bpf_map_elem` in `kernel/bpf/map_iter.c`. Key and value are null when all
/// entries have been met.
#[repr(C)]
pub(crate) struct Context<K, V> {
    pub(crate) meta: *const Meta,
    pub(crate) map: *const c_void,
    pub(crate) key: *const K,
    pub(crate) value: *const V,
}
