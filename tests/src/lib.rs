//! Harness of Holdfast's tests.

pub mod control;
