//! What packets the driver writes: shared by the programs and by who runs them.

/// Words of the longest packet.
pub(crate) const WORDS: usize = 10;
/// Bytes of the shortest packet, a whole number of words.
pub(crate) const SHORT: u32 = 64;
/// Bytes of the longest packet.
pub(crate) const LONG: u32 = 80;

/// The one row of the array `DRAW`.
///
/// A flow has a number, which stands in the source address and port: flow `n` is that of client
/// `n >> client_shift`, whose number is added to the last four bytes of the address, and the rest
/// of `n` is added to the port.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// The packet of flow 0, every checksum right.
    pub(crate) packet: [u64; WORDS],
    /// Its length: [`SHORT`] or [`LONG`].
    pub(crate) bytes: u32,
    /// How many flows there are; at least 1.
    pub(crate) flows: u32,
    /// The number of the first one.
    pub(crate) first: u32,
    /// 0: at random; else in order, the next one being so many further on, and round again.
    pub(crate) step: u32,
    /// Flows of a client, as a power of two.
    pub(crate) client_shift: u32,
    /// The last four bytes of flow 0's source address, in host byte order.
    pub(crate) address: u32,
    /// Flow 0's source port, in host byte order.
    pub(crate) port: u32,
    /// Flow 0's IPv4 header checksum, in host byte order.
    pub(crate) ip_sum: u32,
    /// Flow 0's TCP or UDP checksum, in host byte order.
    pub(crate) l4_sum: u32,
    /// Where the last four bytes of the source address stand.
    pub(crate) address_at: u32,
    /// Where the source port stands.
    pub(crate) port_at: u32,
    /// Where the IPv4 header's checksum stands; 0: there is none.
    pub(crate) ip_sum_at: u32,
    /// Where TCP's or UDP's checksum stands.
    pub(crate) l4_sum_at: u32,
    /// Not 0: the driver asks the kernel for the packet's length each time, also when it is right.
    /// So what it costs to bring it back after a tunnel is part of what the empty program costs.
    pub(crate) resized: u32,
    /// Not 0: in order, each flow has two packets, the second one so many after the first.
    pub(crate) apart: u32,
    /// Zero.
    pub(crate) pad: u32,
}
