//! Holdfast's agent: configuration in, BPF maps out.

pub mod config;
pub mod control;
pub mod health;
pub mod maps;
pub mod net;
pub mod preflight;
