//! Network interfaces: names, link-layer addresses, and which VLAN sits on which interface.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        link::{
            InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
            LinkXdp, XdpAttached,
        },
    },
};

use super::Error;

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None`: it is not an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// What makes it a VLAN of another interface.
    pub vlan: Option<Vlan>,
    /// Largest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// It is up, and its carrier too.
    pub runs: bool,
}

/// A VLAN on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the interface that carries the tagged frames.
    pub lower: u32,
    /// Tag protocol: 0x8100 or 0x88a8.
    pub protocol: u16,
    /// 1 to 4094.
    pub id: u16,
}

/// Interfaces by index.
pub type Links = BTreeMap<u32, Link>;

/// All interfaces of this network namespace.
pub async fn all(handle: &Handle) -> Result<Links, Error> {
    let mut links = Links::new();
    let mut dump = handle.link().get().execute();
    while let Some(message) = dump.try_next().await.map_err(Error::request("list interfaces"))? {
        if let Some((index, link)) = read(&message) {
            links.insert(index, link);
        }
    }
    Ok(links)
}

/// How XDP runs on an interface: `native`, `generic` or `offloaded`; `None`: not at all.
pub async fn xdp_mode(handle: &Handle, name: &str) -> Result<Option<&'static str>, Error> {
    let mut attached = None;
    for part in xdp(handle, name).await? {
        if let LinkXdp::Attached(how) = part {
            attached = Some(how);
        }
    }
    Ok(match attached {
        Some(XdpAttached::Driver) => Some("native"),
        Some(XdpAttached::SocketBuffer) => Some("generic"),
        Some(XdpAttached::Hardware) => Some("offloaded"),
        _ => None,
    })
}

/// Ids of the XDP programs that run on an interface natively or generically: of both there can be
/// one at a time.
pub async fn xdp_programs(handle: &Handle, name: &str) -> Result<Vec<u32>, Error> {
    let parts = xdp(handle, name).await?;
    let id = |part: &LinkXdp| {
        if let LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) = part { Some(*id) } else { None }
    };
    Ok(parts.iter().filter_map(id).collect())
}

async fn xdp(handle: &Handle, name: &str) -> Result<Vec<LinkXdp>, Error> {
    let mut answer = handle.link().get().match_name(name.to_owned()).execute();
    let message = answer.try_next().await.map_err(Error::request(format!("look at {name}")))?;
    let attributes = message.map(|message| message.attributes).unwrap_or_default();
    let parts = attributes.into_iter().filter_map(|attribute| {
        if let LinkAttribute::Xdp(parts) = attribute { Some(parts) } else { None }
    });
    Ok(parts.flatten().collect())
}

/// What a link message says; `None` when it is about something else than the interface itself
/// (a bridge port, an IPv6 parameter).
#[must_use]
pub fn read(message: &LinkMessage) -> Option<(u32, Link)> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link { name: String::new(), mac: None, vlan: None, mtu: 0, runs: false };
    link.runs = message.header.flags.contains(LinkFlags::Running);
    let mut lower = None;
    let mut elsewhere = false;
    let (mut id, mut protocol) = (None, 0x8100);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            if message.header.link_layer_type == LinkLayerType::Ether {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Link(index) = attribute {
            lower = Some(*index);
        } else if let LinkAttribute::LinkNetNsId(_) = attribute {
            elsewhere = true;
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            for info in infos {
                let LinkInfo::Data(InfoData::Vlan(parts)) = info else { continue };
                for part in parts {
                    if let InfoVlan::Id(value) = part {
                        id = Some(*value);
                    } else if let InfoVlan::Protocol(value) = part {
                        protocol = u16::from(*value);
                    }
                }
            }
        }
    }
    if let Some(id) = id {
        // A VLAN whose lower interface is in another namespace cannot be sent through from here.
        match lower {
            Some(lower) if !elsewhere => link.vlan = Some(Vlan { lower, protocol, id }),
            _ => link.mac = None,
        }
    }
    Some((message.header.index, link))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{InfoKind, VlanProtocol};

    use super::*;

    fn message(kind: LinkLayerType, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = kind;
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::Mtu(1500));
        message
    }

    fn vlan(protocol: VlanProtocol) -> LinkAttribute {
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Protocol(protocol), InfoVlan::Id(100)])),
        ])
    }

    #[test]
    fn what_messages_say() {
        let check = |message: &LinkMessage, mac: bool, vlan: Option<Vlan>| {
            let mac = mac.then_some([2, 0, 0, 0, 0, 1]);
            let link = Link { name: "x0".into(), mac, vlan, mtu: 1500, runs: true };
            assert_eq!(read(message), Some((7, link)));
        };
        let name = LinkAttribute::IfName("x0".into());
        let mac = LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]);
        let lower = LinkAttribute::Link(3);
        let ether = LinkLayerType::Ether;
        check(&message(ether, vec![name.clone(), mac.clone()]), true, None);
        // A veth has a lower index too, but is no VLAN.
        check(&message(ether, vec![name.clone(), mac.clone(), lower.clone()]), true, None);
        check(
            &message(
                LinkLayerType::Loopback,
                vec![name.clone(), LinkAttribute::Address(vec![0; 6])],
            ),
            false,
            None,
        );
        for protocol in [VlanProtocol::Ieee8021Q, VlanProtocol::Ieee8021Ad] {
            check(
                &message(ether, vec![name.clone(), mac.clone(), lower.clone(), vlan(protocol)]),
                true,
                Some(Vlan { lower: 3, protocol: u16::from(protocol), id: 100 }),
            );
        }
        let far =
            vec![name, mac, lower, vlan(VlanProtocol::Ieee8021Q), LinkAttribute::LinkNetNsId(1)];
        check(&message(ether, far), false, None);
    }

    #[test]
    fn bridge_ports_are_not_interfaces() {
        let mut port = message(LinkLayerType::Ether, Vec::new());
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(read(&port), None);
    }
}
