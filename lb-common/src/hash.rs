//! The keyed hash behind every choice: SipHash-1-3 (Aumasson, Bernstein, 2012; the
//! 1-3 variant as in the Linux kernel's `hsiphash` and Rust's standard library).

/// Secret key of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

/// Hash of whole words: SipHash-1-3 of their bytes, little-endian.
#[inline(always)]
#[must_use]
pub fn words<const N: usize>(seed: Seed, input: [u64; N]) -> u64 {
    let [k0, k1] = seed.0;
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for word in input {
        absorb(&mut v, word);
    }
    // The last word holds the length in its top byte.
    absorb(&mut v, ((N as u64).wrapping_mul(8)) << 56);
    let [_, _, v2, _] = &mut v;
    *v2 ^= 0xff;
    round(&mut v);
    round(&mut v);
    round(&mut v);
    let [a, b, c, d] = v;
    a ^ b ^ c ^ d
}

#[inline(always)]
fn absorb(v: &mut [u64; 4], word: u64) {
    let [_, _, _, v3] = &mut *v;
    *v3 ^= word;
    round(v);
    let [v0, ..] = v;
    *v0 ^= word;
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *v;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *v = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use super::*;

    #[test]
    fn agrees_with_the_reference() {
        let check = |seed: Seed, input: &[u64], ours: u64| {
            let mut theirs = siphasher::sip::SipHasher13::new_with_keys(seed.0[0], seed.0[1]);
            for word in input {
                theirs.write(&word.to_le_bytes());
            }
            assert_eq!(ours, theirs.finish());
        };
        let seed = Seed([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        check(seed, &[], words(seed, []));
        check(seed, &[0], words(seed, [0]));
        check(seed, &[u64::MAX, 1], words(seed, [u64::MAX, 1]));
        check(seed, &[1, 2, 3, 4, 5], words(seed, [1, 2, 3, 4, 5]));
        let zero = Seed([0, 0]);
        check(zero, &[7, 8], words(zero, [7, 8]));
    }
}
