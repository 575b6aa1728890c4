//! Tunnels in the model: what fits into one, what routers in it have reported, and how often senders
//! are told.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    mtu::{LIFETIME_NS, UNIT_NS},
    select::client_hash,
};
use tests::bench::{S, SEED};

use crate::model::{Fate, Five, Model, masked};

/// The way to a backend behind a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) gue: bool,
    /// The outer source address.
    pub(crate) source: &'static str,
    /// How many bits of that each flow fills.
    pub(crate) spread: u32,
    /// As configured.
    pub(crate) mtu: u16,
}

/// What a router has reported of the way to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    generation: u32,
    mtu: u16,
    /// To the unit.
    at: u64,
}

impl Report {
    /// When it is forgotten.
    pub(crate) fn end(&self) -> u64 {
        self.at + LIFETIME_NS.next_multiple_of(UNIT_NS)
    }
}

/// Bytes of a packet from its IP header on.
pub(crate) fn length(to: SocketAddr, tcp: bool, payload: u16) -> u16 {
    payload + if to.is_ipv6() { 40 } else { 20 } + if tcp { 20 } else { 8 }
}

impl Model {
    /// The MTU that is known of the way to a backend.
    fn mtu(&self, id: u32) -> Option<u16> {
        let tunnel = self.members[&id].tunnel?;
        let report = self.reports.get(&id).filter(|report| {
            report.generation == self.members[&id].generation && self.now < report.end()
        });
        Some(report.map_or(tunnel.mtu, |report| report.mtu.min(tunnel.mtu)))
    }

    /// The largest packet of a family that fits into the tunnel to a backend.
    pub(crate) fn room(&self, id: u32, v6: bool) -> Option<u16> {
        let member = &self.members[&id];
        let ip = if member.address.is_ipv6() { 40 } else { 20 };
        let gue = if member.tunnel?.gue { 8 } else { 0 };
        Some(self.mtu(id)?.saturating_sub(ip + gue).max(if v6 { 1280 } else { 576 }))
    }

    /// What becomes of a packet of `five` that is too big for the tunnel to that backend.
    pub(crate) fn too_big(&mut self, five: Five, id: u32, payload: u16) -> Option<Fate> {
        let listener = &self.listeners[five.1];
        let room = self.room(id, listener.address.is_ipv6())?;
        if length(listener.address, listener.tcp, payload) <= room {
            return None;
        }
        // Eight at once, then eight a second, of each client; in IPv6 of each /64.
        let client = masked(five.0.ip(), if five.0.is_ipv6() { 64 } else { 32 });
        let bucket = self.told.entry(client_hash(SEED, client.into()) % 4096).or_default();
        let waits = bucket.saturating_sub(self.now) + S / 8;
        if waits > S {
            return Some(Fate::TooOften);
        }
        *bucket = self.now + waits;
        Some(Fate::TooBig(room))
    }

    /// A router in the tunnel to the backend at `to` reports that a packet of `five` was too big.
    /// Was it on its way there?
    pub(crate) fn report(&mut self, five: Five, to: IpAddr, mtu: u16) -> bool {
        let flow = self.flows.get(&five).filter(|flow| {
            self.tick() - flow.seen < flow.stage.idle()
                && self.members[&flow.life.0].takes_flows(flow.life.1)
        });
        let life = flow.map(|flow| flow.life).or_else(|| self.choose(five));
        let Some((id, _)) = life.filter(|(id, _)| self.members[id].address.ip() == to) else {
            return false;
        };
        let known = self.mtu(id).expect("a tunnel");
        let least = if to.is_ipv6() { 1280 } else { 1 };
        if mtu >= least && mtu <= known && mtu < self.members[&id].tunnel.expect("a tunnel").mtu {
            let (generation, at) = (self.members[&id].generation, self.now - self.now % UNIT_NS);
            let _old = self.reports.insert(id, Report { generation, mtu, at });
        }
        true
    }
}
