//! Incremental update of the Internet checksum (RFC 1071, RFC 1624).

use crate::address::Address;

/// What a change of header words does to a checksum: the sum of the new words and of the
/// complements of the old ones, unfolded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// An address changed. Of v4-mapped ones the parts that no IPv4 header holds cancel out.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: Address, new: Address) -> Self {
        let [a, b, c, d] = old.words_be;
        let [e, f, g, h] = new.words_be;
        self.word32(a, e).word32(b, f).word32(c, g).word32(d, h)
    }

    /// Four bytes changed, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn word32(self, old: u32, new: u32) -> Self {
        Self(self.0.wrapping_add((!old) as u64).wrapping_add(new as u64))
    }

    /// Two bytes changed, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn word16(self, old: u16, new: u16) -> Self {
        Self(self.0.wrapping_add((!old) as u64).wrapping_add(new as u64))
    }

    /// The checksum after the change; both as they stand in the packet (RFC 1624, equation 3).
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = self.0.wrapping_add((!u16::from_ne_bytes(checksum)) as u64);
        (!fold(sum)).to_ne_bytes()
    }

    /// The same for UDP: 0 says that there is none and stays; a result of 0 is sent as all ones
    /// (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(checksum) == 0 {
            return checksum;
        }
        let updated = self.apply(checksum);
        if u16::from_ne_bytes(updated) == 0 { [0xff, 0xff] } else { updated }
    }
}

/// The checksum of an IPv4 header whose time to live, 1 at least, has become one less: as
/// [`Delta`] has it, in fewer steps (RFC 1141).
#[inline(always)]
#[must_use]
pub const fn a_hop_less(checksum: [u8; 2]) -> [u8; 2] {
    let more = (u16::from_be_bytes(checksum) as u32).wrapping_add(0x100);
    // What is carried out comes in again, and of the two forms of zero the one is taken that a sum
    // of words that are not all zero has.
    let carry = (more >= 0xffff) as u32;
    (more.wrapping_add(carry) as u16).to_be_bytes()
}

/// The one's complement sum of 16-bit words, folded; takes words as they stand in memory, their sum
/// below 2^48.
#[inline(always)]
#[must_use]
pub const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum = (sum & 0xffff).wrapping_add(sum >> 16);
    (sum & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(words: &[u16]) -> [u8; 2] {
        (!fold(words.iter().map(|w| u64::from(*w)).sum())).to_ne_bytes()
    }

    #[test]
    fn an_update_equals_a_full_sum() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u32
            };
            let [a, b, c, d] = [next(), next(), next(), next()];
            let (old16, new16) = (next() as u16, next() as u16);
            let half = |w: u32| [(w & 0xffff) as u16, (w >> 16) as u16];
            let before = [half(a), half(b)].concat();
            let after = [half(c), half(d)].concat();
            let old = full(&[&before[..], &[old16]].concat());
            let new = full(&[&after[..], &[new16]].concat());
            let delta = Delta::NONE.word32(a, c).word32(b, d).word16(old16, new16);
            assert_eq!(delta.apply(old), new);
        }
    }

    #[test]
    fn a_hop_less_is_what_the_delta_says() {
        for checksum in 0..=u16::MAX {
            for word in [0x0106_u16, 0x0100, 0x4011, 0xffff] {
                let less = word - 0x100;
                let [old, new] = [word, less].map(u16::to_be);
                let want = Delta::NONE.word16(old, new).apply(checksum.to_be_bytes());
                assert_eq!(a_hop_less(checksum.to_be_bytes()), want, "{checksum:#x} {word:#x}");
            }
        }
    }

    #[test]
    fn folding_carries_all_there_is() {
        let check = |sum: u64, want: u16| assert_eq!(fold(sum), want, "{sum:#x}");
        check(0, 0);
        check(0xffff, 0xffff);
        check(0x1_0000, 1);
        check(0xffff_ffff, 0xffff);
        check(0x1_ffff_ffff, 1);
        check(0xffff_fffe_ffff, 0xfffe);
        check(0xffff_ffff_fffe, 0xfffe);
        check(0xffff_ffff_ffff, 0xffff);
    }

    #[test]
    fn udp_knows_no_zero() {
        let delta = Delta::NONE.word16(1, 2);
        assert_eq!(delta.apply_udp([0, 0]), [0, 0]);
        let one_before_zero = Delta::NONE.word16(2, 1).apply([0, 0]);
        assert_eq!(delta.apply(one_before_zero), [0, 0]);
        assert_eq!(delta.apply_udp(one_before_zero), [0xff, 0xff]);
    }

    #[test]
    fn mapped_prefixes_cancel() {
        let old = Address::from_v4([10, 0, 0, 1]);
        let new = Address::from_v4([192, 168, 3, 4]);
        let whole = Delta::NONE.address(old, new).apply([0x12, 0x34]);
        let part = Delta::NONE.word32(old.words_be[3], new.words_be[3]).apply([0x12, 0x34]);
        assert_eq!(whole, part);
    }
}
