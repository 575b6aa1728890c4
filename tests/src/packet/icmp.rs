//! ICMP and `ICMPv6` messages.

use std::net::IpAddr;

use super::{Frame, ip::Ip, rest::Rest, sum};

/// An ICMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes after the checksum: an MTU, or identifier and sequence number.
    pub rest: [u8; 4],
    /// What follows: of an error the quoted packet.
    pub body: Vec<u8>,
}

/// A message that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedMessage {
    /// What it is.
    pub message: Message,
    /// Its checksum is right.
    pub sum_right: bool,
}

/// IP's number of ICMP in that family.
#[must_use]
pub const fn protocol(v6: bool) -> u8 {
    if v6 { 58 } else { 1 }
}

impl Message {
    /// In an IP packet, with its checksum.
    #[must_use]
    pub fn packet(&self, source: IpAddr, destination: IpAddr) -> Ip {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend(self.rest);
        bytes.extend(&self.body);
        let check = checksum(source, destination, &bytes).to_be_bytes();
        bytes[2..4].copy_from_slice(&check);
        Ip::new(source, destination, protocol(source.is_ipv6()), &bytes)
    }

    /// "Fragmentation needed" or "packet too big", with that MTU, about a packet of which `quoted`
    /// bytes from its IP header on are quoted.
    #[must_use]
    pub fn too_big(about: &Ip, mtu: u16, quoted: usize) -> Self {
        let [high, low] = mtu.to_be_bytes();
        let (kind, code) = if about.source.is_ipv6() { (2, 0) } else { (3, 4) };
        Self { kind, code, rest: [0, 0, high, low], body: quote(about, quoted) }
    }

    /// "Port unreachable", about a packet of which `quoted` bytes are quoted.
    #[must_use]
    pub fn unreachable(about: &Ip, quoted: usize) -> Self {
        let (kind, code) = if about.source.is_ipv6() { (1, 4) } else { (3, 3) };
        Self { kind, code, rest: [0; 4], body: quote(about, quoted) }
    }

    /// An echo request.
    #[must_use]
    pub fn echo(v6: bool, body: &[u8]) -> Self {
        let kind = if v6 { 128 } else { 8 };
        Self { kind, code: 0, rest: [0x12, 0x34, 0, 1], body: body.to_vec() }
    }
}

/// A packet from its IP header on, at most that many bytes.
fn quote(about: &Ip, bytes: usize) -> Vec<u8> {
    let l3 = 14 + 4 * about.tags.len();
    let mut quoted = about.build().split_off(l3);
    quoted.truncate(bytes);
    quoted
}

/// A TCP or UDP packet as an IP packet.
///
/// # Panics
///
/// Never: what a frame builds is a packet.
#[must_use]
pub fn as_ip(frame: &Frame) -> Ip {
    super::ip::parse(&frame.build()).expect("a packet").ip
}

fn checksum(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> u16 {
    if source.is_ipv6() {
        sum::transport(source, destination, protocol(true), bytes)
    } else {
        sum::internet(&[bytes])
    }
}

/// Reads the message in a packet; the error says what is wrong with it.
pub fn parse(ip: &Ip) -> Result<ParsedMessage, String> {
    if ip.protocol != protocol(ip.source.is_ipv6()) {
        return Err(format!("protocol {}", ip.protocol));
    }
    let mut rest = Rest(&ip.payload);
    let [kind, code] = rest.array("type")?;
    let _check = rest.u16("checksum")?;
    let message = Message { kind, code, rest: rest.array("rest")?, body: rest.0.to_vec() };
    let sum_right = checksum(ip.source, ip.destination, &ip.payload) == 0;
    Ok(ParsedMessage { message, sum_right })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        for [source, destination] in [["192.0.2.1", "203.0.113.1"], ["2001:db8::1", "2001:db8::2"]]
        {
            let [source, destination] = [source, destination].map(|ip| ip.parse().expect("an IP"));
            let about = Ip::new(destination, source, 17, b"eight or more bytes");
            for message in [
                Message::too_big(&about, 1400, 28),
                Message::unreachable(&about, usize::MAX),
                Message::echo(source.is_ipv6(), b"odd"),
            ] {
                let mut packet = message.packet(source, destination);
                let parsed = parse(&packet).expect("a message");
                assert_eq!(parsed, ParsedMessage { message, sum_right: true });
                packet.payload[5] ^= 1;
                assert!(!parse(&packet).expect("a message").sum_right, "a flipped bit");
                let theirs = packet.build();
                let theirs = etherparse::SlicedPacket::from_ethernet(&theirs).expect("a packet");
                assert!(matches!(
                    theirs.transport,
                    Some(
                        etherparse::TransportSlice::Icmpv4(_)
                            | etherparse::TransportSlice::Icmpv6(_)
                    )
                ));
            }
        }
    }
}
