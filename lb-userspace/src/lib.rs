//! Holdfast's agent: configuration in, BPF maps out.

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod limits;
pub mod loader;
pub mod maps;
pub mod object;
