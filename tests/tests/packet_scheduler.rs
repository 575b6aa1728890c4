//! Round-robin and least-connections: who gets a new flow, and that what holds for the hash holds
//! for them, but for the second choice that nobody can make.

use std::net::SocketAddr;

use lb_common::{
    event::Event,
    layout::{BackendState, Forward, Protocol, Scheduler},
};
use tests::{
    bench::{Bench, S, socket},
    outcome::Outcome,
    packet::{
        ACK, FIN, Frame, RST, SYN,
        icmp::{Message, as_ip},
    },
};

const VIP: &str = "203.0.113.10:80";
const WAYS: [Forward; 2] = [Forward::Nat, Forward::Dsr];
const BOTH: [Scheduler; 2] = [Scheduler::RoundRobin, Scheduler::LeastConnections];

/// Three backends, of weights 1, 2 and 1, whose table is their turns.
struct Scene {
    bench: Bench,
    pool: u32,
    backends: [u32; 3],
    port: u16,
}

fn scene(forward: Forward, scheduler: Scheduler, timeout_ns: u64) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let port = if forward == Forward::Dsr { 0 } else { 8080 };
    let backends = [11, 12, 13].map(|last| bench.backend(pool, &format!("10.0.0.{last}:{port}")));
    bench.scheduler(pool, scheduler);
    if scheduler == Scheduler::LeastConnections {
        for (id, weight) in backends.into_iter().zip([1, 2, 1]) {
            bench.runs(id, 0, weight);
        }
    }
    let [a, b, c] = backends;
    // 251 slots, of which the last three would be the beginning of another round.
    let table: Vec<u16> = [b, a, b, c]
        .iter()
        .map(|id| u16::try_from(*id).expect("a few"))
        .cycle()
        .take(251)
        .collect();
    bench.slots(pool, &table);
    let _tcp = bench.listener(Protocol::Tcp, VIP, pool, timeout_ns);
    let _udp = bench.listener(Protocol::Udp, VIP, pool, timeout_ns);
    Scene { bench, pool, backends, port: 1000 }
}

impl Scene {
    fn packet(&mut self, client: &str, flags: u8) -> Frame {
        self.port += 1;
        Frame::tcp(SocketAddr::new(client.parse().expect("address"), self.port), socket(VIP), flags)
    }

    /// A new flow, its packet and where it went.
    fn connect(&mut self, client: &str) -> (Frame, u32) {
        let syn = self.packet(client, SYN);
        let outcome = self.bench.send(&syn);
        let id = self.to(&outcome);
        // Which pins it.
        let outcome = self.bench.send(&later(&syn, ACK));
        assert_eq!(self.to(&outcome), id);
        (syn, id)
    }

    fn to(&self, outcome: &Outcome) -> u32 {
        self.bench.chosen(outcome)
    }

    /// Where so many new flows of one client went, by backend.
    fn spread(&mut self, client: &str, flows: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..flows {
            let (_, id) = self.connect(client);
            let index = self.backends.iter().position(|one| *one == id).expect("one of the three");
            counts[index] += 1;
        }
        counts
    }
}

fn later(syn: &Frame, flags: u8) -> Frame {
    Frame::tcp(syn.source, syn.destination, flags)
}

#[test]
fn round_robin_goes_by_weight() {
    for forward in WAYS {
        let mut scene = scene(forward, Scheduler::RoundRobin, 0);
        let [a, b, c] = scene.backends;
        let order: Vec<u32> = (0..8).map(|_| scene.connect("192.0.2.1").1).collect();
        assert_eq!(order, [b, a, b, c, b, a, b, c], "{forward:?}");
        assert_eq!(scene.spread("192.0.2.1", 240), [60, 120, 60]);
        // UDP takes part in the same round.
        scene.port += 1;
        let client = SocketAddr::new("192.0.2.2".parse().expect("address"), scene.port);
        let outcome = scene.bench.send(&Frame::udp(client, socket(VIP)));
        assert!(outcome.has(Event::FlowScheduled), "{outcome}");
        assert_eq!(scene.backends.map(|id| scene.bench.running(id)), [0; 3], "nobody asks for it");
    }
}

#[test]
fn least_connections_fills_up_to_the_weights() {
    for forward in WAYS {
        let mut scene = scene(forward, Scheduler::LeastConnections, 0);
        let [a, b, c] = scene.spread("192.0.2.1", 400);
        assert_eq!(scene.backends.map(|id| scene.bench.running(id) as usize), [a, b, c]);
        for (count, fair) in [(a, 100), (b, 200), (c, 100_usize)] {
            assert!(count.abs_diff(fair) < 20, "{forward:?}: {a} {b} {c}");
        }
    }
}

#[test]
fn least_connections_goes_where_few_run() {
    let mut scene = scene(Forward::Nat, Scheduler::LeastConnections, 0);
    let [a, b, c] = scene.backends;
    // Long connections on A and B, and C is new: it gets nearly all until it has as many.
    scene.bench.runs(a, 500, 1);
    scene.bench.runs(b, 1000, 2);
    let [to_a, to_b, to_c] = scene.spread("192.0.2.1", 200);
    // Both draws are for B now and then, and C is not among them: half of the table is B.
    assert!(to_c > 60 && to_c > to_a && to_a + to_b + to_c == 200, "{to_a} {to_b} {to_c}");
    // The agent's count takes the place of the packets'.
    scene.bench.runs(a, 0, 1);
    scene.bench.runs(c, 9000, 1);
    let [to_a, _, to_c] = scene.spread("192.0.2.1", 100);
    assert!(to_a > 30 && to_c < 5, "{to_a} {to_c}");
    assert_eq!(scene.bench.running(a) as usize, to_a);
}

#[test]
fn p6_a_flow_stays_whatever_the_scheduler_would_say() {
    for (forward, scheduler) in WAYS.iter().flat_map(|way| BOTH.map(|one| (*way, one))) {
        let mut scene = scene(forward, scheduler, 0);
        for _ in 0..5 {
            let (syn, id) = scene.connect("192.0.2.1");
            // The SYN again, as a client does; others come in between.
            let _others = scene.spread("192.0.2.9", 3);
            for flags in [SYN, ACK, ACK] {
                let outcome = scene.bench.send(&later(&syn, flags));
                assert_eq!(scene.to(&outcome), id, "{forward:?} {scheduler:?}");
                assert!(!outcome.has(Event::FlowScheduled), "{outcome}");
            }
            scene.bench.state(id, BackendState::Draining);
            let outcome = scene.bench.send(&later(&syn, ACK));
            assert_eq!(scene.to(&outcome), id, "{forward:?} {scheduler:?}");
            scene.bench.state(id, BackendState::Ready);
            let outcome = scene.bench.send(&later(&syn, FIN | ACK));
            assert_eq!(scene.to(&outcome), id, "{forward:?} {scheduler:?}");
        }
    }
}

#[test]
fn a_pin_is_asked_first_and_for_as_long_as_it_is_valid() {
    for (forward, scheduler) in WAYS.iter().flat_map(|way| BOTH.map(|one| (*way, one))) {
        let mut scene = scene(forward, scheduler, 60 * S);
        let (_, pinned) = scene.connect("192.0.2.1");
        let counted = scene.bench.running(pinned);
        for _ in 0..10 {
            let syn = scene.packet("192.0.2.1", SYN);
            let outcome = scene.bench.send(&syn);
            assert!(outcome.has(Event::PinFollowed), "{forward:?} {scheduler:?}: {outcome}");
            assert_eq!(scene.to(&outcome), pinned);
        }
        // P3: at its timeout it is gone, and the scheduler is asked again.
        scene.bench.pass(60 * S);
        let syn = scene.packet("192.0.2.1", SYN);
        let outcome = scene.bench.send(&syn);
        assert!(outcome.has(Event::FlowScheduled), "{outcome}");
        let proof = scene.bench.send(&later(&syn, ACK));
        assert!(proof.has(Event::PinRenewed), "{proof}");
        let flows = u32::from(scheduler == Scheduler::LeastConnections) * 10;
        assert!(scene.bench.running(pinned) >= counted + flows, "pinned flows count too");
        // P9: a backend that drains keeps its client, one that is down does not.
        let pinned = scene.to(&outcome);
        scene.bench.state(pinned, BackendState::Draining);
        assert_eq!(scene.connect("192.0.2.1").1, pinned);
        scene.bench.state(pinned, BackendState::Down);
        let others: Vec<u32> = scene.backends.into_iter().filter(|id| *id != pinned).collect();
        scene.bench.table(scene.pool, &others);
        let (_, elsewhere) = scene.connect("192.0.2.1");
        assert_ne!(elsewhere, pinned);
        assert_eq!(scene.connect("192.0.2.1").1, elsewhere, "pinned anew");
    }
}

#[test]
fn p11_a_flow_that_lost_its_entry_follows_the_pin() {
    for scheduler in BOTH {
        let mut scene = scene(Forward::Dsr, scheduler, 60 * S);
        for client in 1..=20 {
            let (syn, id) = scene.connect(&format!("192.0.2.{client}"));
            scene.bench.forget_flows();
            let outcome = scene.bench.send(&later(&syn, ACK));
            assert!(outcome.has(Event::PinFollowed), "{outcome}");
            assert_eq!(scene.to(&outcome), id);
        }
    }
}

/// Nothing can say again where its flow is: dropped, counted, no turn taken.
#[test]
fn a_reset_of_no_flow_begins_none() {
    let mut scene = scene(Forward::Dsr, Scheduler::RoundRobin, 60 * S);
    let [a, b, _] = scene.backends;
    assert_eq!(scene.connect("192.0.2.1").1, b);
    let reset = scene.packet("192.0.2.2", RST);
    assert_eq!(scene.bench.send(&reset).events(), [Event::DropNoFlow]);
    let reset = scene.packet("192.0.2.1", RST);
    let outcome = scene.bench.send(&reset);
    assert_eq!(scene.to(&outcome), b, "by the pin");
    assert_eq!(scene.connect("192.0.2.3").1, a, "whose turn it was");
}

#[test]
fn errors_and_fragments_take_no_turn() {
    let mut scene = scene(Forward::Dsr, Scheduler::RoundRobin, 60 * S);
    let [a, b, c] = scene.backends;
    let (syn, to) = scene.connect("192.0.2.1");
    assert_eq!(to, b);
    let router = "198.51.100.77".parse().expect("address");
    let error = |about: &Frame| {
        let answer = as_ip(&about.clone().turned().payload(&[9; 90]).ttl(60));
        Message::too_big(&answer, 1400, 100).packet(router, socket(VIP).ip())
    };
    let outcome = scene.bench.run(&error(&syn).build());
    assert_eq!(outcome.events(), [Event::IcmpForwarded], "{outcome}");
    let unknown = scene.packet("192.0.2.2", ACK);
    let outcome = scene.bench.run(&error(&unknown).build());
    assert_eq!(outcome.events(), [Event::PassIcmpError], "{outcome}");
    // A client without a pin, and one with.
    let long = |client: &str| {
        let source = SocketAddr::new(client.parse().expect("address"), 999);
        as_ip(&Frame::udp(source, socket(VIP)).payload(&[1; 4000])).fragments(7, 1480)
    };
    let early = scene.bench.run(&long("192.0.2.3")[1].build());
    assert_eq!(early.events(), [Event::DropFragmentEarly], "{early}");
    assert_eq!(scene.connect("192.0.2.4").1, a, "whose turn it was");
    let first = scene.bench.run(&long("192.0.2.5")[0].build());
    assert_eq!(scene.to(&first), b);
    assert_eq!(scene.connect("192.0.2.6").1, c);
}

#[test]
fn a_pool_without_takers_says_so() {
    for scheduler in BOTH {
        let mut scene = scene(Forward::Nat, scheduler, 0);
        scene.bench.table(scene.pool, &[]);
        let syn = scene.packet("192.0.2.1", SYN);
        assert_eq!(scene.bench.send(&syn).events(), [Event::DropNoBackend]);
    }
}
