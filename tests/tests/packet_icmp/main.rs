//! ICMP through the real program (P14): errors find their flow, echo requests are answered.

mod echo;
mod random;
mod scene;
mod to_backend;
mod to_client;
mod wrong;
