//! Fragments with bytes changed at random, seeded. [`tests::bench::Bench::run`] checks of each
//! that garbage is not sent and that one fate is counted.

use std::{collections::BTreeMap, env};

use fastrand::Rng;
use lb_common::event::{Event, EventKind};
use tests::{
    bench::site::{WAYS, site, tcp, udp},
    packet::{ACK, fix_ip_checksum, icmp::as_ip, ip},
};

const RUNS: u32 = 30_000;
const SEED: u64 = 0x4672_6167_6d65_6e74;

#[test]
fn random_mutations_of_fragments() {
    let given = env::var("HOLDFAST_RANDOM_SEED").ok().map(|text| text.parse().expect("a number"));
    let mut rng = Rng::with_seed(given.unwrap_or(SEED));
    let mut bench = site();
    let mut parts = Vec::new();
    for (forward, v6) in WAYS {
        for packet in [udp(forward, v6), tcp(forward, v6, ACK)] {
            parts.extend(as_ip(&packet.payload(&[7; 150])).fragments(7, 64));
        }
    }
    let mut fates = BTreeMap::<Event, u32>::new();
    for _ in 0..RUNS {
        let part = &parts[rng.usize(..parts.len())];
        let mut bytes = part.build();
        for _ in 0..rng.usize(0..3) {
            let at = rng.usize(14..bytes.len());
            match rng.u8(..4) {
                0 => bytes[at] ^= 1 << rng.u8(..8),
                1 => bytes[at] = rng.u8(..),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
                _ => bytes.truncate(at.max(34)),
            }
        }
        if part.source.is_ipv4() && rng.u8(..4) > 0 && bytes[14] & 15 >= 5 {
            fix_ip_checksum(&mut bytes, 14);
        }
        let outcome = bench.run(&bytes);
        *fates.entry(outcome.fate()).or_default() += 1;
        if outcome.fate().kind() == EventKind::Sent {
            let [before, after] = [&bytes, &outcome.bytes].map(|it| ip::parse(it).expect("IP").ip);
            let place = |ip: &ip::Ip| ip.part().map(|part| (part.offset, part.more));
            assert_eq!(place(&before), place(&after), "{outcome}");
            assert_eq!(before.payload.len(), after.payload.len(), "{outcome}");
            if place(&before).is_some_and(|(offset, _)| offset > 0) {
                assert_eq!(before.payload, after.payload, "{outcome}");
            }
        }
    }
    for event in [
        Event::Forwarded,
        Event::PassFragment,
        Event::PassTruncated,
        Event::PassBadHeader,
        Event::PassNoListener,
        Event::DropBadFragment,
        Event::DropFragmentEarly,
        Event::DropTtlExceeded,
    ] {
        assert!(fates.contains_key(&event), "{event:?} was never met: {fates:?}");
    }
}
