//! A pool with a backend behind a tunnel, and listeners of both families before it.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    layout::{Encapsulation, Forward, Protocol, Tunnel},
};
use tests::{
    bench::{Bench, S, hop, site, socket},
    outcome::Outcome,
    packet::{
        Frame,
        ip::{Ip, ParsedIp},
        tunnel::{GUE_PORT, unwrap},
    },
};

/// The outer addresses, where no prefix is spread.
pub(crate) const OUTER_V4: [&str; 2] = ["10.0.0.1", "10.0.0.11"];
pub(crate) const OUTER_V6: [&str; 2] = ["fd00::1", "fd00::11"];

/// A tunnel of that kind; `v6`: its outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) kind: Encapsulation,
    pub(crate) v6: bool,
}

pub(crate) const WAYS: [Way; 4] = [
    Way { kind: Encapsulation::IpIp, v6: false },
    Way { kind: Encapsulation::IpIp, v6: true },
    Way { kind: Encapsulation::Gue, v6: false },
    Way { kind: Encapsulation::Gue, v6: true },
];

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Way {
    pub(crate) fn outer(self) -> [IpAddr; 2] {
        if self.v6 { OUTER_V6 } else { OUTER_V4 }.map(ip)
    }

    /// Bytes that it adds.
    pub(crate) fn overhead(self) -> usize {
        let ip = if self.v6 { 40 } else { 20 };
        ip + if self.kind == Encapsulation::Gue { 8 } else { 0 }
    }

    pub(crate) fn tunnel(self, mtu: u16) -> Tunnel {
        Tunnel {
            source: self.outer()[0].into(),
            spread: Address::default(),
            mtu,
            port_be: GUE_PORT.to_be(),
            kind: self.kind.code(),
            pad: [0; 3],
        }
    }
}

pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) backend: u32,
    next_client: u16,
}

/// The listeners' addresses.
pub(crate) fn vip(v6: bool) -> std::net::SocketAddr {
    let vip = if v6 { site::VIP_V6 } else { site::VIP_V4 };
    socket(&format!("{vip}:82"))
}

pub(crate) fn scene() -> Scene {
    let mut bench = Bench::new();
    let pool = bench.pool(Forward::Tunnel);
    let backend = bench.backend(pool, "10.0.0.11:0");
    bench.table(pool, &[backend]);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for v6 in [false, true] {
            let _key = bench.listener(protocol, &vip(v6).to_string(), pool, 60 * S);
        }
    }
    let mut scene = Scene { bench, backend, next_client: 30_000 };
    scene.lay(WAYS[0], 1500);
    scene
}

impl Scene {
    /// Another tunnel in the place of the backend's.
    pub(crate) fn lay(&mut self, way: Way, mtu: u16) {
        self.bench.change_backend(self.backend, |backend| {
            backend.address = way.outer()[1].into();
            backend.tunnel = way.tunnel(mtu);
            backend.hop = hop(1, 1, &[]);
        });
    }

    /// The same packet from a client port that was not used before.
    pub(crate) fn fresh(&mut self, mut packet: Frame) -> Frame {
        self.next_client += 1;
        packet.source.set_port(self.next_client);
        packet
    }
}

/// A packet of each protocol and family.
pub(crate) fn packets() -> Vec<Frame> {
    [false, true]
        .into_iter()
        .flat_map(|v6| {
            let (client, vip) = (site::client(v6), vip(v6));
            [Frame::tcp(client, vip, tests::packet::SYN), Frame::udp(client, vip)]
        })
        .collect()
}

/// So many bytes that are not all alike.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..=250).map(|byte: u8| byte.wrapping_mul(7)).cycle().take(len).collect()
}

/// The packet sent, and the one in it, which is a good one.
#[track_caller]
pub(crate) fn both(outcome: &Outcome) -> (Ip, Ip) {
    let outer = outcome.ip();
    let ParsedIp { ip: inner, sum_right } =
        unwrap(&outer).unwrap_or_else(|| panic!("no tunnel: {outcome}"));
    assert!(sum_right, "{outcome}");
    (outer, inner)
}
