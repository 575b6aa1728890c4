//! A pool of two backends, and a client with flows under way.

use std::net::SocketAddr;

use lb_common::layout::{BackendState, Forward, Protocol, VipKey};
use tests::{
    bench::{Bench, S, socket},
    packet::{ACK, Frame, SYN},
};

pub(crate) const VIP: [&str; 2] = ["203.0.113.10:80", "[2001:db8:f::10]:80"];
pub(crate) const CLIENT: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];

/// One client with a TCP flow under way and a UDP flow, both on A and pinned; the table is all B.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) pool: u32,
    pub(crate) keys: [VipKey; 2],
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) v6: bool,
    pub(crate) port: u16,
}

pub(crate) fn scene(forward: Forward, v6: bool) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(forward);
    let [a, b] = if v6 { ["[fd00::11]:0", "[fd00::12]:0"] } else { ["10.0.0.11:0", "10.0.0.12:0"] }
        .map(|address| bench.backend(pool, address));
    let keys = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| bench.listener(protocol, VIP[usize::from(v6)], pool, 60 * S));
    let mut scene = Scene { bench, pool, keys, a, b, v6, port: 1000 };
    scene.again();
    scene
}

impl Scene {
    pub(crate) fn again(&mut self) {
        self.bench.reset();
        let (a, b) = (self.a, self.b);
        for id in [a, b] {
            self.bench.change_backend(id, |backend| {
                backend.state = BackendState::Ready.code();
                backend.generation = 1;
                backend.flows_since = 1;
                backend.flags = 0;
            });
        }
        self.bench.table(self.pool, &[a]);
        assert_eq!(self.begin(1), [a; 2]);
        self.bench.table(self.pool, &[b]);
    }

    /// A TCP segment from that port of the client's.
    pub(crate) fn segment(&self, port: u16, flags: u8) -> Frame {
        Frame::tcp(self.client(port), socket(VIP[usize::from(self.v6)]), flags)
    }

    /// A UDP datagram likewise.
    pub(crate) fn datagram(&self, port: u16) -> Frame {
        Frame::udp(self.client(port), socket(VIP[usize::from(self.v6)]))
    }

    pub(crate) fn client(&self, port: u16) -> SocketAddr {
        (CLIENT[usize::from(self.v6)].parse::<std::net::IpAddr>().expect("an address"), port).into()
    }

    /// The backend that the packet gets.
    pub(crate) fn to(&mut self, packet: &Frame) -> u32 {
        let outcome = self.bench.send(packet);
        self.bench.chosen(&outcome)
    }

    /// The backends that a new TCP flow and a new UDP flow of the pinned client get.
    pub(crate) fn new_flows(&mut self) -> [u32; 2] {
        self.port += 1;
        self.begin(self.port)
    }

    /// A TCP flow and a UDP flow from that port, as far as it takes to be pinned: their backends.
    fn begin(&mut self, port: u16) -> [u32; 2] {
        let (syn, ack) = (self.segment(port, SYN), self.segment(port, ACK));
        let datagram = self.datagram(port);
        [vec![syn, ack.clone(), ack], vec![datagram.clone(), datagram]].map(|packets| {
            let backends: Vec<u32> = packets.iter().map(|packet| self.to(packet)).collect();
            assert!(backends.iter().all(|id| *id == backends[0]), "one backend: {backends:?}");
            backends[0]
        })
    }

    /// A new client's.
    pub(crate) fn new_client(&mut self) -> u32 {
        let mut packet = self.segment(7, SYN);
        let other = if self.v6 { "2001:db8:2::2" } else { "198.51.100.2" };
        packet.source.set_ip(other.parse().expect("an address"));
        self.to(&packet)
    }
}

pub(crate) const SHAPES: [(Forward, bool); 4] =
    [(Forward::Dsr, false), (Forward::Dsr, true), (Forward::Nat, false), (Forward::Nat, true)];
