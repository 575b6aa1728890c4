//! Next hops and listener addresses against the real kernel: two network namespaces, joined by a
//! veth pair, on threads of their own. Needs root.

mod addresses;
mod harness;
mod hops;
