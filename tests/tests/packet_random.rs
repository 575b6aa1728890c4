//! Random bytes and randomly changed packets, seeded. [`Bench::run`] checks of each that garbage
//! is not forwarded and that one fate is counted.

use std::env;

use fastrand::Rng;
use lb_common::event::{Event, EventKind};
use tests::{
    bench::site::{WAYS, site, tcp, udp},
    bench::{Bench, S, SHORTEST},
    packet::{ACK, Frame, QINQ, SYN, VLAN, fix_ip_checksum, ip, parse},
};

const RUNS: u32 = 100_000;
const SEED: u64 = 0x486f_6c64_6661_7374;

/// `HOLDFAST_RANDOM_SEED`, or a fixed one.
fn rng() -> Rng {
    let given = env::var("HOLDFAST_RANDOM_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed = given.unwrap_or(SEED);
    eprintln!("HOLDFAST_RANDOM_SEED={seed}");
    Rng::with_seed(seed)
}

#[test]
fn random_bytes() {
    let mut rng = rng();
    let mut bench = site();
    for _ in 0..RUNS {
        let mut bytes = vec![0; rng.usize(SHORTEST..200)];
        rng.fill(&mut bytes);
        // Else hardly any would be looked into.
        match rng.u8(..4) {
            0 => {}
            1 => bytes[12..14].copy_from_slice(&[0x86, 0xdd]),
            2 => bytes[12..14].copy_from_slice(&[0x81, 0x00]),
            _ => bytes[12..14].copy_from_slice(&[0x08, 0x00]),
        }
        if bytes.len() > 15 && rng.bool() {
            bytes[14] = if bytes[12] == 8 { 0x45 } else { 0x60 };
        }
        let outcome = bench.run(&bytes);
        assert_ne!(outcome.fate().kind(), EventKind::Sent, "{bytes:02x?}: {outcome}");
    }
    assert!(bench.flows().is_empty() && bench.pins().is_empty(), "random bytes left a trace");
}

fn some_packet(rng: &mut Rng) -> Frame {
    let (forward, v6) = WAYS[rng.usize(..WAYS.len())];
    let mut packet = match rng.u8(..3) {
        0 => udp(forward, v6),
        1 => tcp(forward, v6, SYN).tcp_options(&[1; 12]),
        _ => tcp(forward, v6, ACK).payload(b"GET / HTTP/1.1\r\n"),
    };
    packet.source.set_port(rng.u16(1..60));
    packet = match rng.u8(..4) {
        0 => packet.tags(&[(VLAN, 9)]),
        1 => packet.tags(&[(QINQ, 9), (VLAN, 10)]),
        _ => packet,
    };
    match (rng.bool(), v6) {
        (false, _) => packet,
        (true, true) => packet.extensions(&[(0, 8), (60, 16)]),
        (true, false) => packet.options(&[1; 8]),
    }
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, packet: &Frame) {
    for _ in 0..rng.usize(1..4) {
        // Mostly in headers.
        let end = if rng.u8(..8) == 0 { bytes.len() } else { bytes.len().min(packet.l4() + 20) };
        let at = rng.usize(..end);
        match rng.u8(..5) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
            3 if at > SHORTEST => bytes.truncate(at),
            _ => bytes.extend(vec![rng.u8(..); rng.usize(1..9)]),
        }
        if bytes.len() <= packet.l3() + 20 {
            return;
        }
    }
    // So that what the IP checksum would tell is not what saves us.
    let l3 = packet.l3();
    if !packet.v6() && rng.bool() && usize::from(bytes[l3] & 15) * 4 >= 20 {
        fix_ip_checksum(bytes, l3);
    }
}

#[test]
fn random_mutations_of_valid_packets() {
    let mut rng = rng();
    let mut bench = site();
    let mut fates = std::collections::BTreeMap::<Event, u32>::new();
    for _ in 0..RUNS {
        let packet = some_packet(&mut rng);
        let mut bytes = packet.build();
        mutate(&mut rng, &mut bytes, &packet);
        if rng.u8(..100) == 0 {
            bench.pass(rng.u64(..10 * S));
        }
        let outcome = bench.run(&bytes);
        *fates.entry(outcome.fate()).or_default() += 1;
        if outcome.fate().kind() == EventKind::Sent && outcome.fate() != Event::ResetSent {
            check_untouched(&bytes, &outcome.bytes);
        }
    }
    // The mutations reach far: else this test says little.
    for event in [
        Event::Forwarded,
        Event::PassNotIp,
        Event::PassTruncated,
        Event::PassBadHeader,
        Event::PassFragment,
        Event::PassNotTcpUdp,
        Event::PassNoListener,
        Event::DropBadTcp,
        Event::DropBadUdp,
        Event::DropBadSource,
        Event::DropTtlExceeded,
    ] {
        assert!(fates.contains_key(&event), "{event:?} was never met: {fates:?}");
    }
}

/// Whatever a packet was: only the addresses, ports, TTL, link and checksums may change. What has
/// become a fragment is looked at in `packet_fragment`.
fn check_untouched(before: &[u8], after: &[u8]) {
    if ip::parse(before).is_ok_and(|parsed| parsed.ip.is_fragment()) {
        return;
    }
    let [before, after] = [before, after].map(|bytes| parse(bytes).expect("a packet").frame);
    let kept = Frame {
        to: after.to,
        from: after.from,
        tags: after.tags.clone(),
        source: after.source,
        destination: after.destination,
        ttl: before.ttl - 1,
        ..before.clone()
    };
    assert_eq!(kept, after, "{before}, sent as {after}");
}

/// Every packet of a real flow, and then the same flow met by garbage: the flow stays.
#[test]
fn garbage_does_not_disturb_a_flow() {
    let mut rng = rng();
    let mut bench: Bench = site();
    for (forward, v6) in WAYS {
        let packet = udp(forward, v6);
        let first = bench.send(&packet);
        assert_eq!(first.fate(), Event::Forwarded);
        for _ in 0..2_000 {
            let mut bytes = packet.build();
            let at = rng.usize(packet.l3()..packet.l4() + 8);
            bytes[at] = rng.u8(..);
            let _any = bench.run(&bytes);
        }
        let again = bench.send(&packet);
        assert_eq!(again.bytes, first.bytes, "{packet}: {again}");
        assert_eq!(again.events(), [Event::Forwarded], "{packet}: {again}");
    }
}
