//! Holdfast's agent: configuration in, BPF maps out.

pub mod config;
pub mod control;
pub mod maglev;
pub mod maps;
pub mod model;
pub mod sessions;
