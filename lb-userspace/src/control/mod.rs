//! From configuration and events to map contents: the agent's decisions.
//!
//! `model` (what should be) and `plan` (the wanted map contents) are pure; `reconcile` brings the
//! maps there in an order that is safe under traffic; `controller` holds the state between, and
//! `writer` is the one task that calls it.

pub mod controller;
mod error;
pub mod facts;
pub mod ids;
pub mod lives;
mod own;
pub mod plan;
pub mod ramp;
pub mod reconcile;
mod site;
pub mod snapshot;
pub mod status;
pub mod tables;
mod tunnel;
