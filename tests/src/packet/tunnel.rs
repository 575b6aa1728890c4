//! Packets in packets.

use super::ip::{self, Ip, ParsedIp};

/// The port of GUE in tests.
pub const GUE_PORT: u16 = 6080;

/// IP's number of a packet of that family in another.
#[must_use]
pub const fn protocol(v6: bool) -> u8 {
    if v6 { 41 } else { 4 }
}

/// A packet from its IP header on.
#[must_use]
pub fn inside(ip: &Ip) -> Vec<u8> {
    let bytes = Ip { trailer: Vec::new(), ..ip.clone() }.build();
    bytes[14 + 4 * ip.tags.len()..].to_vec()
}

/// The packet, its addresses and all but what it carries those of `outer`, with `ip` in it: behind
/// a UDP header from that port, if one is named.
///
/// # Panics
///
/// When the packet is too long.
#[must_use]
pub fn wrap(outer: &Ip, gue_from: Option<u16>, ip: &Ip) -> Ip {
    let inside = inside(ip);
    let Some(port) = gue_from else {
        return Ip { protocol: protocol(ip.source.is_ipv6()), payload: inside, ..outer.clone() };
    };
    let len = u16::try_from(inside.len() + 8).expect("short");
    let mut payload = [port, GUE_PORT, len, 0].map(u16::to_be_bytes).concat();
    payload.extend(inside);
    Ip { protocol: 17, payload, ..outer.clone() }
}

/// The packet in a packet: its MACs and tags are those of the other. `None`: there is none.
#[must_use]
pub fn unwrap(outer: &Ip) -> Option<ParsedIp> {
    let inside = match outer.protocol {
        4 | 41 => &outer.payload[..],
        17 if outer.payload.get(2..4)? == GUE_PORT.to_be_bytes() => outer.payload.get(8..)?,
        _ => return None,
    };
    let v6 = inside.first()? >> 4 == 6;
    if [4, 41].contains(&outer.protocol) && outer.protocol != protocol(v6) {
        return None;
    }
    let ether_type: u16 = if v6 { 0x86dd } else { 0x0800 };
    let bytes = [&outer.to[..], &outer.from, &ether_type.to_be_bytes(), inside].concat();
    let parsed = ip::parse(&bytes).ok()?;
    Some(ParsedIp { ip: Ip { tags: outer.tags.clone(), ..parsed.ip }, ..parsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        let of = |source: &str, destination: &str| {
            let [source, destination] = [source, destination].map(|ip| ip.parse().expect("an IP"));
            Ip::new(source, destination, 17, b"eight or more bytes")
        };
        let all = [of("192.0.2.1", "203.0.113.10"), of("2001:db8::1", "2001:db8::2")];
        for outer in &all {
            for inner in &all {
                assert_eq!(unwrap(inner), None);
                for port in [None, Some(50_000)] {
                    let got = unwrap(&wrap(outer, port, inner)).expect("a packet");
                    assert_eq!(got, ParsedIp { ip: inner.clone(), sum_right: true });
                    let bytes = wrap(outer, port, inner).build();
                    assert!(etherparse::SlicedPacket::from_ethernet(&bytes).is_ok());
                }
            }
        }
    }
}
