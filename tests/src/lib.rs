//! Harness of Holdfast's tests.

pub mod bench;
pub mod mount;
pub mod outcome;
pub mod packet;
pub mod site;
