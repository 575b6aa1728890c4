//! A backend's tunnel, from what is wanted of it and what is known of the way there. Pure.

use lb_common::{
    address::Address,
    layout::{Encapsulation, Tunnel},
    tunnel::SMALLEST_MTU,
};

use super::lives::Way;
use crate::model;

/// Lays the tunnel that is wanted on that way, or none where there is none to be.
///
/// Where it cannot be laid the way is none: packets that go without their tunnel would go astray.
pub(super) fn lay(mut way: Way, wanted: Option<&model::Tunnel>) -> Way {
    let Some(wanted) = wanted else {
        return Way { tunnel: Tunnel::default(), ..way };
    };
    let mtu = wanted.mtu.unwrap_or(u16::MAX).min(way.tunnel.mtu);
    let source = wanted.source.or_else(|| preferred(&way));
    way.nat_sources = Default::default();
    way.nat_source_mask = 0;
    match source {
        Some((source, spread)) if mtu >= SMALLEST_MTU => {
            let (kind, port_be) = (wanted.kind.code(), wanted.port_be);
            way.tunnel = Tunnel { source, spread, mtu, port_be, kind, pad: [0; 3] };
            way
        }
        _ => Way::default(),
    }
}

/// The one address that the route prefers, as it was found or, before that is found anew, as the
/// record has it.
fn preferred(way: &Way) -> Option<(Address, Address)> {
    let none = Address::default();
    if let Some(first) = way.nat_sources.get(way.nat_source_mask.trailing_zeros() as usize) {
        return Some((*first, none));
    }
    let kept = way.tunnel.kind != Encapsulation::None.code() && way.tunnel.spread == none;
    kept.then_some((way.tunnel.source, none))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use lb_common::layout::Hop;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn way(sources_mask: u32, mtu: u16) -> Way {
        let mut way = Way { hop: Hop { interface: 3, ..Hop::default() }, ..Way::default() };
        way.nat_sources[0] = address(254);
        way.nat_source_mask = sources_mask;
        way.tunnel.mtu = mtu;
        way
    }

    fn wanted(source: Option<(Address, Address)>, mtu: Option<u16>) -> model::Tunnel {
        model::Tunnel { kind: Encapsulation::Gue, port_be: 7, source, mtu }
    }

    #[test]
    fn what_the_route_says_and_what_the_file_says() {
        let spread = (address(0), IpAddr::from([0, 0, 0, 255]).into());
        let check = |configured, mtu, route_mtu, want: (Address, Address, u16)| {
            let got = lay(way(1, route_mtu), Some(&wanted(configured, mtu)));
            assert_eq!(got.hop.interface, 3);
            assert_eq!((got.tunnel.source, got.tunnel.spread, got.tunnel.mtu), want);
            assert_eq!((got.tunnel.kind, got.tunnel.port_be), (Encapsulation::Gue.code(), 7));
            assert_eq!((got.nat_source_mask, got.nat_sources[0]), (0, Address::default()));
            // A neighbour that is silent, and the record that this came to.
            let again =
                lay(Way { tunnel: got.tunnel, ..way(0, 0) }, Some(&wanted(configured, mtu)));
            assert_eq!(again.tunnel, got.tunnel);
        };
        check(None, None, 1500, (address(254), Address::default(), 1500));
        check(None, Some(1400), 1500, (address(254), Address::default(), 1400));
        check(None, Some(9000), 1500, (address(254), Address::default(), 1500));
        check(Some(spread), None, 9000, (spread.0, spread.1, 9000));
    }

    #[test]
    fn no_way_without_a_tunnel_that_should_be() {
        for way in [way(0, 1500), way(1, SMALLEST_MTU - 1)] {
            let got = lay(way, Some(&wanted(None, None)));
            assert_eq!((got.hop.interface, got.tunnel), (0, Tunnel::default()));
        }
        let plain = lay(way(1, 1500), None);
        assert_eq!((plain.hop.interface, plain.nat_source_mask), (3, 1));
        assert_eq!(plain.tunnel, Tunnel::default());
    }
}
