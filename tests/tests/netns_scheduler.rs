//! Schedulers and slow start on real connections.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread::sleep,
    time::Duration,
};

use lb_userspace::api::wire::BackendState;
use tests::{
    clients::{Connection, curl},
    site::{Configuration, Site, backend_name},
    topology::{Family, Lab, Shape},
};

/// A listener on port 80 without persistence; these lines go to its pool.
fn site(backends: u8, lines: &str) -> Site {
    let lab = Lab::new(Shape::Routed, 1, backends);
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, lines);
    let configuration =
        configuration.listener("web", "tcp", SocketAddr::new(lab.vip(Family::V4), 80), "");
    Site::start(lab, &configuration)
}

fn client(site: &Site) -> IpAddr {
    site.lab.client(Family::V4, 0)
}

fn vip(site: &Site) -> SocketAddr {
    SocketAddr::new(site.lab.vip(Family::V4), 80)
}

/// Of a hundred short connections, those that this backend answered.
fn share(site: &Site, index: usize) -> u32 {
    let answers = curl(&site.lab.clients, client(site), vip(site), 100);
    assert_eq!(answers.values().sum::<u32>(), 100);
    assert!(!answers.contains_key(""), "{answers:?}");
    answers.get(&backend_name(index)).copied().unwrap_or(0)
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let slow_start = Duration::from_secs(20);
    for scheduler in ["maglev", "round-robin"] {
        let lines = format!("scheduler = \"{scheduler}\"\nslow_start = \"20s\"\n");
        let mut site = site(2, &lines);
        let usual = share(&site, 1);
        assert!((30..=70).contains(&usual), "{scheduler}: {usual} before");
        site.servers[1].stop();
        site.holdfast.until_backend(&backend_name(1), BackendState::Down);
        assert_eq!(share(&site, 1), 0);
        site.servers[1].start_again();
        site.holdfast.until_backend(&backend_name(1), BackendState::Ready);
        let slow = share(&site, 1);
        // One or two parts of ten against the other's ten.
        assert!((1..=28).contains(&slow), "{scheduler}: {slow} at first");
        sleep(slow_start);
        let whole = share(&site, 1);
        assert!((30..=70).contains(&whole), "{scheduler}: {whole} at last");
    }
}

/// Opens so many connections that stay; who answered them, with those of before.
fn open(
    site: &Site,
    open: &mut Vec<(String, Connection)>,
    count: usize,
) -> BTreeMap<String, usize> {
    for _ in 0..count {
        let mut one =
            Connection::open(&site.lab.clients, client(site), vip(site)).expect("connected");
        let name = one.ask().expect("an answer");
        open.push((name, one));
    }
    let mut counts = BTreeMap::new();
    for (name, _) in open.iter() {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn long_connections_go_where_few_run() {
    let site = site(3, "scheduler = \"least-connections\"\n");
    let last = backend_name(2);
    let _drained = site.holdfast.verb(&format!("backend drain {last}"));
    let mut connections = Vec::new();
    let counts = open(&site, &mut connections, 40);
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts.values().all(|count| (16..=24).contains(count)), "{counts:?}");
    // The third is back, with none: of two that are drawn it is the better one whenever it is among
    // them, twice in three times, until it has as many.
    let _ready = site.holdfast.verb(&format!("backend ready {last}"));
    let counts = open(&site, &mut connections, 30);
    assert!(counts[&last] >= 14, "{counts:?}");
    let counts = open(&site, &mut connections, 50);
    assert!(counts.values().all(|count| (32..=48).contains(count)), "{counts:?}");
    // A sweep counts the same.
    let status = site.holdfast.until("flows are counted", |status| {
        status.backends.iter().map(|backend| backend.flows).sum::<u64>() >= 120
    });
    for backend in &status.backends {
        assert_eq!(usize::try_from(backend.flows), Ok(counts[&backend.name]), "{backend:?}");
    }
    // Connections stay where they are.
    for (name, one) in &mut connections {
        assert_eq!(one.ask().expect("an answer"), *name);
    }
}
