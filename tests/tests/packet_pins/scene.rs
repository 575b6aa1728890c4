//! A pool of two backends, and a client pinned to one of them.

use std::net::SocketAddr;

use lb_common::{
    layout::{Forward, Protocol, VipKey},
    pin::refresh_step_ns,
};
use tests::{
    bench::{Bench, S, socket},
    packet::{ACK, Frame, SYN},
};

pub(crate) const VIP: &str = "203.0.113.10:80";
pub(crate) const VIP_V6: &str = "[2001:db8:f::10]:80";

/// Two backends, a TCP and a UDP listener; the table is all A.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) pool: u32,
    pub(crate) tcp: VipKey,
    pub(crate) udp: VipKey,
    pub(crate) a: u32,
    pub(crate) b: u32,
    /// Source port of the next new flow.
    pub(crate) port: u16,
}

pub(crate) fn scene(timeout_ns: u64) -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Dsr);
    let a = bench.backend(pool, "10.0.0.11:0");
    let b = bench.backend(pool, "10.0.0.12:0");
    bench.table(pool, &[a]);
    let tcp = bench.listener(Protocol::Tcp, VIP, pool, timeout_ns);
    let udp = bench.listener(Protocol::Udp, VIP, pool, timeout_ns);
    Scene { bench, pool, tcp, udp, a, b, port: 1000 }
}

impl Scene {
    /// A new TCP flow from there, as far as it takes to be pinned: the backend that it gets.
    pub(crate) fn connect(&mut self, client: &str) -> u32 {
        let packet = self.syn(client);
        self.open(&packet)
    }

    /// The first packets of the flow that begins with this SYN: the backend that all of them get.
    pub(crate) fn open(&mut self, syn: &Frame) -> u32 {
        let mut backends = [syn.clone(), syn.flagged(ACK), syn.flagged(ACK)].map(|packet| {
            let outcome = self.bench.send(&packet);
            self.bench.chosen(&outcome)
        });
        backends.sort_unstable();
        assert_eq!(backends[0], backends[2], "one backend for all");
        backends[0]
    }

    /// The first packet of a new TCP flow.
    pub(crate) fn syn(&mut self, client: &str) -> Frame {
        self.port += 1;
        let client = SocketAddr::new(client.parse().expect("an address"), self.port);
        Frame::tcp(client, socket(if client.is_ipv4() { VIP } else { VIP_V6 }), SYN)
    }

    /// A packet of a new TCP flow from there that has been sent so often that its client is pinned.
    pub(crate) fn pinning(&mut self, client: &str) -> Frame {
        let packet = self.syn(client).flagged(ACK);
        for _ in 0..2 {
            let _outcome = self.bench.send(&packet);
        }
        packet
    }

    /// A new UDP flow from there: the backend that it gets.
    pub(crate) fn datagram(&mut self, client: &str) -> u32 {
        self.port += 1;
        let client = SocketAddr::new(client.parse().expect("an address"), self.port);
        let datagram = Frame::udp(client, socket(VIP));
        let [first, second] = [(); 2].map(|()| {
            let outcome = self.bench.send(&datagram);
            self.bench.chosen(&outcome)
        });
        assert_eq!(first, second);
        first
    }

    /// A client pinned to A, and the table all B.
    pub(crate) fn pinned(timeout_ns: u64) -> Self {
        let mut scene = scene(timeout_ns);
        assert_eq!(scene.connect("192.0.2.1"), scene.a);
        scene.table_to_b();
        scene
    }

    /// The same over again: a client pinned to A, the table all B, by these listeners' timeout.
    pub(crate) fn pin_again(&mut self, timeout_ns: u64) {
        self.bench.reset();
        let a = self.a;
        self.bench.table(self.pool, &[a]);
        let key = self.tcp;
        self.bench.change_vip(key, |vip| {
            vip.timeout_ns = timeout_ns;
            vip.refresh_ns = refresh_step_ns(timeout_ns);
        });
        assert_eq!(self.connect("192.0.2.1"), a);
        self.table_to_b();
    }

    pub(crate) fn table_to_b(&mut self) {
        self.bench.table(self.pool, &[self.b]);
    }
}

pub(crate) const TIMEOUTS: [u64; 6] = [S, 2 * S, 4 * S, 60 * S, 1800 * S, 3600 * S];
