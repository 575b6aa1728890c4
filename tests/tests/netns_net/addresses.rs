//! Listener addresses put on, taken off, and announced.

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_userspace::net::{
    addresses::{self, Changes, Placed},
    announce,
};

use crate::harness::{NEAR_MAC, Namespace, ip, pair};

/// Runs `addresses::ensure` in the namespace.
fn ensure(
    near: &Namespace,
    wanted: &[&str],
    interfaces: &[&str],
    own: &[&str],
) -> Result<Changes, String> {
    let ips = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<Vec<_>>();
    let (wanted, own) = (ips(wanted), ips(own));
    let interfaces: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
    near.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let handle = lb_userspace::net::connect().expect("netlink");
            let changes = addresses::ensure(&handle, &wanted, &interfaces, &own).await;
            if let Ok(Changes { failed, .. }) = &changes {
                assert!(failed.is_empty(), "{failed:?}");
            }
            changes.map_err(|error| error.to_string())
        })
    })
}

#[test]
fn listener_addresses() {
    let (near, far) = pair();
    near.ip("link add eth1 type veth peer name far1");
    near.ip("link set eth1 up");
    near.ip("addr add 10.0.0.40/32 dev eth0");
    let placed = |address: &str| Placed {
        address: ip(address),
        interface: near.index("eth0"),
        name: "eth0".into(),
        mac: Some(NEAR_MAC),
    };
    let both = ["eth1", "eth0"];

    let wanted = ["10.0.0.50", "2001:db8::50", "10.0.0.40"];
    let changes = ensure(&near, &wanted, &both, &[]).expect("added");
    assert_eq!(changes.added, [placed("10.0.0.50"), placed("2001:db8::50")]);
    assert_eq!(changes.own, [ip("10.0.0.50"), ip("2001:db8::50")]);
    // Usable at once: nothing tentative; and no source for connections of one's own.
    let shown = near.ip("addr show dev eth0");
    assert!(shown.contains("10.0.0.50/32"), "{shown}");
    let six = shown.lines().find(|line| line.contains("2001:db8::50/128")).expect("added");
    assert!(six.contains("nodad") && six.contains("deprecated"), "{six}");
    assert!(!six.contains("tentative"), "{six}");
    far.ip("-6 route add default via 2001:db8::1");
    assert!(near.ip("route get 2001:db8::2").contains("src 2001:db8::1 "));
    assert!(near.ip("route get 10.0.0.2").contains("src 10.0.0.1 "));

    // Again: nothing to do, and what is ours is known without a list.
    let again = ensure(&near, &wanted, &both, &[]).expect("kept");
    assert_eq!((again.added, again.removed), (vec![], vec![]));
    let mut own = again.own;
    own.sort();
    assert_eq!(own, [ip("10.0.0.50"), ip("2001:db8::50")]);

    // One goes, one comes.
    let changes = ensure(&near, &["2001:db8::50", "10.0.0.51"], &both, &[]).expect("changed");
    assert_eq!(changes.added, [placed("10.0.0.51")]);
    assert_eq!(changes.removed, [ip("10.0.0.50")]);

    // An interface that is not there changes nothing.
    let error = ensure(&near, &[], &["eth9"], &[]).expect_err("no such interface");
    assert_eq!(error, "there is no interface eth9");
    assert!(near.ip("addr show dev eth0").contains("10.0.0.51/32"));

    // All go but those of others.
    let changes = ensure(&near, &[], &[], &[]).expect("removed");
    assert_eq!(changes.removed.len(), 2, "{changes:?}");
    let shown = near.ip("addr show dev eth0");
    for (address, there) in [
        ("10.0.0.1/24", true),
        ("10.0.0.40/32", true),
        ("2001:db8::1/64", true),
        ("10.0.0.50/32", false),
        ("10.0.0.51/32", false),
        ("2001:db8::50/128", false),
    ] {
        assert_eq!(shown.contains(address), there, "{address} in {shown}");
    }
    // The list stands in where the kernel keeps no mark.
    let changes = ensure(&near, &[], &[], &["10.0.0.40"]).expect("removed");
    assert_eq!(changes.removed, [ip("10.0.0.40")]);
}

#[test]
fn announcements_are_believed() {
    let (near, far) = pair();
    // The far side believes the addresses elsewhere.
    let addresses = ["10.0.0.50", "2001:db8::50"];
    for address in addresses {
        far.ip(&format!("neigh replace {address} lladdr 02:00:00:00:09:09 dev far0 nud stale"));
    }
    let index = near.index("eth0");
    for address in addresses {
        let placed = Placed {
            address: ip(address),
            interface: index,
            name: "eth0".into(),
            mac: Some(NEAR_MAC),
        };
        near.run(move || announce::Announcer::new()?.announce(&placed)).expect("sent");
        let began = Instant::now();
        while !far.ip(&format!("neigh show {address}")).contains("02:00:00:00:01:01") {
            assert!(began.elapsed() < Duration::from_secs(2), "{address} is not believed");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
