//! What the packet path and the agent share: map layouts, and the pure half of each packet stage.
//!
//! Nothing here does I/O, looks into a map or reads a clock: headers, looked-up values and the
//! time come in as arguments, decisions go out.
#![cfg_attr(not(test), no_std)]
#![deny(unused_results, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

pub mod address;
pub mod checksum;
pub mod event;
pub mod flow;
pub mod hash;
pub mod header;
pub mod layout;
pub mod maps;
pub mod nat;
pub mod pin;
pub mod select;
