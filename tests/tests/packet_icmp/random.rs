//! Errors with bytes changed at random, seeded. [`tests::bench::Bench::run`] checks of each that
//! garbage is not sent and that one fate is counted.

use std::{collections::BTreeMap, env};

use fastrand::Rng;
use lb_common::event::{Event, EventKind};
use tests::{
    bench::site::{WAYS, site, vip},
    packet::{fix_ip_checksum, icmp::Message, ip},
};

use crate::scene::{flow, packets, router};

const RUNS: u32 = 20_000;
const SEED: u64 = 0x5069_6e67_0404_0303;

#[test]
fn random_mutations_of_errors() {
    let given = env::var("HOLDFAST_RANDOM_SEED").ok().map(|text| text.parse().expect("a number"));
    let mut rng = Rng::with_seed(given.unwrap_or(SEED));
    let mut bench = site();
    let mut errors = Vec::new();
    for (forward, v6) in WAYS {
        for packet in packets(forward, v6) {
            let flow = flow(&mut bench, &packet);
            let about = Message::too_big(&flow.replied, 1280, 120);
            errors.push(about.packet(router(v6), vip(forward, v6).ip()));
            let near = flow.forwarded;
            let about = Message::unreachable(&near, 120);
            errors.push(about.packet(near.destination, near.source));
        }
    }
    let all = (bench.flows(), bench.pins(), bench.replies());
    let mut fates = BTreeMap::<Event, u32>::new();
    for _ in 0..RUNS {
        let error = &errors[rng.usize(..errors.len())];
        let mut bytes = error.build();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(14..bytes.len().min(14 + 120));
            match rng.u8(..4) {
                0 => bytes[at] ^= 1 << rng.u8(..8),
                1 => bytes[at] = rng.u8(..),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
                _ => bytes.truncate(at.max(34)),
            }
        }
        if error.source.is_ipv4() && rng.bool() && bytes[14] & 15 >= 5 {
            fix_ip_checksum(&mut bytes, 14);
        }
        let outcome = bench.run(&bytes);
        *fates.entry(outcome.fate()).or_default() += 1;
        if outcome.fate().kind() == EventKind::Sent {
            // As long as it was, and of the same family: nothing is amplified.
            let [before, after] = [&bytes, &outcome.bytes].map(|it| ip::parse(it).expect("IP").ip);
            assert_eq!(before.payload.len(), after.payload.len(), "{outcome}");
            assert_eq!(before.payload[..2], after.payload[..2], "type and code: {outcome}");
            assert_eq!(before.payload[4..8], after.payload[4..8], "the MTU: {outcome}");
        }
    }
    assert_eq!((bench.flows(), bench.pins(), bench.replies()), all, "an error left a trace");
    for event in [
        Event::IcmpForwarded,
        Event::IcmpReplied,
        Event::PassIcmpError,
        Event::PassTruncated,
        Event::PassBadHeader,
        Event::DropTtlExceeded,
    ] {
        assert!(fates.contains_key(&event), "{event:?} was never met: {fates:?}");
    }
}
