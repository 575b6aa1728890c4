//! The XDP programs, as built by `cargo xtask build-ebpf`, inside the binary.

/// The balancer's, an ELF object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("HOLDFAST_BPF_OBJECT"));

/// The one of backends.
pub static DECAP_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("HOLDFAST_DECAP_OBJECT"));
