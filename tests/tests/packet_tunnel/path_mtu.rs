//! What routers inside a tunnel report, and what fits from then on.

use lb_common::{
    event::Event,
    layout::{BackendState, Encapsulation},
    mtu::{LIFETIME_NS, UNIT_NS},
};
use tests::{
    bench::{S, START, site::client},
    outcome::Outcome,
    packet::{
        ACK, Frame, SYN, VLAN,
        icmp::{Message, as_ip},
        ip::Ip,
    },
};

use crate::{
    scene::{Scene, WAYS, Way, both, ip, packets, scene, vip},
    too_big::{check_answer, sized},
};

/// As configured.
const MTU: u16 = 1500;

/// As much as Linux quotes.
fn quoted(v6: bool) -> usize {
    if v6 { 1280 - 48 } else { 576 - 28 }
}

/// The error of a router inside a tunnel about a packet of it.
pub(crate) fn error(outer: &Ip, mtu: u16) -> Ip {
    let v6 = outer.source.is_ipv6();
    let router = ip(if v6 { "fd00:77::1" } else { "10.77.0.1" });
    Message::too_big(outer, mtu, quoted(v6)).packet(router, outer.source)
}

impl Scene {
    /// The tunnel of a backend of which no router has reported anything.
    pub(crate) fn lay_anew(&mut self, way: Way) {
        self.bench.pass(S);
        self.bench.back(self.backend);
        self.lay(way, MTU);
    }

    /// Sends a packet, of which the outer one is returned.
    pub(crate) fn wrapped(&mut self, packet: &Frame) -> Ip {
        both(&self.bench.send(packet)).0
    }

    /// Sends an error; it leaves nothing in flows and pins.
    pub(crate) fn report(&mut self, error: &Ip) -> Outcome {
        let before = self.traces();
        let outcome = self.bench.run(&error.build());
        assert_eq!(self.traces(), before, "{error} left a trace");
        outcome
    }

    #[track_caller]
    fn reported(&mut self, outer: &Ip, mtu: u16) {
        let outcome = self.report(&error(outer, mtu));
        assert_eq!(outcome.events(), [Event::PassPathMtu], "{mtu}: {outcome}");
    }

    /// Checks that so many bytes of that packet fit, from its IP header on, and no more.
    #[track_caller]
    pub(crate) fn check_room(&mut self, packet: &Frame, room: usize) {
        self.bench.pass(S);
        let outcome = self.bench.send(&sized(packet, room));
        assert_eq!(outcome.fate(), Event::Forwarded, "{room}, {packet}: {outcome}");
        let big = sized(packet, room + 1);
        check_answer(&self.bench.send(&big), &as_ip(&big), room);
    }
}

/// A packet as a client sends them when its flow is under way.
fn under_way(packet: &Frame) -> Frame {
    match packet.protocol() {
        6 => Frame::tcp(packet.source, packet.destination, ACK),
        _ => packet.clone(),
    }
}

#[test]
fn what_is_reported_is_what_fits_then() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            scene.lay_anew(way);
            let packet = scene.fresh(under_way(&packet));
            // The third meets no stage.
            for _ in 0..2 {
                let _outer = scene.wrapped(&packet);
            }
            scene.check_room(&packet, usize::from(MTU) - way.overhead());
            let outer = scene.wrapped(&sized(&packet, 1450));
            scene.reported(&outer, 1400);
            let room = 1400 - way.overhead();
            scene.check_room(&packet, room);
            // Other flows, new ones, and those of the other family.
            for other in packets() {
                let other = scene.fresh(other);
                scene.check_room(&other, room);
            }
        }
    }
}

/// Less is learned, more is not; what is configured is never exceeded.
#[test]
fn only_less_is_learned() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay_anew(way);
        let packet = scene.fresh(packets()[1].clone());
        let outer = scene.wrapped(&packet);
        for (mtu, then) in [
            (MTU, MTU),
            (MTU + 1, MTU),
            (9000, MTU),
            (u16::MAX, MTU),
            (1450, 1450),
            (1460, 1450),
            (MTU, 1450),
            (1449, 1449),
            (1400, 1400),
        ] {
            scene.reported(&outer, mtu);
            scene.check_room(&packet, usize::from(then) - way.overhead());
        }
        // What is configured may become less as well.
        scene.lay(way, 1390);
        scene.check_room(&packet, 1390 - way.overhead());
        scene.lay(way, 3000);
        scene.check_room(&packet, 1400 - way.overhead());
    }
}

/// What every host takes always fits; IPv6 routers that report less than all IPv6 links have are not
/// believed.
#[test]
fn the_least() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            for mtu in [1, 68, 575, 1279, 1280] {
                scene.lay_anew(way);
                let packet = scene.fresh(under_way(&packet));
                let outer = scene.wrapped(&packet);
                scene.reported(&outer, mtu);
                let least = if packet.v6() { 1280 } else { 576 };
                let known = if way.v6 && mtu < 1280 { MTU } else { mtu };
                let room = usize::from(known).saturating_sub(way.overhead()).max(least);
                scene.check_room(&packet, room);
            }
        }
    }
}

/// RFC 1191, 5: from before there was a field for it.
#[test]
fn routers_that_report_no_size() {
    let mut scene = scene();
    for way in WAYS.into_iter().filter(|way| !way.v6) {
        scene.lay_anew(way);
        let packet = scene.fresh(packets()[1].clone());
        let outer = scene.wrapped(&sized(&packet, 1480 - 8));
        scene.reported(&outer, 0);
        // 1500 and 1492 bytes.
        let want = if way.kind == Encapsulation::Gue { 1492 } else { 1006 };
        scene.check_room(&packet, want - way.overhead());
    }
}

/// Until something larger is tried.
#[test]
fn reports_get_old_at_the_boundary() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay_anew(way);
        let begin = scene.bench.now().next_multiple_of(UNIT_NS).max(START);
        scene.bench.at(begin);
        let packet = scene.fresh(packets()[1].clone());
        let outer = scene.wrapped(&packet);
        scene.reported(&outer, 1400);
        let end = begin + LIFETIME_NS.next_multiple_of(UNIT_NS);
        for (now, mtu) in [(end - S, 1400), (end - 1, 1400), (end, MTU)] {
            let room = usize::from(mtu) - way.overhead();
            scene.bench.at(now);
            let outcome = scene.bench.send(&sized(&packet, room));
            assert_eq!(outcome.fate(), Event::Forwarded, "{mtu} {outcome}");
            let big = sized(&packet, room + 1);
            check_answer(&scene.bench.send(&big), &as_ip(&big), room);
        }
        // One that comes again counts from then on, and a larger one is not what it was.
        let outer = scene.wrapped(&packet);
        scene.reported(&outer, 1400);
        scene.bench.pass(LIFETIME_NS - S);
        scene.reported(&outer, 1400);
        scene.bench.pass(LIFETIME_NS - 3 * S);
        scene.reported(&outer, 1450);
        scene.check_room(&packet, 1400 - way.overhead());
        scene.bench.pass(2 * S);
        scene.check_room(&packet, usize::from(MTU) - way.overhead());
    }
}

#[test]
fn each_backend_its_own() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay_anew(way);
        let record = scene.bench.record(scene.backend);
        let other = scene.bench.backend(record.pool, "10.0.0.12:0");
        let address = ip(if way.v6 { "fd00::12" } else { "10.0.0.12" });
        scene.bench.change_backend(other, |backend| {
            backend.address = address.into();
            backend.tunnel = way.tunnel(MTU);
        });
        let packet = scene.fresh(packets()[1].clone());
        let outer = scene.wrapped(&packet);
        scene.reported(&outer, 1400);
        for (id, mtu) in [(other, MTU), (scene.backend, 1400)] {
            scene.bench.forget_pins();
            scene.bench.table(record.pool, &[id]);
            let packet = scene.fresh(packets()[1].clone());
            assert_eq!(scene.wrapped(&packet).destination == address, id == other);
            scene.check_room(&packet, usize::from(mtu) - way.overhead());
        }
    }
}

/// Another life of a backend may have another way. So may a backend that gets the number of one
/// that is gone: its generation is another.
#[test]
fn another_life_begins_anew() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay_anew(way);
        let packet = scene.fresh(packets()[1].clone());
        let outer = scene.wrapped(&packet);
        scene.reported(&outer, 1400);
        scene.check_room(&packet, 1400 - way.overhead());
        scene.bench.state(scene.backend, BackendState::Draining);
        scene.check_room(&packet, 1400 - way.overhead());
        scene.bench.back(scene.backend);
        scene.check_room(&packet, usize::from(MTU) - way.overhead());
    }
}

/// As all that the program itself keeps.
#[test]
fn another_program_begins_anew() {
    let mut scene = scene();
    let packet = scene.fresh(packets()[1].clone());
    let outer = scene.wrapped(&packet);
    scene.reported(&outer, 1400);
    scene.check_room(&packet, 1380);
    scene.bench.reload();
    scene.check_room(&packet, 1480);
}

/// Nothing is kept of a SYN, so pin or hash tell where it went.
#[test]
fn about_packets_without_a_flow() {
    let mut scene = scene();
    for way in WAYS {
        for v6 in [false, true] {
            scene.lay_anew(way);
            let syn = scene.fresh(Frame::tcp(client(v6), vip(v6), SYN));
            let outer = scene.wrapped(&syn);
            scene.bench.forget_flows();
            scene.bench.forget_pins();
            scene.reported(&outer, 1400);
            scene.check_room(&syn, 1400 - way.overhead());
        }
    }
}

/// Inner headers may have more than the shortest; the error may have tags.
#[test]
fn options_extension_headers_and_tags() {
    let mut scene = scene();
    for way in WAYS {
        for packet in packets() {
            scene.lay_anew(way);
            let packet = scene.fresh(packet);
            let more = if packet.v6() {
                packet.clone().extensions(&[(0, 8), (60, 24)])
            } else {
                packet.clone().options(&[1; 40])
            };
            let outer = scene.wrapped(&more.payload(&[9; 700]));
            let outcome = scene.report(&error(&outer, 1400).tags(&[(VLAN, 3), (VLAN, 4)]));
            assert_eq!(outcome.events(), [Event::PassPathMtu], "{outcome}");
            scene.check_room(&packet, 1400 - way.overhead());
        }
    }
}

/// The first says which flow it is of; it went by the queue of its datagram.
#[test]
fn about_fragments() {
    let mut scene = scene();
    for way in WAYS {
        for v6 in [false, true] {
            scene.lay_anew(way);
            let packet = scene.fresh(Frame::udp(client(v6), vip(v6)));
            let whole = as_ip(&packet.clone().payload(&[7; 3000]));
            let outer: Vec<Ip> = whole
                .fragments(9, 1400)
                .iter()
                .map(|one| both(&scene.bench.run(&one.build())).0)
                .collect();
            for later in &outer[1..] {
                let outcome = scene.report(&error(later, 1400));
                assert_eq!(outcome.events(), [Event::PassIcmpError], "{outcome}");
            }
            scene.check_room(&packet, usize::from(MTU) - way.overhead());
            scene.reported(&outer[0], 1400);
            scene.check_room(&packet, 1400 - way.overhead());
        }
    }
}

#[test]
fn from_a_prefix() {
    let mut scene = scene();
    for way in WAYS {
        scene.lay_anew(way);
        let [base, bits] =
            if way.v6 { ["fd00:ff::", "::ffff:ffff:ffff"] } else { ["10.9.0.0", "0.0.255.255"] }
                .map(ip);
        scene.bench.change_backend(scene.backend, |backend| {
            backend.tunnel.source = base.into();
            backend.tunnel.spread = bits.into();
            if !way.v6 {
                backend.tunnel.spread.words_be[2] = 0;
            }
        });
        let [packet, other] = [0; 2].map(|_| scene.fresh(packets()[1].clone()));
        let [outer, of_other] = [&packet, &other].map(|packet| scene.wrapped(packet));
        assert_ne!(outer.source, of_other.source);
        // As the other's flow has it: in the prefix, and not its own.
        let foreign = Ip { source: of_other.source, ..outer.clone() };
        let outcome = scene.report(&error(&foreign, 1400));
        assert_eq!(outcome.events(), [Event::PassIcmpError], "{outcome}");
        scene.check_room(&packet, usize::from(MTU) - way.overhead());
        scene.reported(&outer, 1400);
        scene.check_room(&packet, 1400 - way.overhead());
    }
}
