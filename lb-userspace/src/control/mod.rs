//! From configuration and events to map contents: the agent's decisions.
//!
//! `model` (what should be) and `plan` (the wanted map contents) are pure; `reconcile` brings the
//! maps there in an order that is safe under traffic; `writer` is the one task that does so.

pub mod facts;
