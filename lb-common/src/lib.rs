//! What the packet path and the agent share: map layouts, and the pure half of each packet stage.
//!
//! Nothing here does I/O, looks into a map or reads a clock: headers, looked-up values and the
//! time come in as arguments, decisions go out.
#![cfg_attr(not(test), no_std)]
#![deny(unused_results, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]
#![expect(
    clippy::inline_always,
    reason = "in BPF a call costs more than most of these functions, and the verifier forgets \
              bounds over it"
)]
#![expect(clippy::cast_lossless, reason = "`From` is not const yet")]
#![expect(clippy::cast_possible_truncation, reason = "parts of words are taken on purpose")]
#![expect(clippy::many_single_char_names, reason = "words of an address, lanes of a hash")]

pub mod address;
pub mod answers;
pub mod checksum;
pub mod decap;
pub mod event;
pub mod features;
pub mod fingerprint;
pub mod flood;
pub mod flow;
pub mod fragment;
pub mod hash;
pub mod header;
pub mod icmp;
pub mod layout;
pub mod lines;
pub mod maps;
pub mod mtu;
pub mod nat;
pub mod pin;
pub mod rate;
pub mod running;
pub mod select;
pub mod sweep;
pub mod ticks;
pub mod tunnel;
