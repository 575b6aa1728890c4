//! Harness of Holdfast's tests and of its demo.
//!
//! It panics, rather than returning errors, when a step of a test cannot be done: the message
//! names the step.

pub mod agent;
pub mod bench;
pub mod cleanup;
pub mod clients;
pub mod control;
pub mod cpus;
pub mod decap;
pub mod generator;
pub mod http;
pub mod load;
pub mod mount;
pub mod netns;
pub mod numbered;
pub mod outcome;
pub mod packet;
pub mod ping;
pub mod ports;
pub mod program;
pub mod raw_map;
pub mod results;
pub mod routers;
pub mod servers;
pub mod site;
pub mod topology;
pub mod wait;
