//! Bytes to description, strictly: every length must be possible.

use std::net::SocketAddr;

use super::{Frame, Transport, ip, rest::Rest, sum};

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
    let ip::ParsedIp { ip, sum_right } = ip::parse(bytes)?;
    if ip.is_fragment() {
        return Err("a fragment".to_owned());
    }
    let mut segment = Rest(&ip.payload);
    let ports = [segment.u16("port")?, segment.u16("port")?];
    let (transport, len) = match ip.protocol {
        6 => tcp(&mut segment, ip.payload.len())?,
        17 => udp(&mut segment, ip.payload.len())?,
        other => return Err(format!("protocol {other}")),
    };
    let unchecked = transport == Transport::Udp { checksum: false };
    let (covered, surplus) = ip.payload.split_at(len);
    let sum = sum::transport(ip.source, ip.destination, ip.protocol, covered);
    let payload_len = segment.0.len() - surplus.len();
    let frame = Frame {
        to: ip.to,
        from: ip.from,
        tags: ip.tags,
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
        trailer: ip.trailer,
    };
    Ok(Parsed { frame, ip_sum_right: sum_right, transport_sum_right: unchecked || sum == 0 })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ACK, QINQ, VLAN};

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
