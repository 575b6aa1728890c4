//! Pointers into the packet and into map values: all unsafe memory access of the program.

use aya_ebpf::programs::XdpContext;

/// Where the last part read may begin: behind Ethernet, two tags, IPv6 and its extension headers,
/// or in what an ICMP error quotes.
const MAX_OFFSET: usize = 0x7ff;

/// The `T` at `offset`; `None` when the packet ends before its end.
///
/// `T` is a header of alignment 1 or 2: packets and headers begin at even addresses. The pointer
/// dies with the next change of the packet's ends.
#[inline(always)]
pub(crate) fn ptr_at<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    const { assert!(align_of::<T>() <= 2) };
    // Changes nothing: all headers that are read begin below. To the verifier it is the bound of
    // an offset that comes from a map.
    let start = ctx.data() + (offset & MAX_OFFSET);
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// A copy of the `T` at `offset`.
#[inline(always)]
pub(crate) fn read<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    // SAFETY: `ptr_at` has checked bounds and alignment.
    ptr_at::<T>(ctx, offset).map(|at| unsafe { at.read() })
}

/// Writes a `T` at `offset`; `None` when the packet ends before its end.
#[inline(always)]
#[must_use]
pub(crate) fn write<T: Copy>(ctx: &XdpContext, offset: usize, value: T) -> Option<()> {
    // SAFETY: `ptr_at` has checked bounds and alignment.
    ptr_at::<T>(ctx, offset).map(|at| unsafe { at.write(value) })
}

/// Bytes in the packet.
#[inline(always)]
pub(crate) fn len(ctx: &XdpContext) -> usize {
    ctx.data_end() - ctx.data()
}
