//! The XDP program's object, as `cargo xtask build-ebpf` made it.

/// The ELF object, aligned as its reader wants it.
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("HOLDFAST_BPF_OBJECT"));
