//! Which way the kernel would send: one route look-up per backend.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};

use super::{Error, error_number};

/// How the kernel would send to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Out of an interface.
    Way {
        /// Its index.
        interface: u32,
        /// Router to hand over to; the address itself when it is on the link. The family may
        /// differ from the address's (IPv4 through an IPv6 router, RFC 5549).
        next: IpAddr,
        /// Source address that the route prefers.
        source: Option<IpAddr>,
        /// Largest IP packet that the route takes, in bytes, if it says so; else the interface
        /// does.
        mtu: Option<u32>,
    },
    /// Not at all, and why.
    None(String),
}

/// Asks the kernel, as `ip route get` does.
pub async fn to(handle: &Handle, address: IpAddr) -> Result<Route, Error> {
    let answer = ask(handle, address).await?;
    Ok(answer.map_or_else(|number| Route::None(refusal(number)), |answer| read(&answer, address)))
}

/// Does the kernel take it for an address of this machine? It does so for those of the interfaces
/// and for those with a route of type `local`, and answers for both in ARP.
pub async fn is_local(handle: &Handle, address: IpAddr) -> Result<bool, Error> {
    let answer = ask(handle, address).await?;
    Ok(answer.is_ok_and(|answer| answer.header.kind == RouteType::Local))
}

/// The kernel's answer, or its refusal.
async fn ask(handle: &Handle, address: IpAddr) -> Result<Result<RouteMessage, Errno>, Error> {
    let mut question = RouteMessage::default();
    question.header.address_family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    question.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    question.attributes.push(RouteAttribute::Destination(address.into()));
    match handle.route().get(question).execute().try_next().await {
        Ok(Some(answer)) => Ok(Ok(answer)),
        Ok(None) => Err(Error::Closed),
        Err(error) => match error_number(&error).map(Errno::from_raw) {
            Some(number) => Ok(Err(number)),
            None => Err(Error::request(format!("look up the route to {address}"))(error)),
        },
    }
}

/// What a refused look-up says of the route: the errors of `fib_props` in the kernel's
/// `net/ipv4/fib_semantics.c`, the same for IPv6.
fn refusal(error: Errno) -> String {
    if error == Errno::ENETUNREACH {
        "there is no route to it".into()
    } else if error == Errno::EHOSTUNREACH {
        "its route is of type `unreachable`".into()
    } else if error == Errno::EINVAL {
        "its route is of type `blackhole`".into()
    } else if error == Errno::EACCES {
        "its route is of type `prohibit`".into()
    } else {
        format!("its route cannot be looked up: {}", error.desc())
    }
}

fn read(answer: &RouteMessage, address: IpAddr) -> Route {
    if answer.header.kind == RouteType::Local {
        return Route::None("its address is this machine's own".into());
    }
    if answer.header.kind != RouteType::Unicast {
        return Route::None("its address is no single machine's".into());
    }
    let (mut interface, mut next, mut source, mut mtu) = (None, address, None, None);
    for attribute in &answer.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            interface = Some(*index);
        } else if let RouteAttribute::Gateway(gateway) = attribute {
            next = ip(gateway).unwrap_or(next);
        } else if let RouteAttribute::Via(RouteVia::Inet6(gateway)) = attribute {
            next = IpAddr::V6(*gateway);
        } else if let RouteAttribute::PrefSource(preferred) = attribute {
            source = ip(preferred);
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            mtu = metrics.iter().find_map(|metric| {
                if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None }
            });
        } else if let RouteAttribute::EncapType(_) = attribute {
            return Route::None("its route encapsulates packets".into());
        }
    }
    match interface {
        Some(interface) => Route::Way { interface, next, source, mtu },
        None => Route::None("its route names no interface".into()),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = address {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_say() {
        let backend: IpAddr = "10.1.0.5".parse().expect("address");
        let router: IpAddr = "10.0.0.254".parse().expect("address");
        let own: IpAddr = "10.0.0.1".parse().expect("address");
        let check = |kind: RouteType, attributes: Vec<RouteAttribute>, want: Route| {
            let mut answer = RouteMessage::default();
            answer.header.kind = kind;
            answer.attributes = attributes;
            assert_eq!(read(&answer, backend), want);
        };
        let oif = RouteAttribute::Oif(3);
        let source = RouteAttribute::PrefSource(own.into());
        check(
            RouteType::Unicast,
            vec![oif.clone(), source.clone()],
            Route::Way { interface: 3, next: backend, source: Some(own), mtu: None },
        );
        check(
            RouteType::Unicast,
            vec![
                RouteAttribute::Gateway(router.into()),
                source,
                oif.clone(),
                RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]),
            ],
            Route::Way { interface: 3, next: router, source: Some(own), mtu: Some(1400) },
        );
        let v6 = "fe80::1".parse().expect("address");
        check(
            RouteType::Unicast,
            vec![RouteAttribute::Via(RouteVia::Inet6(v6)), oif.clone()],
            Route::Way { interface: 3, next: IpAddr::V6(v6), source: None, mtu: None },
        );
        check(RouteType::Unicast, vec![], Route::None("its route names no interface".into()));
        check(
            RouteType::Local,
            vec![oif.clone()],
            Route::None("its address is this machine's own".into()),
        );
        check(
            RouteType::Broadcast,
            vec![oif],
            Route::None("its address is no single machine's".into()),
        );
    }
}
