//! Keyed fingerprints of destinations and flows: which line of a table to look into, and a tag that
//! tells entries in it apart.
//!
//! Three multilinear sums over words of 32 bits, of which the upper halves count (Lemire, Kaser,
//! "Strongly universal string hashing is fast", 2014): for any two inputs that differ, and keys
//! that nobody knows, each pair of results is as likely as any other. So two flows have the same
//! tag with a probability of 2^-48, wherever their lines are.

use crate::{
    address::Address,
    hash::{self, Seed},
    layout::FlowKey,
};

/// Sums of a fingerprint.
const SUMS: usize = 3;
/// Words of an address with its port.
const WORDS: usize = 5;
/// Keys of a sum: one for each family to begin with, one for each word of destination and source.
const KEYS_OF_SUM: usize = FAMILIES + 2 * WORDS;
const FAMILIES: usize = 2;
/// From a sum's first key: those of a destination's words, and those of a source's.
const OF_DESTINATION: usize = FAMILIES;
const OF_SOURCE: usize = FAMILIES + WORDS;
/// Keys of all sums.
pub const KEYS: usize = SUMS * KEYS_OF_SUM;

/// Bits of a tag.
pub const TAG_BITS: u32 = 48;
/// Bits of what a line's number is made of, so a table has 2^24 lines at most.
const LINE_BITS: u32 = 24;

/// The keys that follow from a seed, as they stand in the program's read-only data.
#[must_use]
pub fn keys(seed: Seed) -> [u64; KEYS] {
    // Apart from what the seed is used for otherwise: hashes of two and of five words.
    const DOMAIN: u64 = u64::from_be_bytes(*b"lineskey");
    let mut keys = [0; KEYS];
    for (number, key) in (0_u64..).zip(&mut keys) {
        *key = hash::words(seed, [DOMAIN, number, 0]);
    }
    keys
}

/// The sums over a destination, from which those of a flow go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination([u64; SUMS]);

impl Destination {
    /// Of an address, a port (network byte order) and a protocol. `key` gives each of the
    /// [`KEYS`].
    #[inline(always)]
    #[must_use]
    pub fn new(address: Address, port_be: u16, protocol: u8, key: impl Fn(usize) -> u64) -> Self {
        let end = ((port_be as u32) << 16) | protocol as u32;
        let sum = |first: usize| {
            let family = first.wrapping_add(address.is_v4() as usize);
            add(key(family), address, end, first.wrapping_add(OF_DESTINATION), &key)
        };
        Self([sum(0), sum(KEYS_OF_SUM), sum(2 * KEYS_OF_SUM)])
    }

    /// The fingerprint of the destination itself. Its lines are mixed once more: no VIP may find both
    /// of its lines full, as some would that follow one another, by one in forty seeds.
    #[inline(always)]
    #[must_use]
    pub const fn fingerprint(self) -> Fingerprint {
        Fingerprint::from_sums(self.0).mixed()
    }

    /// The fingerprint of a flow from there, by an address of the same family.
    #[inline(always)]
    #[must_use]
    pub fn with_source(
        self,
        address: Address,
        port_be: u16,
        key: impl Fn(usize) -> u64,
    ) -> Fingerprint {
        let [a, b, c] = self.0;
        let end = port_be as u32;
        Fingerprint::from_sums([
            add(a, address, end, OF_SOURCE, &key),
            add(b, address, end, KEYS_OF_SUM + OF_SOURCE, &key),
            add(c, address, end, 2 * KEYS_OF_SUM + OF_SOURCE, &key),
        ])
    }
}

/// The fingerprint of a flow.
#[must_use]
pub fn of_flow(keys: &[u64; KEYS], flow: &FlowKey) -> Fingerprint {
    let key = |number: usize| keys.get(number).copied().unwrap_or(0);
    Destination::new(flow.destination, flow.destination_port_be, flow.protocol, key).with_source(
        flow.source,
        flow.source_port_be,
        key,
    )
}

/// Where something is looked for, and what it is known by there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// 48 bits, never 0.
    pub tag: u64,
    first: u32,
    second: u32,
}

impl Fingerprint {
    #[inline(always)]
    const fn from_sums([a, b, c]: [u64; SUMS]) -> Self {
        let tag = (a >> 32) << 16 | (b >> 32 & 0xffff);
        Self {
            tag: if tag == 0 { 1 } else { tag },
            first: (c >> 40) as u32,
            second: (c >> 24 & 0xff_0000) as u32 | (b >> 48) as u32,
        }
    }

    /// The two lines, of a table of so many (1 to 2^24), that it can be in.
    #[inline(always)]
    #[must_use]
    pub const fn lines(&self, lines: u32) -> [u32; 2] {
        [reduce(self.first, lines), reduce(self.second, lines)]
    }

    /// The one line, of a table of so many (1 to 2^24), that it can be in where there is no second
    /// one to make up for what the sums have in common for flows that follow one another: their
    /// bits are mixed once more. That is one to one, so each pair of lines stays as likely as any
    /// other.
    #[inline(always)]
    #[must_use]
    pub const fn line(&self, lines: u32) -> u32 {
        let Self { first, .. } = self.mixed();
        reduce(first, lines)
    }

    #[inline(always)]
    const fn mixed(self) -> Self {
        const LOWER: u64 = (1 << LINE_BITS) - 1;
        let bits = mix(mix(((self.first as u64) << LINE_BITS) | self.second as u64));
        Self { first: (bits >> LINE_BITS) as u32, second: (bits & LOWER) as u32, ..self }
    }
}

/// Of 48 bits, one to one: the upper half goes into the lower, then all of it upwards.
#[inline(always)]
const fn mix(bits: u64) -> u64 {
    // The golden section's; it is odd.
    const FACTOR: u64 = 0x9e37_79b9_7f4b;
    (bits ^ (bits >> LINE_BITS)).wrapping_mul(FACTOR) & ((1 << (2 * LINE_BITS)) - 1)
}

/// From 24 bits to a number below `below` (Lemire, "Fast random integer generation in an
/// interval", 2019).
#[inline(always)]
const fn reduce(bits: u32, below: u32) -> u32 {
    ((bits as u64).wrapping_mul(below as u64) >> LINE_BITS) as u32
}

/// The words of an address and one more. Those that are the same in all IPv4 addresses are left
/// out: what a sum of that family begins with says as much.
#[inline(always)]
fn add(sum: u64, address: Address, end: u32, first: usize, key: &impl Fn(usize) -> u64) -> u64 {
    let [a, b, c, d] = address.words_be;
    let term = |word: u32, at: usize| key(first.wrapping_add(at)).wrapping_mul(word as u64);
    let sum = sum.wrapping_add(term(d, 3)).wrapping_add(term(end, 4));
    if address.is_v4() {
        return sum;
    }
    sum.wrapping_add(term(a, 0)).wrapping_add(term(b, 1)).wrapping_add(term(c, 2))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SEED: Seed = Seed([1, 2]);

    fn flow(client: u32, port: u16) -> FlowKey {
        FlowKey {
            source: Address::from_v4(client.to_be_bytes()),
            destination: Address::from_v4([203, 0, 113, 1]),
            source_port_be: port.to_be(),
            destination_port_be: 443_u16.to_be(),
            protocol: 6,
            pad: [0; 3],
        }
    }

    #[test]
    fn every_part_of_a_flow_counts() {
        let keys = keys(SEED);
        let base = flow(0x0a00_0001, 1000);
        let v6 = |last| Address { words_be: [1, 2, 3, last] };
        let v4 = |last| Address::from_v4([0, 0, 0, last]);
        // Of IPv6, with an IPv4 address's last word and nothing else.
        let like_v4 = |address: Address| Address { words_be: [0, 0, 0, address.words_be[3]] };
        let others = [
            FlowKey { source: v6(4), destination: v6(4), ..base },
            FlowKey { source: v6(5), destination: v6(4), ..base },
            FlowKey { source: v6(4), destination: v6(5), ..base },
            FlowKey {
                source: like_v4(base.source),
                destination: like_v4(base.destination),
                ..base
            },
            FlowKey { source: v4(9), ..base },
            FlowKey { destination: v4(9), ..base },
            FlowKey { source_port_be: 1, ..base },
            FlowKey { destination_port_be: 1, ..base },
            FlowKey { protocol: 17, ..base },
            base.reversed(),
            base,
        ];
        let mut tags: Vec<_> = others.iter().map(|flow| of_flow(&keys, flow).tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), others.len());
        assert_ne!(of_flow(&keys, &base), of_flow(&super::keys(Seed([1, 3])), &base));
    }

    #[test]
    fn lines_are_in_range_and_even() {
        const LINES: u32 = 1000;
        const FLOWS: u32 = 100_000;
        let keys = keys(SEED);
        let mut counts = [vec![0_u32; LINES as usize], vec![0_u32; LINES as usize]];
        let mut pairs = BTreeMap::<[u32; 2], u32>::new();
        for number in 0..FLOWS {
            let print = of_flow(&keys, &flow(0x0a00_0000 | number >> 4, (number & 15) as u16));
            assert!(print.tag != 0 && print.tag < 1 << TAG_BITS);
            let lines = print.lines(LINES);
            for (counts, line) in counts.iter_mut().zip(lines) {
                *counts.get_mut(line as usize).expect("in range") += 1;
            }
            *pairs.entry(lines).or_default() += 1;
        }
        // A hundred on average, so 6 standard deviations either way.
        for counts in counts {
            assert!(counts.iter().all(|&count| (40..=160).contains(&count)), "{counts:?}");
        }
        // With keys for which every pair is as likely as any other it would be 95,163 on average; of
        // flows as regular as these, some keys make less.
        assert!(pairs.len() > 90_000 && pairs.values().all(|&count| count < 6), "{}", pairs.len());
    }

    #[test]
    fn the_ends_of_the_range() {
        for lines in [1, 2, 3, 1 << LINE_BITS] {
            let last = Fingerprint { tag: 1, first: 0xff_ffff, second: 0 };
            assert_eq!(last.lines(lines), [lines - 1, 0]);
        }
        let all = Fingerprint::from_sums([u64::MAX; SUMS]);
        assert_eq!((all.tag, all.first, all.second), ((1 << 48) - 1, 0xff_ffff, 0xff_ffff));
        assert_eq!(Fingerprint::from_sums([0; SUMS]).tag, 1, "0 is for none");
    }
}
