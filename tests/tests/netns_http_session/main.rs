//! Sessions that cookies hold: nginx behind the sidecar, curl and bare connections before it.

mod insert;
mod log;
mod nodes;
mod rewrite;
mod rules;
mod seals;
mod time;
