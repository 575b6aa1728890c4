//! Fragments through the real program (P14): they keep together, or have a named end.

mod answers;
mod early;
mod forward;
mod random;
mod scene;
mod wrong;
