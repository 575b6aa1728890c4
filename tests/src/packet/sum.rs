//! The Internet checksum (RFC 1071), by the book: bytes in, no increments.

use std::net::IpAddr;

/// The one's complement of the sum of these bytes; 0 over a header that holds its own checksum.
#[must_use]
pub fn internet(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !((sum & 0xffff) as u16)
}

/// The same of a TCP segment or UDP datagram, with its pseudo-header (RFC 9293, 3.1; RFC 8200,
/// 8.1).
///
/// # Panics
///
/// When the addresses are of two families.
#[must_use]
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).expect("short").to_be_bytes();
    let end = [len[0], len[1], len[2], len[3], 0, 0, 0, protocol];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            internet(&[&source.octets(), &destination.octets(), &end, segment])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            internet(&[&source.octets(), &destination.octets(), &end, segment])
        }
        _ => panic!("two families"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_an_example() {
        // RFC 1071, section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet(&[&bytes]), !0xddf2);
        assert_eq!(internet(&[&[0xff]]), !0xff00);
    }
}
