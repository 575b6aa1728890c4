//! Link-layer addresses of next hops: asked of the kernel, and kept resolved there.
//!
//! Packets that the data path forwards do not pass the kernel's neighbour table, so nothing keeps
//! its entries fresh but the requests made here.

use std::net::IpAddr;

use futures_util::StreamExt;
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
    },
};

use super::{Error, error_number};

/// A next hop: interface index and address.
pub type Key = (u32, IpAddr);

/// How far the kernel is with a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No entry, or one that waits for an answer.
    Unresolved,
    /// The kernel has asked in vain.
    Failed,
    /// Usable, but not confirmed of late: to be confirmed.
    Stale,
    /// Usable and being looked after (reachable, delay, probe).
    Fresh,
    /// Usable for good: set by an operator, or of an interface without resolution. Never to be
    /// touched: a request to use it would strip the mark `permanent`.
    Fixed,
}

/// What the kernel holds of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// How far it is.
    pub standing: Standing,
    /// Its Ethernet address, when usable.
    pub mac: Option<[u8; 6]>,
}

impl Neighbour {
    /// What is known of a next hop without an entry.
    pub const ABSENT: Self = Self { standing: Standing::Unresolved, mac: None };
}

/// Asks the kernel for one entry.
pub async fn get(handle: &Handle, key: Key) -> Result<Neighbour, Error> {
    let question = RouteNetlinkMessage::GetNeighbour(message(key));
    match request(handle, question, NLM_F_REQUEST).await {
        Ok(Some(RouteNetlinkMessage::NewNeighbour(answer))) => {
            Ok(read(&answer).map_or(Neighbour::ABSENT, |(_, neighbour)| neighbour))
        }
        Ok(_) => Err(Error::Closed),
        // No such entry (ENOENT), or the interface has gone: there is none either way.
        Err(error) if error_number(&error).is_some() => Ok(Neighbour::ABSENT),
        Err(error) => Err(Error::request(format!("look up the neighbour {}", key.1))(error)),
    }
}

/// Makes the kernel resolve a next hop, or confirm it if it is stale: what sending a packet there
/// would do. Says why the kernel would not: the interface has gone or is down, the table is full.
pub async fn resolve(handle: &Handle, key: Key) -> Result<Result<(), Errno>, Error> {
    // NTF_USE with no state: net/core/neighbour.c, neigh_add, ends in neigh_event_send.
    let mut message = message(key);
    message.header.flags = NeighbourFlags::Use;
    let message = RouteNetlinkMessage::NewNeighbour(message);
    match request(handle, message, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE).await {
        Ok(_) => Ok(Ok(())),
        Err(error) => match error_number(&error) {
            Some(number) => Ok(Err(Errno::from_raw(number))),
            None => Err(Error::request(format!("resolve the neighbour {}", key.1))(error)),
        },
    }
}

/// What a neighbour message says; `None` when it is not about an IP neighbour.
#[must_use]
pub fn read(message: &NeighbourMessage) -> Option<(Key, Neighbour)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(destination) = attribute {
            if let NeighbourAddress::Inet(v4) = destination {
                address = Some(IpAddr::V4(*v4));
            } else if let NeighbourAddress::Inet6(v6) = destination {
                address = Some(IpAddr::V6(*v6));
            }
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
        }
    }
    let standing = standing(message.header.state);
    let usable = !matches!(standing, Standing::Unresolved | Standing::Failed);
    let mac = mac.filter(|_| usable);
    Some(((message.header.ifindex, address?), Neighbour { standing, mac }))
}

fn standing(state: NeighbourState) -> Standing {
    use NeighbourState as State;
    if matches!(state, State::Reachable | State::Delay | State::Probe) {
        Standing::Fresh
    } else if state == State::Stale {
        Standing::Stale
    } else if state == State::Failed {
        Standing::Failed
    } else if matches!(state, State::Permanent | State::Noarp) {
        Standing::Fixed
    } else {
        Standing::Unresolved
    }
}

fn message((interface, address): Key) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = interface;
    let destination = match address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(v4)
        }
        IpAddr::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(v6)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

async fn request(
    handle: &Handle,
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<Option<RouteNetlinkMessage>, rtnetlink::Error> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    let mut answers = handle.clone().request(message)?;
    let mut inner = None;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::InnerMessage(answer) = answer.payload {
            inner = Some(answer);
        } else if let NetlinkPayload::Error(error) = answer.payload {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_messages_say() {
        let key = (3, "10.0.0.2".parse().expect("address"));
        let mac = [2, 0, 0, 0, 0, 9];
        let check = |state: NeighbourState, standing: Standing, usable: bool| {
            let mut message = message(key);
            message.header.state = state;
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            let want = Neighbour { standing, mac: usable.then_some(mac) };
            assert_eq!(read(&message), Some((key, want)), "{state}");
        };
        check(NeighbourState::Reachable, Standing::Fresh, true);
        check(NeighbourState::Delay, Standing::Fresh, true);
        check(NeighbourState::Probe, Standing::Fresh, true);
        check(NeighbourState::Stale, Standing::Stale, true);
        check(NeighbourState::Permanent, Standing::Fixed, true);
        check(NeighbourState::Noarp, Standing::Fixed, true);
        check(NeighbourState::Incomplete, Standing::Unresolved, false);
        check(NeighbourState::Failed, Standing::Failed, false);
        check(NeighbourState::None, Standing::Unresolved, false);
        check(NeighbourState::Other(0x4000), Standing::Unresolved, false);
    }

    #[test]
    fn other_messages_are_left_alone() {
        let key = (3, "10.0.0.2".parse().expect("address"));
        let mut proxy = message(key);
        proxy.header.flags = NeighbourFlags::Proxy;
        assert_eq!(read(&proxy), None);
        assert_eq!(read(&NeighbourMessage::default()), None, "a forwarding table entry");
    }
}
