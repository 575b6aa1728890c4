//! Addresses: how they are written, and which of them the data path can serve.
//!
//! Owns the spelling and the refusal of special addresses. Never resolves a name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{Prefix, error::Read, raw::Value};

/// What a backend's address may look like.
pub(super) const BACKEND: &str =
    "\"10.0.0.11:8080\", \"10.0.0.11\", \"[fd00::11]:8080\" or \"fd00::11\"; port 1 to 65535";
/// What a listener's address may look like.
pub(super) const LISTENER: &str = "\"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535";
/// What a source address may look like.
const SOURCE: &str = "\"10.0.0.2\" or \"fd00::2\"";
/// What a prefix of source addresses may look like.
const PREFIX: &str = "\"10.255.0.0/16\", \"fd00:ff::/64\" or one address";
/// Both spellings would be one address.
const MAPPED: &str = "an IPv4 address written as IPv6";
/// The addresses that are not special.
const UNICAST: &str = "a unicast address of one machine, IPv4 or IPv6";

impl Value<'_> {
    /// A listener's `"address:port"`.
    pub(super) fn listener_address(&self) -> Read<SocketAddr> {
        let text = self.text("an address with its port")?;
        if text.parse::<IpAddr>().is_ok() {
            return Err(self.refuse("no port", LISTENER));
        }
        self.socket_address(text, LISTENER)
    }

    /// A backend's `"address"` or `"address:port"`.
    pub(super) fn backend_address(&self) -> Read<(IpAddr, Option<u16>)> {
        let text = self.text("an address")?;
        if let Ok(address) = text.parse() {
            return Ok((self.usable(address)?, None));
        }
        let address = self.socket_address(text, BACKEND)?;
        Ok((address.ip(), Some(address.port())))
    }

    /// An address that `nat` sends from.
    pub(super) fn source_address(&self) -> Read<IpAddr> {
        let text = self.text("an address")?;
        let Ok(address) = text.parse() else { return Err(self.refuse("not an address", SOURCE)) };
        self.usable(address)
    }

    /// A prefix of addresses that packets can come from: `"address/length"`, or an address alone.
    pub(super) fn source_prefix(&self) -> Read<Prefix> {
        let prefix = self.prefix(8)?;
        self.usable(prefix.address)?;
        Ok(prefix)
    }

    /// A prefix of any addresses that can be somebody's, this machine's own too.
    pub(super) fn peer_prefix(&self) -> Read<Prefix> {
        let prefix = self.prefix(1)?;
        match prefix.address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(self.refuse(MAPPED, PREFIX)),
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(prefix),
        }
    }

    fn prefix(&self, shortest: u8) -> Read<Prefix> {
        let text = self.text("an address or a prefix of addresses")?;
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(self.refuse("not an address or prefix", PREFIX));
        };
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(digits) => match digits.parse::<u8>() {
                Ok(length)
                    if (shortest..=most).contains(&length) && !digits.starts_with(['+', '0']) =>
                {
                    length
                }
                _ => {
                    let allowed = format!("{shortest} to {most}");
                    return Err(self.refuse("not a length of prefix", allowed));
                }
            },
        };
        let prefix = Prefix { address, length };
        if prefix.first() != address {
            let right = format!("{}/{length}", prefix.first());
            return Err(self.refuse("more bits than the prefix has", format!("{right:?}")));
        }
        Ok(prefix)
    }

    fn socket_address(&self, text: &str, allowed: &str) -> Read<SocketAddr> {
        // The parser of `std` takes a zone ("%2"), which no packet carries.
        let parsed = text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'));
        let Some(address) = parsed else {
            let wrong = match wrong_port(text) {
                Some(port)
                    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    "not a port number"
                }
                Some(_) => "port out of range",
                None => "not an IP address (names are not looked up)",
            };
            return Err(self.refuse(wrong, allowed));
        };
        if address.port() == 0 {
            return Err(self.refuse("port 0", allowed));
        }
        self.usable(address.ip())?;
        Ok(address)
    }

    fn usable(&self, address: IpAddr) -> Read<IpAddr> {
        match special(address) {
            None => Ok(address),
            Some(kind) => Err(self.refuse(kind, UNICAST)),
        }
    }
}

/// What stands behind an address in the place of a port, and is none.
fn wrong_port(text: &str) -> Option<&str> {
    let (address, port) = text.rsplit_once(':').filter(|_| !text.contains('%'))?;
    let rest_is_right = format!("{address}:1").parse::<SocketAddr>().is_ok();
    Some(port).filter(|_| rest_is_right)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Prefix {
    /// Does it hold that address?
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Self { address, ..self }.first() == self.first()
    }

    /// Its address without the bits that the prefix does not have.
    pub(crate) fn first(self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & !host).into()
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(self.length.into()).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & !host).into()
            }
        }
    }
}

/// Why no packet of a listener or backend can carry this address.
fn special(address: IpAddr) -> Option<&'static str> {
    if let IpAddr::V6(v6) = address {
        // The data path keeps IPv4 in this form: both spellings would be one address.
        if v6.to_ipv4_mapped().is_some() {
            return Some(MAPPED);
        }
        // Says nothing without an interface, and there is no way to name one here.
        if v6.is_unicast_link_local() {
            return Some("a link-local address");
        }
    }
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("the broadcast address")
    } else {
        None
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
