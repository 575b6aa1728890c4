//! The PROXY protocol, versions 1 and 2: who the client of a connection is, said before its first
//! byte. Pure.
//!
//! TLVs are skipped. A header is complete or refused within 4 KiB.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header of version 1, CRLF included.
const V1_BYTES_MAX: usize = 107;
/// Bytes of a header of version 2 that are taken.
const V2_BYTES_MAX: usize = 4096;

const V1_BEGIN: &[u8] = b"PROXY ";
const V2_BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version and command, family and transport, length.
const V2_HEAD_BYTES: usize = 16;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The proxy's own connection, as its health checks are: the socket's addresses count.
    Local,
    /// Somebody's, it does not say whose: the socket's addresses count.
    Unknown,
    /// A client's.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
}

/// Why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its first bytes are those of no header.
    #[error("no PROXY header")]
    Missing,
    /// Version 1, not as it is specified.
    #[error("a malformed PROXY header of version 1")]
    Malformed,
    /// Another version or command, or not over TCP.
    #[error("a PROXY header of an unknown version, command or transport")]
    Unsupported,
    /// Shorter than its addresses, or longer than is taken.
    #[error("a PROXY header of an impossible length")]
    Length,
}

/// Reads a header at the beginning of `bytes`, and how long it is. `None`: it goes on.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    if begins(bytes, V1_BEGIN) {
        return parse_v1(bytes);
    }
    if begins(bytes, V2_BEGIN) { parse_v2(bytes) } else { Err(Error::Missing) }
}

/// As far as there are bytes.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let bounded = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(lf) = bounded.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(Error::Malformed) };
    };
    let line = bounded.get(V1_BEGIN.len()..lf).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(Error::Malformed)?;
    let header = v1_line(line).ok_or(Error::Malformed)?;
    Ok(Some((header, lf + 1)))
}

fn v1_line(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Some(Header::Unknown);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let plain = word == "0" || !word.starts_with(['0', '+']);
        word.parse().ok().filter(|_| plain)
    };
    let (source_port, destination_port) = (port()?, port()?);
    words.next().is_none().then_some(Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(command @ (0x20 | 0x21)) => *command,
        Some(_) => return Err(Error::Unsupported),
    };
    let Some(&[family, high, low]) = bytes.get(13..V2_HEAD_BYTES) else { return Ok(None) };
    let end = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if end > V2_BYTES_MAX {
        return Err(Error::Length);
    }
    let Some(rest) = bytes.get(V2_HEAD_BYTES..end) else { return Ok(None) };
    let header = match (command, family) {
        (0x20, _) => Header::Local,
        (_, 0x11) => v2_addresses::<4>(rest)?,
        (_, 0x21) => v2_addresses::<16>(rest)?,
        // UNSPEC, and Unix sockets, which name no client.
        (_, 0x00 | 0x31) => Header::Unknown,
        _ => return Err(Error::Unsupported),
    };
    Ok(Some((header, end)))
}

/// Two addresses of `N` bytes and two ports, all in network order.
fn v2_addresses<const N: usize>(rest: &[u8]) -> Result<Header, Error>
where
    IpAddr: From<[u8; N]>,
{
    let read = || {
        let (source, rest) = rest.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (destination_port, _) = rest.split_first_chunk::<2>()?;
        let socket = |address: &[u8; N], port: &[u8; 2]| {
            SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
        };
        Some(Header::Proxied {
            source: socket(source, source_port),
            destination: socket(destination, destination_port),
        })
    };
    read().ok_or(Error::Length)
}

/// Writes a header of version 1.
#[must_use]
pub fn write_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = one_family(source.ip(), destination.ip());
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (source, destination) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {source} {destination}\r\n").into_bytes()
}

/// Writes a header of version 2.
#[must_use]
pub fn write_v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(V2_HEAD_BYTES + 36);
    out.extend_from_slice(V2_BEGIN);
    match one_family(source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&v6(from).octets());
            out.extend_from_slice(&v6(to).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    out
}

/// A header of version 2 for a connection of the balancer's own, as its probes are.
#[must_use]
pub fn write_v2_local() -> Vec<u8> {
    [V2_BEGIN, &[0x20, 0, 0, 0]].concat()
}

/// Both IPv4, or both IPv6: a header has one family.
fn one_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    let (source, destination) = (source.to_canonical(), destination.to_canonical());
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (v6(source).into(), v6(destination).into())
    }
}

const fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests;
