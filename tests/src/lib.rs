//! Harness of Holdfast's tests.

pub mod bench;
pub mod control;
pub mod mount;
pub mod outcome;
pub mod packet;
