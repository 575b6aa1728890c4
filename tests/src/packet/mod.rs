//! Packets as a test describes them, their bytes, and back again.
//!
//! [`Frame::build`] makes bytes, [`parse`] reads them and says of every checksum whether it is
//! right; `ip` and `icmp` do so for fragments and for ICMP. Neither shares code with what is tested.

mod build;
pub mod icmp;
pub mod ip;
mod parse;
mod rest;
pub mod sum;
pub mod tunnel;

use std::{fmt, net::SocketAddr};

pub use build::fix_ip_checksum;
pub use parse::{Parsed, parse};

/// TCP flags.
pub const FIN: u8 = 1;
/// TCP flags.
pub const SYN: u8 = 2;
/// TCP flags.
pub const RST: u8 = 4;
/// TCP flags.
pub const PSH: u8 = 8;
/// TCP flags.
pub const ACK: u8 = 16;

/// MAC of the client, or of the router before it.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// MAC of the balancer.
pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Ethernet's 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// Ethernet's 802.1ad tag.
pub const QINQ: u16 = 0x88a8;

/// What follows IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Flags.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// Window.
        window: u16,
        /// Options, a multiple of four bytes, at most 40.
        options: Vec<u8>,
    },
    /// UDP.
    Udp {
        /// It carries a checksum.
        checksum: bool,
    },
}

/// A TCP or UDP packet on an Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// VLAN tags, outer first: TPID and TCI.
    pub tags: Vec<(u16, u16)>,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// IPv4: identification and flags. IPv6: the flow label.
    pub label: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// IPv4 options: a multiple of four bytes, at most 40.
    pub options: Vec<u8>,
    /// IPv6 extension headers: kind, and what stands after the first two bytes: 6, 14, ... bytes.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// TCP or UDP.
    pub transport: Transport,
    /// Payload.
    pub payload: Vec<u8>,
    /// Bytes after the end that UDP's length says, within what IP's says.
    pub surplus: Vec<u8>,
    /// Bytes after the end that IP's length says.
    pub trailer: Vec<u8>,
}

impl Frame {
    fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
        Self {
            to: BALANCER_MAC,
            from: CLIENT_MAC,
            tags: Vec::new(),
            tos: 0x28,
            label: if source.is_ipv4() { 0x1234_4000 } else { 0x5_6789 },
            ttl: 64,
            source,
            destination,
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            payload: Vec::new(),
            surplus: Vec::new(),
            trailer: Vec::new(),
        }
    }

    /// A TCP segment with these flags.
    #[must_use]
    pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        let transport = Transport::Tcp {
            flags,
            sequence: 0x1122_3344,
            acknowledgement: if flags & ACK == 0 { 0 } else { 0x5566_7788 },
            window: 0xfaf0,
            options: Vec::new(),
        };
        Self::new(source, destination, transport)
    }

    /// Its flags, if it is TCP.
    #[must_use]
    pub fn flags(&self) -> Option<u8> {
        match &self.transport {
            Transport::Tcp { flags, .. } => Some(*flags),
            Transport::Udp { .. } => None,
        }
    }

    /// The same with these TCP flags.
    #[must_use]
    pub fn flagged(&self, with: u8) -> Self {
        let mut frame = self.clone();
        if let Transport::Tcp { flags, .. } = &mut frame.transport {
            *flags = with;
        }
        frame
    }

    /// A UDP datagram of five bytes.
    #[must_use]
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(source, destination, Transport::Udp { checksum: true }).payload(b"hello")
    }

    /// With that payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With these VLAN tags.
    #[must_use]
    pub fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// With these IPv4 options.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// With these IPv6 extension headers, each of `bytes` bytes.
    #[must_use]
    pub fn extensions(mut self, headers: &[(u8, usize)]) -> Self {
        // PadN fills an options header (RFC 8200, 4.2); to a routing header it is a type that is
        // not known, with no segments left.
        let body = |bytes: usize| {
            let mut body = vec![0; bytes - 2];
            body[0] = 1;
            body[1] = u8::try_from(bytes - 4).unwrap_or(u8::MAX);
            body
        };
        // A routing header has been to all its addresses: no segments left.
        let filled = |kind: u8, bytes: usize| match kind {
            43 => vec![0; bytes - 2],
            _ => body(bytes),
        };
        self.extensions =
            headers.iter().map(|(kind, bytes)| (*kind, filled(*kind, *bytes))).collect();
        self
    }

    /// With other TCP options.
    ///
    /// # Panics
    ///
    /// When it is no TCP segment.
    #[must_use]
    pub fn tcp_options(mut self, wanted: &[u8]) -> Self {
        match &mut self.transport {
            Transport::Tcp { options, .. } => *options = wanted.to_vec(),
            Transport::Udp { .. } => panic!("UDP has no options"),
        }
        self
    }

    /// Without a UDP checksum.
    #[must_use]
    pub fn no_checksum(mut self) -> Self {
        self.transport = Transport::Udp { checksum: false };
        self
    }

    /// With that TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The answer's addresses, ports and MACs.
    #[must_use]
    pub fn turned(mut self) -> Self {
        std::mem::swap(&mut self.to, &mut self.from);
        std::mem::swap(&mut self.source, &mut self.destination);
        self
    }

    /// Is it IPv6?
    #[must_use]
    pub fn v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Where the IP header begins.
    #[must_use]
    pub fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Where the TCP or UDP header begins.
    #[must_use]
    pub fn l4(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, body)| body.len() + 2).sum();
        self.l3() + if self.v6() { 40 + extensions } else { 20 + self.options.len() }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tpid, tci) in &self.tags {
            write!(f, "tag {tpid:04x}:{tci:04x} ")?;
        }
        write!(f, "{} > {} ttl {}", self.source, self.destination, self.ttl)?;
        if !self.options.is_empty() {
            write!(f, " ip options {} bytes", self.options.len())?;
        }
        for (kind, body) in &self.extensions {
            write!(f, " extension {kind} {} bytes", body.len() + 2)?;
        }
        match &self.transport {
            Transport::Tcp { flags, sequence, acknowledgement, options, .. } => write!(
                f,
                " tcp {} seq {sequence} ack {acknowledgement} options {}",
                flag_names(*flags),
                options.len()
            )?,
            Transport::Udp { checksum } => {
                write!(f, " udp{}", if *checksum { "" } else { " no checksum" })?;
            }
        }
        write!(f, " payload {}", self.payload.len())?;
        let mac = |mac: &[u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        write!(f, " [{} > {}]", mac(&self.from), mac(&self.to))
    }
}

/// `SYN+ACK` and the like.
#[must_use]
pub fn flag_names(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = names.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0);
    let set: Vec<_> = set.map(|(_, name)| *name).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join("+") }
}
