//! Flows and backends' states, rule by rule of the persistence contract: P6 and P9.
//!
//! As in `packet_pins`: clients are pinned to A, then the pool's table is all B.

mod reset;
mod scene;
mod states;
