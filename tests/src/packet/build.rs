//! Description to bytes.

use std::net::SocketAddr;

use super::{Frame, Transport, sum};

impl Frame {
    /// The packet, every length and checksum right.
    ///
    /// # Panics
    ///
    /// When a length does not fit its field, or the addresses are of two families.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut bytes = self.link();
        match (self.source, self.destination) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let l3 = bytes.len();
                let words = 5 + self.options.len() / 4;
                bytes.extend([0x40 | u8::try_from(words).expect("at most 15 words"), self.tos]);
                bytes.extend(length(words * 4 + segment.len()));
                bytes.extend(self.label.to_be_bytes());
                bytes.extend([self.ttl, self.protocol(), 0, 0]);
                bytes.extend(from.ip().octets());
                bytes.extend(to.ip().octets());
                bytes.extend(&self.options);
                fix_ip_checksum(&mut bytes, l3);
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let extensions = self.chain();
                let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
                bytes.extend(first.to_be_bytes());
                bytes.extend(length(extensions.len() + segment.len()));
                bytes.extend([self.next_headers()[0], self.ttl]);
                bytes.extend(from.ip().octets());
                bytes.extend(to.ip().octets());
                bytes.extend(extensions);
            }
            _ => panic!("two families"),
        }
        bytes.extend(segment);
        bytes.extend(&self.trailer);
        bytes
    }

    /// IP's number of the protocol.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
        }
    }

    fn link(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (tpid, tci) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        let ether_type: u16 = if self.v6() { 0x86dd } else { 0x0800 };
        bytes.extend(ether_type.to_be_bytes());
        bytes
    }

    /// What each header names as the next: the IPv6 header first, then the extension headers.
    fn next_headers(&self) -> Vec<u8> {
        self.extensions.iter().map(|(kind, _)| *kind).chain([self.protocol()]).collect()
    }

    fn chain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ((_, body), next) in self.extensions.iter().zip(&self.next_headers()[1..]) {
            assert_eq!((body.len() + 2) % 8, 0, "a multiple of eight");
            bytes.extend([*next, u8::try_from((body.len() + 2) / 8 - 1).expect("short")]);
            bytes.extend(body);
        }
        bytes
    }

    fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        match &self.transport {
            Transport::Tcp { flags, sequence, acknowledgement, window, options } => {
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                let words = u8::try_from(5 + options.len() / 4).expect("at most 15 words");
                bytes.extend([words << 4, *flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(options);
                bytes.extend(&self.payload);
                let check = self.checksum(&bytes);
                bytes[16..18].copy_from_slice(&check.to_be_bytes());
            }
            Transport::Udp { checksum } => {
                bytes.extend(length(8 + self.payload.len()));
                bytes.extend([0; 2]);
                bytes.extend(&self.payload);
                if *checksum {
                    let check = self.checksum(&bytes);
                    let check = if check == 0 { 0xffff } else { check };
                    bytes[6..8].copy_from_slice(&check.to_be_bytes());
                }
            }
        }
        bytes.extend(&self.surplus);
        bytes
    }

    fn checksum(&self, segment: &[u8]) -> u16 {
        sum::transport(self.source.ip(), self.destination.ip(), self.protocol(), segment)
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("at most 65535 bytes").to_be_bytes()
}

/// Writes the checksum of the IPv4 header that begins at `l3` anew.
pub fn fix_ip_checksum(bytes: &mut [u8], l3: usize) {
    let end = l3 + usize::from(bytes[l3] & 15) * 4;
    bytes[l3 + 10..l3 + 12].fill(0);
    let check = sum::internet(&[&bytes[l3..end.min(bytes.len())]]);
    bytes[l3 + 10..l3 + 12].copy_from_slice(&check.to_be_bytes());
}
