//! Holdfast's agent: configuration in, BPF maps out.

pub mod config;
pub mod control;
pub mod loader;
pub mod maps;
