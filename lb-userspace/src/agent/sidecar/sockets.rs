//! Listening sockets of the sidecar. The agent makes them and keeps them open, so that a connection
//! that waits to be accepted outlives the sidecar that was to take it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

/// Connections that wait to be accepted, for each socket; the kernel bounds it by `somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket for each worker at each address: the kernel spreads connections over them.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: BTreeMap<SocketAddr, Vec<OwnedFd>>,
}

impl Sockets {
    /// Brings the sockets to those that are wanted; what could not be opened, and why.
    pub(super) fn want(
        &mut self,
        addresses: &BTreeSet<SocketAddr>,
        workers: u16,
    ) -> Vec<(SocketAddr, io::Error)> {
        self.open.retain(|address, _| addresses.contains(address));
        let mut failed = Vec::new();
        for address in addresses {
            let sockets = self.open.entry(*address).or_default();
            // Fewer would reset the connections that wait at those closed: they stay, unheard, until
            // there is another sidecar.
            while sockets.len() < usize::from(workers) {
                match open(*address) {
                    Ok(socket) => sockets.push(socket),
                    Err(error) => {
                        failed.push((*address, error));
                        break;
                    }
                }
            }
        }
        self.open.retain(|_, sockets| !sockets.is_empty());
        failed
    }

    /// Takes one over from a sidecar of an agent before.
    pub(super) fn take_over(&mut self, address: SocketAddr, socket: OwnedFd) {
        self.open.entry(address).or_default().push(socket);
    }

    /// All, with the number of each at its address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, u16, &OwnedFd)> {
        self.open.iter().flat_map(|(address, sockets)| {
            (0..).zip(sockets).map(move |(number, socket)| (*address, number, socket))
        })
    }
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    // The address may be put on its interface a moment later. Also for IPv6: the kernel takes options
    // of this level for both.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    // Connections inherit it.
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_follow_what_is_wanted() {
        // Documentation addresses are on no interface.
        let all: Vec<SocketAddr> =
            ["192.0.2.1:8080", "[2001:db8::1]:8080"].map(|text| text.parse().expect("one")).into();
        let mut sockets = Sockets::default();
        let failed = sockets.want(&all.iter().copied().collect(), 2);
        assert!(failed.is_empty(), "{failed:?}");
        let numbers: Vec<_> =
            sockets.iter().map(|(address, number, _)| (address, number)).collect();
        assert_eq!(numbers, [(all[0], 0), (all[0], 1), (all[1], 0), (all[1], 1)]);
        let kept: Vec<_> = sockets.iter().map(|(_, _, socket)| socket.as_raw_fd()).collect();
        let failed = sockets.want(&all[1..].iter().copied().collect(), 2);
        assert!(failed.is_empty(), "{failed:?}");
        let now: Vec<_> = sockets.iter().map(|(_, _, socket)| socket.as_raw_fd()).collect();
        assert_eq!(now, kept[2..]);
    }
}
