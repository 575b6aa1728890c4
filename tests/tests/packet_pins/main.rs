//! Pins, rule by rule of the persistence contract: P1, P3, P4, P5, P7, P8, P10, P11, P13.
//!
//! P2 is the configuration's and tested there; P12 and P14 are not in this version; P6 and P9 are
//! in `packet_flows` and `packet_service`.
//!
//! The pool's table names one backend at a time, so that "the hash's choice" can be told from
//! "the pin's": clients are pinned to A, then the table is all B.

mod life;
mod placing;
mod scene;
mod scope;
