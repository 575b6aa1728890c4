//! The packets of a measurement: which flows, in which order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::draw::{Draw, LONG, SHORT, WORDS};
use crate::packet::{Frame, Transport};

/// The first client's address: 100.64.0.0/10 (RFC 6598) holds four million.
const CLIENTS_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// A client's first port.
const PORT: u16 = 20_000;

/// So far is the second packet of a flow from its first, where it has two: a handshake's last
/// acknowledgement is followed by a request, while others come in between.
const APART: u32 = 32;

/// Flows, and how they are drawn.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub(super) draw: Draw,
}

impl Traffic {
    /// TCP segments with these flags.
    #[must_use]
    pub fn tcp(to: SocketAddr, flags: u8) -> Self {
        Self::of(Frame::tcp(client(to), to, flags))
    }

    /// UDP datagrams.
    #[must_use]
    pub fn udp(to: SocketAddr) -> Self {
        Self::of(Frame::udp(client(to), to))
    }

    /// Of so many flows, `2^per_client` of each client, at random.
    #[must_use]
    pub fn flows(mut self, flows: u32, per_client: u32) -> Self {
        self.draw.flows = flows;
        self.draw.client_shift = per_client;
        self
    }

    /// The same flows, one after another.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.draw.step = 1;
        self
    }

    /// Each of the same flows, as if shuffled: what lies together in memory, since it was made
    /// one after another, is not met so.
    ///
    /// # Panics
    ///
    /// Never: the last step has no common divisor.
    #[must_use]
    pub fn shuffled(mut self) -> Self {
        let flows = self.draw.flows;
        // From the golden section on, the first step that comes by all of them.
        let steps = (flows.saturating_mul(5) / 8).max(1)..;
        let around = steps.into_iter().find(|step| common(flows, *step) == 1);
        self.draw.step = around.expect("one with no common divisor") % flows.max(2);
        self
    }

    /// One after another, from that number on: flows that have not been seen.
    #[must_use]
    pub fn from(mut self, first: u32, flows: u32) -> Self {
        self.draw.first = first;
        self.draw.flows = flows;
        self.in_order()
    }

    /// The same flows in order, a multiple of 32, with two packets of each.
    #[must_use]
    pub fn twice(mut self) -> Self {
        self.draw.apart = APART;
        self.in_order()
    }

    /// The same for a program that changes a packet's length: what the driver does to bring it back
    /// it does for everything that is compared.
    #[must_use]
    pub fn resized(mut self) -> Self {
        self.draw.resized = 1;
        self
    }

    /// How many flows there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.draw.flows
    }

    /// Flows of which that frame is the first one's, without its payload.
    ///
    /// # Panics
    ///
    /// When it is longer than the drivers write.
    #[must_use]
    pub fn of(frame: Frame) -> Self {
        let (v6, l4) = (frame.v6(), frame.l4());
        let (bytes, address_at) = if v6 { (LONG, 34) } else { (SHORT, 26) };
        let (header, l4_sum_at) = match frame.transport {
            Transport::Tcp { .. } => (20, l4 + 16),
            Transport::Udp { .. } => (8, l4 + 6),
        };
        let frame = frame.payload(&vec![0x5a; bytes as usize - l4 - header]);
        let built = frame.build();
        let word = |at: usize| u16::from_be_bytes([built[at], built[at + 1]]);
        let mut packet = [0; WORDS];
        for (word, bytes) in packet.iter_mut().zip(built.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        }
        let at = |place: usize| u32::try_from(place).expect("within a packet");
        let address = &built[address_at..address_at + 4];
        let draw = Draw {
            packet,
            bytes,
            flows: 1,
            first: 0,
            step: 0,
            client_shift: 0,
            address: u32::from_be_bytes(address.try_into().expect("four bytes")),
            port: frame.source.port().into(),
            ip_sum: if v6 { 0 } else { word(24).into() },
            l4_sum: word(l4_sum_at).into(),
            address_at: at(address_at),
            port_at: at(l4),
            ip_sum_at: if v6 { 0 } else { 24 },
            l4_sum_at: at(l4_sum_at),
            resized: 0,
            apart: 0,
            pad: 0,
        };
        Self { draw }
    }

    /// The packet of flow 0.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let bytes = self.draw.packet.iter().flat_map(|word| word.to_ne_bytes());
        bytes.take(self.draw.bytes as usize).collect()
    }

    /// Who sends the packets of that flow.
    ///
    /// # Panics
    ///
    /// Never: ports were checked.
    #[must_use]
    pub fn source(&self, number: u32) -> SocketAddr {
        let client = number >> self.draw.client_shift;
        let port = self.draw.port + (number & ((1 << self.draw.client_shift) - 1));
        let address: IpAddr = if self.draw.ip_sum_at == 0 {
            Ipv6Addr::from(u128::from(CLIENTS_V6) + u128::from(client)).into()
        } else {
            Ipv4Addr::from(self.draw.address + client).into()
        };
        SocketAddr::new(address, u16::try_from(port).expect("a port"))
    }
}

/// The greatest common divisor: Euclid.
fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

/// Flow 0's client.
fn client(to: SocketAddr) -> SocketAddr {
    let address = if to.is_ipv4() { CLIENTS_V4.into() } else { CLIENTS_V6.into() };
    SocketAddr::new(address, PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_comes_by_all() {
        for flows in [1, 2, 3, 8, 10, 1 << 16, 1_000_000] {
            let to = "203.0.113.10:80".parse().expect("an address");
            let step = Traffic::udp(to).flows(flows, 0).shuffled().draw.step;
            assert!(step > 0 && (step < flows || flows == 1), "{flows}: {step}");
            assert_eq!(common(flows, step), 1, "{flows}: {step}");
        }
    }
}
