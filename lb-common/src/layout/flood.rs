//! What new flows are held to.

use super::pod;
use crate::{address::Address, rate::Rate};

pod! {
    /// The one row of the array `FLOOD`. Of zeroes it admits all.
    #[derive(Default)]
    pub struct Flood {
        /// New flows of all clients with a pin, and as many of all without.
        pub all: Rate,
        /// New flows of a network without pins, and of each client with one.
        pub network: Rate,
        /// The bits of an IPv4 address that make its network.
        pub mask_v4: Address,
        /// The same of an IPv6 address.
        pub mask_v6: Address,
    }
}
