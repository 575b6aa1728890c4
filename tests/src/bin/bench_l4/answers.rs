//! Answers of backends in `nat`, to flows that are there for them alone: as many as are wanted, from
//! whatever addresses and ports the driver writes.

use std::{net::SocketAddr, path::Path, time::Duration};

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    address::Address,
    event::Event,
    layout::{BackendRef, FlowKey, Hop, Reply, TcpState},
    maps::REPLIES,
};
use lb_userspace::maps::LbMaps as _;
use nix::time::{ClockId, clock_gettime};
use tests::{
    generator::{Driver, Subject, Traffic},
    packet::{ACK, BALANCER_MAC, CLIENT_MAC},
};

use crate::{
    measure::{Plan, steady},
    round::Round,
    scene::Scene,
};

/// Flows count as noted so far ahead: no answer that is measured is to be noted.
const AHEAD: Duration = Duration::from_hours(1);

/// Answers to that port of the balancer's.
pub(crate) fn traffic(to: SocketAddr) -> Traffic {
    Traffic::tcp(to, ACK)
}

/// Makes the flows of those answers known, that come in by `interface`; clients are behind it too.
pub(crate) fn make_known(
    scene: &Scene,
    directory: &Path,
    traffic: &Traffic,
    to: SocketAddr,
    interface: u32,
) {
    let backends = scene.agent.maps().backends().expect("backends");
    let (id, backend) = backends.first().expect("a backend");
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock").into();
    let seen = u64::try_from((now + AHEAD).as_nanos()).expect("a time");
    let data = MapData::from_pin(directory.join(REPLIES)).expect("a map opened");
    let mut map: HashMap<_, FlowKey, Reply> =
        HashMap::try_from(Map::LruHashMap(data)).expect("an LRU map");
    for number in 0..traffic.count() {
        let from = traffic.source(number);
        let key = FlowKey {
            source: from.ip().into(),
            destination: to.ip().into(),
            source_port_be: from.port().to_be(),
            destination_port_be: to.port().to_be(),
            protocol: 6,
            pad: [0; 3],
        };
        let client = FlowKey {
            source: Address::from_v4((0xc612_0000 + number).to_be_bytes()),
            destination: scene.vip.ip().into(),
            source_port_be: 4711_u16.to_be(),
            destination_port_be: scene.vip.port().to_be(),
            ..key
        };
        let reply = Reply {
            last_seen_ns: seen,
            backend: BackendRef::new(*id, backend.generation),
            client,
            hop: Hop { interface, to: CLIENT_MAC, from: BALANCER_MAC, ..Hop::default() },
            listener: 1,
            state: TcpState::Established.code(),
            pad: [0; 3],
        };
        map.insert(key, reply, 0).expect("a reply written");
    }
}

/// Rounds of answers of which none is to be noted, against look-ups.
pub(crate) fn rounds(
    driver: &mut Driver,
    scene: &Scene,
    traffic: &Traffic,
    plan: Plan,
) -> Vec<Round> {
    driver.measure(&scene.program());
    driver.check(traffic);
    let all = traffic.clone().in_order();
    let _ns = driver.run(Subject::Insert, &all, traffic.count());
    let replied = scene.counted(Event::Replied);
    let _ns = driver.run(Subject::Holdfast, &all, traffic.count());
    let mut sent = u64::from(traffic.count());
    let rounds = (0..plan.rounds)
        .map(|_| {
            let mut best =
                Round { ours: f64::INFINITY, against: f64::INFINITY, empty: f64::INFINITY };
            for _ in 0..plan.tries {
                let mut run = |subject| steady(driver, subject, traffic, plan.packets);
                best.empty = best.empty.min(run(Subject::Empty));
                best.against = best.against.min(run(Subject::LookUp));
                best.ours = best.ours.min(run(Subject::Holdfast));
                sent += 2 * u64::from(plan.packets);
            }
            best
        })
        .collect();
    // A table that is as large as the flows are many has lost some.
    let lost = sent - (scene.counted(Event::Replied) - replied);
    assert!(lost <= sent / 1000, "{lost} of {sent} answers were not sent on");
    rounds
}
