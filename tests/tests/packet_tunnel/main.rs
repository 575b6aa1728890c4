//! `tunnel` through the real program: packets go into others, or their senders hear that they are
//! too big.

mod path_mtu;
mod path_mtu_wrong;
mod scene;
mod too_big;
mod wrapped;
