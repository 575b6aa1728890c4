//! Tells the link that an address is here now: gratuitous ARP and unsolicited neighbour
//! advertisements, so that hosts and switches that had it elsewhere learn at once.

use std::{
    io, mem,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, Icmpv6Type, IpNumber,
    Ipv6Header, icmpv6::NeighborAdvertisementHeader,
};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, sendto,
    socket,
};

use super::addresses::Placed;

/// How often an address is announced: a frame may get lost (RFC 5227, 2.3, has two).
const TIMES: u32 = 3;
/// Between one time and the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Addresses announced in one go.
const AT_ONCE: usize = 256;

const BROADCAST: [u8; 6] = [0xff; 6];
/// Ethernet's group of `ff02::1` (RFC 2464, 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// `ff02::1`.
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Target link-layer address (RFC 4861, 4.6.1): type 2, length 1 (eight bytes).
const TARGET_OPTION: [u8; 2] = [2, 1];

/// Announces addresses that were put on interfaces, in the background: at once, and again. What
/// cannot be sent is logged; interfaces without a link-layer address have nobody to tell.
pub fn in_background(added: Vec<Placed>) {
    if added.iter().all(|placed| placed.mac.is_none()) {
        return;
    }
    tokio::spawn(async move {
        for time in 0..TIMES {
            if time > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            for some in added.chunks(AT_ONCE) {
                announce_all(some);
                // Others have something to do too.
                tokio::task::yield_now().await;
            }
        }
    });
}

fn announce_all(added: &[Placed]) {
    // One for all: the kernel waits for a grace period whenever one is closed.
    let announcer = match Announcer::new() {
        Ok(announcer) => announcer,
        Err(error) => {
            tracing::warn!("cannot announce addresses: {error}");
            return;
        }
    };
    for placed in added {
        if let Err(error) = announcer.announce(placed) {
            tracing::warn!("cannot announce {placed}: {error}");
        }
    }
}

/// A packet socket to announce addresses through.
pub struct Announcer(OwnedFd);

impl Announcer {
    /// In the network namespace of this thread.
    pub fn new() -> io::Result<Self> {
        // Protocol 0: this socket only sends, nothing is queued for it.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let none = None::<SockProtocol>;
        Ok(Self(socket(AddressFamily::Packet, SockType::Raw, flags, none)?))
    }

    /// Announces one address once. Does nothing on an interface without a link-layer address.
    pub fn announce(&self, placed: &Placed) -> io::Result<()> {
        let Some(mac) = placed.mac else { return Ok(()) };
        let frame = frame(placed.address, mac);
        let address = link_address(placed.interface)?;
        let sent = sendto(self.0.as_raw_fd(), &frame, &address, MsgFlags::empty())?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// The Ethernet frame that announces `address` at `mac`.
#[must_use]
pub fn frame(address: IpAddr, mac: [u8; 6]) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp(v4.octets(), mac),
        IpAddr::V6(v6) => advertisement(v6.octets(), mac),
    }
}

/// An ARP announcement (RFC 5227, 2.3): a request for one's own address.
fn arp(address: [u8; 4], mac: [u8; 6]) -> Vec<u8> {
    let ethernet =
        Ethernet2Header { source: mac, destination: BROADCAST, ether_type: EtherType::ARP };
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &mac,
        &address,
        &[0; 6],
        &address,
    );
    let mut frame = ethernet.to_bytes().to_vec();
    if let Ok(packet) = packet {
        frame.extend_from_slice(&packet.to_bytes());
    }
    frame
}

/// An unsolicited neighbour advertisement that overrides what was known (RFC 4861, 7.2.6).
fn advertisement(address: [u8; 16], mac: [u8; 6]) -> Vec<u8> {
    let ethernet =
        Ethernet2Header { source: mac, destination: ALL_NODES_MAC, ether_type: EtherType::IPV6 };
    let mut payload = address.to_vec();
    payload.extend_from_slice(&TARGET_OPTION);
    payload.extend_from_slice(&mac);
    let kind = Icmpv6Type::NeighborAdvertisement(NeighborAdvertisementHeader {
        router: false,
        solicited: false,
        r#override: true,
    });
    let mut frame = ethernet.to_bytes().to_vec();
    if let Ok(icmp) = kind.to_header(address, ALL_NODES, &payload) {
        let ip = Ipv6Header {
            payload_length: u16::try_from(icmp.header_len() + payload.len()).unwrap_or(0),
            next_header: IpNumber::IPV6_ICMP,
            // A router must not have forwarded it (RFC 4861, 7.1.2).
            hop_limit: 255,
            source: address,
            destination: ALL_NODES,
            ..Ipv6Header::default()
        };
        frame.extend_from_slice(&ip.to_bytes());
        frame.extend_from_slice(&icmp.to_bytes());
        frame.extend_from_slice(&payload);
    }
    frame
}

fn link_address(interface: u32) -> io::Result<LinkAddr> {
    let raw = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(mem::size_of_val(&raw)).map_err(io::Error::other)?;
    // SAFETY: `raw` is a whole, initialised sockaddr_ll that outlives the call, which copies it,
    // and `length` is its size. nix has no safe constructor.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x09];

    #[test]
    fn arp_announcement() {
        let want = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x09, 0x08,
            0x06, // Ethernet
            0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
            0x02, 0, 0, 0, 0, 0x09, 203, 0, 113, 10, // sender
            0, 0, 0, 0, 0, 0, 203, 0, 113, 10, // target
        ];
        assert_eq!(frame("203.0.113.10".parse().expect("address"), MAC), want);
    }

    #[test]
    fn neighbour_advertisement() {
        let address = "2001:db8::10".parse().expect("address");
        let got = frame(address, MAC);
        let vip = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
        let mut want = vec![0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 0x09, 0x86, 0xdd];
        want.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
        want.extend(vip);
        want.extend(ALL_NODES);
        let checksum = want.len() + 2;
        want.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
        want.extend(vip);
        want.extend([2, 1, 0x02, 0, 0, 0, 0, 0x09]);
        let sent = [got[checksum], got[checksum + 1]];
        want[checksum..checksum + 2].copy_from_slice(&sent);
        assert_eq!(got, want);
        // With the checksum in place, the sum over pseudo-header and message is all ones
        // (RFC 4443, 2.3; RFC 8200, 8.1).
        let mut summed = got[22..54].to_vec();
        summed.extend([0, 0, 0, 32, 0, 0, 0, 58]);
        summed.extend(&got[54..]);
        let mut sum: u32 = summed
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
