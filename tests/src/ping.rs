//! Echo requests, by the kernel's ping sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, socket,
};

use crate::netns::Namespace;

/// Sends an echo request with so many bytes from a client's address, and waits for its answer.
///
/// # Errors
///
/// The socket's; `WouldBlock` when there is no answer within a second, `InvalidData` when the
/// answer is to something else.
///
/// # Panics
///
/// When there are no ping sockets.
pub fn ping(clients: &Namespace, from: IpAddr, to: IpAddr, bytes: usize) -> io::Result<()> {
    clients.sysctl("ipv4/ping_group_range", "0 0");
    clients.run(|| {
        let (family, protocol, [request, answer]) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, [8, 0]),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, [128, 129]),
        };
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Sends and receives as it does datagrams of UDP.
        let socket = UdpSocket::from(socket);
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0)))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        // The kernel fills in checksum and identifier.
        let mut message = vec![request, 0, 0, 0, 0, 0, 0, 7];
        message.extend((0..bytes).map(|at| at.to_le_bytes()[0]));
        socket.send(&message)?;
        let mut answered = vec![0; 65_536];
        let length = socket.recv(&mut answered)?;
        let same = length == message.len() && answered[6..length] == message[6..];
        if answered[0] == answer && same { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
}
