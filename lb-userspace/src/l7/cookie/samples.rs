//! What the tests of cookies and sessions share.

use proptest::test_runner::Config;

/// Random bytes, the same each time (splitmix64).
pub(crate) fn random(mut seed: u64) -> impl FnMut(&mut [u8]) {
    move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// How property tests run. A failure is printed, and written nowhere.
pub(crate) fn cases() -> Config {
    Config { cases: 256, failure_persistence: None, ..Config::default() }
}
