//! Holdfast's agent: configuration in, BPF maps out.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod decap;
pub mod health;
pub mod l7;
pub mod limits;
pub mod loader;
pub mod maglev;
pub mod maps;
pub mod memory;
pub mod model;
pub mod net;
pub mod object;
pub mod preflight;
pub mod sessions;
pub mod turns;
pub mod upgrade;
