//! Description to bytes.

use super::{Frame, Transport, ip::Ip, sum};

impl Frame {
    /// The packet, every length and checksum right.
    ///
    /// # Panics
    ///
    /// When a length does not fit its field, or the addresses are of two families.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let ip = Ip {
            to: self.to,
            from: self.from,
            tags: self.tags.clone(),
            tos: self.tos,
            label: self.label,
            ttl: self.ttl,
            protocol: self.protocol(),
            source: self.source.ip(),
            destination: self.destination.ip(),
            options: self.options.clone(),
            extensions: self.extensions.clone(),
            payload: self.segment(),
            trailer: self.trailer.clone(),
        };
        ip.build()
    }

    /// IP's number of the protocol.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
        }
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

pub(super) fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("at most 65535 bytes").to_be_bytes()
}

/// Writes the checksum of the IPv4 header that begins at `l3` anew.
pub fn fix_ip_checksum(bytes: &mut [u8], l3: usize) {
    let end = l3 + usize::from(bytes[l3] & 15) * 4;
    bytes[l3 + 10..l3 + 12].fill(0);
    let check = sum::internet(&[&bytes[l3..end.min(bytes.len())]]);
    bytes[l3 + 10..l3 + 12].copy_from_slice(&check.to_be_bytes());
}
