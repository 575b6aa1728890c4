//! The scene that most tests of single packets share.

use std::net::SocketAddr;

use lb_common::layout::{Forward, Protocol};

use crate::{
    bench::{Bench, S, socket},
    packet::Frame,
};

/// The IPv4 address of the listeners.
pub const VIP_V4: &str = "203.0.113.10";
/// The IPv6 address of the listeners.
pub const VIP_V6: &str = "[2001:db8:f::10]";
/// An IPv4 client.
pub const CLIENT_V4: &str = "192.0.2.1:40000";
/// An IPv6 client.
pub const CLIENT_V6: &str = "[2001:db8:1::1]:40000";

/// All four pools, by mode and family.
pub const WAYS: [(Forward, bool); 4] =
    [(Forward::Nat, false), (Forward::Nat, true), (Forward::Dsr, false), (Forward::Dsr, true)];

/// A pool of one backend for each mode and family, TCP and UDP listeners before each: at port 80
/// for `nat`, at 81 for `dsr`; pins last a minute.
#[must_use]
pub fn site() -> Bench {
    fill(Bench::new())
}

/// The same in an empty scene.
#[must_use]
pub fn fill(mut bench: Bench) -> Bench {
    for (forward, v6) in WAYS {
        let pool = bench.pool(forward);
        let id = bench.backend(pool, if v6 { "[fd00::11]:8080" } else { "10.0.0.11:8080" });
        bench.table(pool, &[id]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let _key = bench.listener(protocol, &vip(forward, v6).to_string(), pool, 60 * S);
        }
    }
    bench
}

/// The backend of that pool of [`site`].
///
/// # Panics
///
/// Never: all pools are there.
#[must_use]
pub fn backend_of(forward: Forward, v6: bool) -> u32 {
    let index = WAYS.iter().position(|way| *way == (forward, v6)).expect("one of all");
    u32::try_from(index).expect("a few") + 1
}

/// The listeners' address before that pool of [`site`].
#[must_use]
pub fn vip(forward: Forward, v6: bool) -> SocketAddr {
    let port = if forward == Forward::Nat { 80 } else { 81 };
    socket(&format!("{}:{port}", if v6 { VIP_V6 } else { VIP_V4 }))
}

/// A client of that family.
#[must_use]
pub fn client(v6: bool) -> SocketAddr {
    socket(if v6 { CLIENT_V6 } else { CLIENT_V4 })
}

/// A TCP segment with these flags to that pool of [`site`].
#[must_use]
pub fn tcp(forward: Forward, v6: bool, flags: u8) -> Frame {
    Frame::tcp(client(v6), vip(forward, v6), flags)
}

/// A UDP datagram to that pool of [`site`].
#[must_use]
pub fn udp(forward: Forward, v6: bool) -> Frame {
    Frame::udp(client(v6), vip(forward, v6))
}
