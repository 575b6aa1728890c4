//! Bytes to description, strictly: every length must be possible.

use std::net::{IpAddr, SocketAddr};

use super::{Frame, QINQ, Transport, VLAN, sum};

/// A packet that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it is.
    pub frame: Frame,
    /// The checksum of its IPv4 header is right; true of IPv6.
    pub ip_sum_right: bool,
    /// That of TCP or UDP is; true of a UDP datagram without one.
    pub transport_sum_right: bool,
}

/// Reads a TCP or UDP packet; the error says what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut rest = Rest(bytes);
    let [to, from] = [rest.array::<6>("MAC")?, rest.array::<6>("MAC")?];
    let mut tags = Vec::new();
    let mut ether_type = rest.u16("EtherType")?;
    while ether_type == VLAN || ether_type == QINQ {
        tags.push((ether_type, rest.u16("tag")?));
        ether_type = rest.u16("EtherType")?;
    }
    let ip = match ether_type {
        0x0800 => ipv4(&mut rest)?,
        0x86dd => ipv6(&mut rest)?,
        other => return Err(format!("EtherType {other:04x}")),
    };
    let mut segment = Rest(ip.segment);
    let ports = [segment.u16("port")?, segment.u16("port")?];
    let (transport, len) = match ip.protocol {
        6 => tcp(&mut segment, ip.segment.len())?,
        17 => udp(&mut segment, ip.segment.len())?,
        other => return Err(format!("protocol {other}")),
    };
    let unchecked = transport == Transport::Udp { checksum: false };
    let (covered, surplus) = ip.segment.split_at(len);
    let sum = sum::transport(ip.source, ip.destination, ip.protocol, covered);
    let payload_len = segment.0.len() - surplus.len();
    let frame = Frame {
        to,
        from,
        tags,
        tos: ip.tos,
        label: ip.label,
        ttl: ip.ttl,
        source: SocketAddr::new(ip.source, ports[0]),
        destination: SocketAddr::new(ip.destination, ports[1]),
        options: ip.options,
        extensions: ip.extensions,
        transport,
        payload: segment.0[..payload_len].to_vec(),
        surplus: surplus.to_vec(),
        trailer: rest.0.to_vec(),
    };
    Ok(Parsed { frame, ip_sum_right: ip.sum_right, transport_sum_right: unchecked || sum == 0 })
}

struct Ip<'a> {
    tos: u8,
    label: u32,
    ttl: u8,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    sum_right: bool,
    segment: &'a [u8],
}

fn ipv4<'a>(rest: &mut Rest<'a>) -> Result<Ip<'a>, String> {
    let whole = rest.0;
    let [vihl, tos] = rest.array("IPv4 header")?;
    let total_len = usize::from(rest.u16("total length")?);
    let label = rest.u32("identification")?;
    let [ttl, protocol, _, _] = rest.array("IPv4 header")?;
    let [source, destination] = [rest.array::<4>("source")?, rest.array::<4>("destination")?];
    let header_len = usize::from(vihl & 15) * 4;
    if vihl >> 4 != 4 || header_len < 20 {
        return Err(format!("version and header length {vihl:02x}"));
    }
    if total_len < header_len || total_len > whole.len() {
        return Err(format!("total length {total_len} of {}", whole.len()));
    }
    if label & 0x3fff != 0 {
        return Err("a fragment".to_owned());
    }
    rest.0 = &whole[total_len..];
    Ok(Ip {
        tos,
        label,
        ttl,
        protocol,
        source: IpAddr::from(source),
        destination: IpAddr::from(destination),
        options: whole[20..header_len].to_vec(),
        extensions: Vec::new(),
        sum_right: sum::internet(&[&whole[..header_len]]) == 0,
        segment: &whole[header_len..total_len],
    })
}

fn ipv6<'a>(rest: &mut Rest<'a>) -> Result<Ip<'a>, String> {
    let first = rest.u32("IPv6 header")?;
    let payload_len = usize::from(rest.u16("payload length")?);
    let [mut next, ttl] = rest.array("IPv6 header")?;
    let [source, destination] = [rest.array::<16>("source")?, rest.array::<16>("destination")?];
    if first >> 28 != 6 {
        return Err(format!("version {}", first >> 28));
    }
    if payload_len > rest.0.len() {
        return Err(format!("payload length {payload_len} of {}", rest.0.len()));
    }
    let (payload, trailer) = rest.0.split_at(payload_len);
    rest.0 = trailer;
    let mut inside = Rest(payload);
    let mut extensions = Vec::new();
    while matches!(next, 0 | 43 | 60 | 135 | 139 | 140) {
        let [following, units] = inside.array("extension header")?;
        let body = inside.take(usize::from(units) * 8 + 6, "extension header")?;
        extensions.push((next, body.to_vec()));
        next = following;
    }
    Ok(Ip {
        tos: (first >> 20 & 0xff) as u8,
        label: first & 0xf_ffff,
        ttl,
        protocol: next,
        source: IpAddr::from(source),
        destination: IpAddr::from(destination),
        options: Vec::new(),
        extensions,
        sum_right: true,
        segment: inside.0,
    })
}

/// After the ports: the rest of the header, and how many bytes the checksum covers.
fn tcp(rest: &mut Rest<'_>, len: usize) -> Result<(Transport, usize), String> {
    let sequence = rest.u32("sequence")?;
    let acknowledgement = rest.u32("acknowledgement")?;
    let [offset, flags] = rest.array("offset")?;
    let window = rest.u16("window")?;
    let _check_and_urgent = rest.u32("checksum")?;
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < 20 || header_len > len {
        return Err(format!("TCP header of {header_len} bytes in {len}"));
    }
    let options = rest.take(header_len - 20, "TCP options")?.to_vec();
    Ok((Transport::Tcp { flags, sequence, acknowledgement, window, options }, len))
}

fn udp(rest: &mut Rest<'_>, len: usize) -> Result<(Transport, usize), String> {
    let udp_len = usize::from(rest.u16("length")?);
    let check = rest.u16("checksum")?;
    if udp_len < 8 || udp_len > len {
        return Err(format!("UDP length {udp_len} in {len}"));
    }
    Ok((Transport::Udp { checksum: check != 0 }, udp_len))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.0.split_at_checked(bytes).ok_or_else(|| format!("truncated at the {what}"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        Ok(self.take(N, what)?.try_into().expect("N bytes"))
    }

    fn u16(&mut self, what: &str) -> Result<u16, String> {
        self.array(what).map(u16::from_be_bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ACK;

    fn samples() -> Vec<Frame> {
        let v4 = ["192.0.2.1:40000", "203.0.113.10:80"].map(|text| text.parse().expect("address"));
        let v6 =
            ["[2001:db8::1]:40000", "[2001:db8::2]:80"].map(|text| text.parse().expect("address"));
        vec![
            Frame::tcp(v4[0], v4[1], ACK).options(&[1; 8]).tcp_options(&[1; 12]).payload(b"odd"),
            Frame::udp(v4[0], v4[1]).tags(&[(QINQ, 5), (VLAN, 6)]),
            Frame::udp(v4[0], v4[1]).no_checksum(),
            Frame::tcp(v6[0], v6[1], ACK).extensions(&[(0, 8), (43, 24), (60, 16)]),
            Frame { trailer: vec![0; 6], surplus: vec![9; 3], ..Frame::udp(v6[0], v6[1]) },
        ]
    }

    #[test]
    fn what_is_built_is_read_back() {
        for frame in samples() {
            let bytes = frame.build();
            let parsed = parse(&bytes).expect("it is whole");
            assert!(parsed.ip_sum_right && parsed.transport_sum_right, "{frame}");
            assert_eq!(parsed.frame, frame, "{frame}");
            if frame.surplus.is_empty() {
                let theirs = etherparse::SlicedPacket::from_ethernet(&bytes);
                assert!(theirs.is_ok_and(|theirs| theirs.transport.is_some()), "{frame}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        for frame in samples().into_iter().filter(|frame| frame.surplus.is_empty()) {
            let bytes = frame.build();
            let checked = frame.transport != Transport::Udp { checksum: false };
            for at in 0..(bytes.len() - frame.trailer.len()) * 8 {
                let mut bytes = bytes.clone();
                bytes[at / 8] ^= 1 << (at % 8);
                if let Ok(parsed) = parse(&bytes) {
                    let in_segment = at / 8 >= frame.l4();
                    let seen = if in_segment {
                        !checked || !parsed.transport_sum_right
                    } else {
                        frame.v6() || at / 8 < frame.l3() || !parsed.ip_sum_right
                    };
                    // A UDP datagram may lose its checksum: all its bits but one were zero.
                    let lost = parsed.frame.transport == Transport::Udp { checksum: false };
                    assert!(seen || lost, "bit {at} of {frame}");
                }
            }
        }
    }
}
