//! IP packets, whatever they carry: to bytes, to description, into fragments, and together again.

use std::{fmt, net::IpAddr};

use super::{
    BALANCER_MAC, CLIENT_MAC, QINQ, VLAN,
    build::{fix_ip_checksum, length},
    rest::Rest,
    sum,
};

/// IPv6's fragment header.
pub const FRAGMENT: u8 = 44;
/// Of an IPv4 header's flags and offset: more fragments.
const MORE: u32 = 0x2000;
const OFFSET: u32 = 0x1fff;

/// An IP packet on an Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// VLAN tags, outer first: TPID and TCI.
    pub tags: Vec<(u16, u16)>,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// IPv4: identification, flags and offset. IPv6: the flow label.
    pub label: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// IP's number of what it carries.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IPv4 options: a multiple of four bytes, at most 40.
    pub options: Vec<u8>,
    /// IPv6 extension headers: kind, and what stands after the first two bytes; the fragment
    /// header among them.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Bytes after the end that IP's length says.
    pub trailer: Vec<u8>,
}

/// Which part of a datagram a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The datagram's identification.
    pub id: u32,
    /// Where the part begins, in bytes.
    pub offset: usize,
    /// More follow.
    pub more: bool,
}

/// A packet that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedIp {
    /// What it is.
    pub ip: Ip,
    /// The checksum of its IPv4 header is right; true of IPv6.
    pub sum_right: bool,
}

impl Ip {
    /// A packet from a client's side with that payload.
    ///
    /// # Panics
    ///
    /// When the addresses are of two families.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
        Self {
            to: BALANCER_MAC,
            from: CLIENT_MAC,
            tags: Vec::new(),
            tos: 0,
            label: if source.is_ipv4() { 0x7654_0000 } else { 0x1_2345 },
            ttl: 61,
            protocol,
            source,
            destination,
            options: Vec::new(),
            extensions: Vec::new(),
            payload: payload.to_vec(),
            trailer: Vec::new(),
        }
    }

    /// The packet, every length right, and IPv4's checksum.
    ///
    /// # Panics
    ///
    /// When a length does not fit its field, or the addresses are of two families.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.link();
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let l3 = bytes.len();
                let words = 5 + self.options.len() / 4;
                bytes.extend([0x40 | u8::try_from(words).expect("at most 15 words"), self.tos]);
                bytes.extend(length(words * 4 + self.payload.len()));
                bytes.extend(self.label.to_be_bytes());
                bytes.extend([self.ttl, self.protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                bytes.extend(&self.options);
                fix_ip_checksum(&mut bytes, l3);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let chain = self.chain();
                let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
                bytes.extend(first.to_be_bytes());
                bytes.extend(length(chain.len() + self.payload.len()));
                bytes.extend([self.next_headers()[0], self.ttl]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                bytes.extend(chain);
            }
            _ => panic!("two families"),
        }
        bytes.extend(&self.payload);
        bytes.extend(&self.trailer);
        bytes
    }

    fn link(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (tpid, tci) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        let ether_type: u16 = if self.source.is_ipv6() { 0x86dd } else { 0x0800 };
        bytes.extend(ether_type.to_be_bytes());
        bytes
    }

    /// What each header names as the next: the IPv6 header first, then the extension headers.
    fn next_headers(&self) -> Vec<u8> {
        self.extensions.iter().map(|(kind, _)| *kind).chain([self.protocol]).collect()
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

    /// With these VLAN tags.
    #[must_use]
    pub fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// Which part of a datagram it is; `None`: it is whole and does not say that it is.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        if self.source.is_ipv4() {
            let (id, more) = (self.label >> 16, self.label & MORE != 0);
            let offset = (self.label & OFFSET) as usize * 8;
            return (more || offset > 0).then_some(Part { id, offset, more });
        }
        let (_, body) = self.extensions.iter().find(|(kind, _)| *kind == FRAGMENT)?;
        let field = u16::from_be_bytes([body[0], body[1]]);
        let id = u32::from_be_bytes([body[2], body[3], body[4], body[5]]);
        Some(Part { id, offset: usize::from(field & !7), more: field & 1 == 1 })
    }

    /// Is it a part of a datagram, and not all?
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.part().is_some_and(|part| part.more || part.offset > 0)
    }

    /// As that part of a datagram.
    ///
    /// # Panics
    ///
    /// When the offset is not a multiple of eight, or the identification too long.
    #[must_use]
    pub fn as_part(mut self, part: Part) -> Self {
        assert_eq!(part.offset % 8, 0, "a multiple of eight");
        let offset = u16::try_from(part.offset).expect("a short offset");
        if self.source.is_ipv4() {
            let id = u32::from(u16::try_from(part.id).expect("16 bits"));
            let more = if part.more { MORE } else { 0 };
            self.label = id << 16 | more | u32::from(offset / 8);
        } else {
            let mut body = (offset | u16::from(part.more)).to_be_bytes().to_vec();
            body.extend(part.id.to_be_bytes());
            self.extensions.retain(|(kind, _)| *kind != FRAGMENT);
            self.extensions.push((FRAGMENT, body));
        }
        self
    }

    /// In fragments with that identification, of `bytes` bytes each, a multiple of eight.
    #[must_use]
    pub fn fragments(&self, id: u32, bytes: usize) -> Vec<Self> {
        let parts = self.payload.chunks(bytes).enumerate();
        let count = self.payload.len().div_ceil(bytes);
        let cut = |(index, payload): (usize, &[u8])| {
            let part = Part { id, offset: index * bytes, more: index + 1 < count };
            Self { payload: payload.to_vec(), ..self.clone() }.as_part(part)
        };
        parts.map(cut).collect()
    }

    /// Fragments put together again, in any order; without the identification.
    ///
    /// # Panics
    ///
    /// When they are not all of one datagram.
    #[must_use]
    pub fn whole(fragments: &[Self]) -> Self {
        let mut sorted: Vec<(Part, &Self)> = fragments
            .iter()
            .map(|one| (one.part().unwrap_or_else(|| panic!("no fragment: {one}")), one))
            .collect();
        sorted.sort_by_key(|(part, _)| part.offset);
        let (first, whole) = sorted[0];
        let mut whole = Self { payload: Vec::new(), ..whole.clone() };
        if whole.source.is_ipv4() {
            whole.label = 0;
        }
        whole.extensions.retain(|(kind, _)| *kind != FRAGMENT);
        for (index, (part, one)) in sorted.iter().enumerate() {
            assert_eq!(part.offset, whole.payload.len(), "a gap before {one}");
            assert_eq!(part.more, index + 1 < sorted.len(), "the last one: {one}");
            assert_eq!(part.id, first.id, "of another datagram: {one}");
            assert_eq!((one.source, one.destination), (whole.source, whole.destination));
            whole.payload.extend(&one.payload);
        }
        whole
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} protocol {}", self.source, self.destination, self.protocol)?;
        if let Some(part) = self.part() {
            write!(f, " part {part:?}")?;
        }
        write!(f, " ttl {} payload {}", self.ttl, self.payload.len())
    }
}

/// Reads an IP packet; the error says what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<ParsedIp, String> {
    let mut rest = Rest(bytes);
    let [to, from] = [rest.array::<6>("MAC")?, rest.array::<6>("MAC")?];
    let mut tags = Vec::new();
    let mut ether_type = rest.u16("EtherType")?;
    while ether_type == VLAN || ether_type == QINQ {
        tags.push((ether_type, rest.u16("tag")?));
        ether_type = rest.u16("EtherType")?;
    }
    let mut parsed = match ether_type {
        0x0800 => ipv4(&mut rest)?,
        0x86dd => ipv6(&mut rest)?,
        other => return Err(format!("EtherType {other:04x}")),
    };
    parsed.ip = Ip { to, from, tags, trailer: rest.0.to_vec(), ..parsed.ip };
    Ok(parsed)
}

fn ipv4(rest: &mut Rest<'_>) -> Result<ParsedIp, String> {
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
    rest.0 = &whole[total_len..];
    let payload = &whole[header_len..total_len];
    let options = whole[20..header_len].to_vec();
    let ip = Ip::new(source.into(), destination.into(), protocol, payload);
    let sum_right = sum::internet(&[&whole[..header_len]]) == 0;
    Ok(ParsedIp { ip: Ip { tos, label, ttl, options, ..ip }, sum_right })
}

fn ipv6(rest: &mut Rest<'_>) -> Result<ParsedIp, String> {
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
    while matches!(next, 0 | 43 | FRAGMENT | 60 | 135 | 139 | 140) {
        let [following, units] = inside.array("extension header")?;
        let units = if next == FRAGMENT { 0 } else { units };
        let body = inside.take(usize::from(units) * 8 + 6, "extension header")?;
        extensions.push((next, body.to_vec()));
        next = following;
    }
    let (tos, label) = ((first >> 20 & 0xff) as u8, first & 0xf_ffff);
    let ip = Ip::new(source.into(), destination.into(), next, inside.0);
    Ok(ParsedIp { ip: Ip { tos, label, ttl, extensions, ..ip }, sum_right: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> [Ip; 2] {
        let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let of = |source: &str, destination: &str| {
            let [source, destination] = [source, destination].map(|ip| ip.parse().expect("an IP"));
            Ip::new(source, destination, 17, &payload)
        };
        [of("192.0.2.1", "203.0.113.10"), of("2001:db8::1", "2001:db8::2")]
    }

    #[test]
    fn what_is_built_is_read_back() {
        for ip in samples() {
            assert_eq!(parse(&ip.build()), Ok(ParsedIp { ip: ip.clone(), sum_right: true }));
            for one in ip.fragments(7, 400) {
                let parsed = parse(&one.build()).expect("it is whole");
                assert_eq!(parsed, ParsedIp { ip: one, sum_right: true });
            }
        }
    }

    #[test]
    fn in_pieces_and_together_again() {
        for ip in samples() {
            let fragments = ip.fragments(7, 400);
            let parts: Vec<_> = fragments.iter().filter_map(Ip::part).collect();
            let part = |offset, more| Part { id: 7, offset, more };
            assert_eq!(parts, [part(0, true), part(400, true), part(800, false)]);
            let mut turned = fragments;
            turned.reverse();
            let label = if ip.source.is_ipv4() { 0 } else { ip.label };
            assert_eq!(Ip::whole(&turned), Ip { label, ..ip.clone() });
            let one = ip.clone().as_part(part(0, false));
            assert!(!one.is_fragment(), "{one}");
            let bytes = turned[0].build();
            let theirs = etherparse::SlicedPacket::from_ethernet(&bytes);
            assert!(theirs.is_ok_and(|theirs| theirs.is_ip_payload_fragmented()));
        }
    }
}
