//! The XDP program, as built by `cargo xtask build-ebpf`, inside the binary.

/// Its ELF object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("HOLDFAST_BPF_OBJECT"));
