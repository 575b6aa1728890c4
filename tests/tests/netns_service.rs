//! Backends that fail, drain and come back under load, and listeners that share pins.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use lb_userspace::api::wire::BackendState;
use tests::{
    clients::{curl, curl_all, placed},
    load::{Asked, Load},
    site::{Configuration, Site, backend_name, usual, usual_configuration},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 12;

type Placed = BTreeMap<IpAddr, String>;

fn clients(site: &Site, range: std::ops::Range<u8>) -> Vec<IpAddr> {
    range.map(|index| site.lab.client(Family::V4, index)).collect()
}

fn vip(site: &Site) -> SocketAddr {
    SocketAddr::new(site.lab.vip(Family::V4), 80)
}

/// Places the first clients, and checks that every backend has some.
fn settle(site: &Site) -> Placed {
    let answers = curl_all(&site.lab.clients, &clients(site, 0..CLIENTS), vip(site), 2);
    let placed = placed(&answers, 2);
    let used: BTreeSet<_> = placed.values().collect();
    assert_eq!(used.len(), site.lab.backends.len(), "{placed:?}");
    placed
}

/// Starts load by the first clients, and waits until each has had answers on both kinds of
/// connection.
fn load(site: &Site) -> Load {
    let load = Load::start(&site.lab, &clients(site, 0..CLIENTS), vip(site));
    sleep(Duration::from_millis(700));
    load
}

fn of<'a>(asked: &'a [Asked], placed: &'a Placed, backend: &'a str) -> Vec<&'a Asked> {
    asked.iter().filter(|one| placed[&one.client] == backend).collect()
}

fn not_of<'a>(asked: &'a [Asked], placed: &'a Placed, backend: &'a str) -> Vec<&'a Asked> {
    asked.iter().filter(|one| placed[&one.client] != backend).collect()
}

/// Each was answered by the backend that its client was on before.
#[track_caller]
fn check_unmoved(asked: &[&Asked], placed: &Placed) {
    assert!(asked.len() > 50, "only {} questions were asked", asked.len());
    for one in asked {
        assert_eq!(one.answer.as_ref(), Ok(&placed[&one.client]), "{one:?}");
    }
}

/// What a failing backend's clients live through: they come to be answered by others, each by one.
#[track_caller]
fn check_moved(asked: &[&Asked], failed: &str) -> Placed {
    assert!(asked.len() > 20, "only {} questions were asked", asked.len());
    let mut moved = Placed::new();
    for one in asked {
        let name = one.answer.as_ref().unwrap_or_else(|error| panic!("{error}: {one:?}"));
        assert_ne!(name, failed, "{one:?}");
        let before = moved.insert(one.client, name.clone());
        assert!(before.is_none_or(|before| before == *name), "{one:?}");
    }
    moved
}

fn failing_backend(fail: impl FnOnce(&mut Site), quickly: Duration) {
    let mut site = usual(CLIENTS, 3);
    let placed = settle(&site);
    let load = load(&site);
    let killed_at = Instant::now();
    fail(&mut site);
    site.holdfast.until_backend("web-2", BackendState::Down);
    let down_after = killed_at.elapsed();
    sleep(quickly);
    let settled_at = Instant::now();
    sleep(Duration::from_secs(1));
    let after = load.since(settled_at);
    let all = load.stop();
    let moved = check_moved(&of(&after, &placed, "web-2"), "web-2");
    check_unmoved(&not_of(&all, &placed, "web-2"), &placed);
    let ended: Vec<_> = all.iter().filter(|one| !one.new && one.answer.is_err()).collect();
    let victims: BTreeSet<_> = ended.iter().map(|one| one.client).collect();
    assert_eq!(victims, moved.keys().copied().collect(), "whose open connections ended");
    for one in ended {
        // Its next packet after the backend was declared down is answered with a reset; before,
        // nobody answers it.
        let kind = one.answer.as_ref().expect_err("an error");
        assert!(
            one.took < down_after + Duration::from_millis(700),
            "down after {down_after:?}, but {one:?}"
        );
        assert_ne!(*kind, std::io::ErrorKind::WouldBlock, "{one:?}");
    }
    let dropped = site.holdfast.status().events.dropped;
    let known = |name: &str| name == "drop_no_next_hop";
    assert!(dropped.iter().all(|event| known(&event.name)), "{dropped:?}");

    // It comes back as a new life: nobody is moved again, and it takes new clients.
    let back = &site.lab.backends[1];
    back.ip("link set eth0 up");
    site.servers[1].stop();
    site.servers[1].start_again();
    site.holdfast.until_backend("web-2", BackendState::Ready);
    let mut expected = placed;
    expected.extend(moved);
    let answers = curl_all(&site.lab.clients, &clients(&site, 0..CLIENTS), vip(&site), 2);
    assert_eq!(tests::clients::placed(&answers, 2), expected);
}

#[test]
fn a_killed_servers_clients_move_and_nobody_else() {
    failing_backend(|site| site.servers[1].stop(), Duration::from_millis(500));
}

#[test]
fn a_vanished_machines_connections_are_reset() {
    failing_backend(
        |site| {
            site.lab.backends[1].ip("link set eth0 down");
        },
        Duration::from_millis(1_500),
    );
}

#[test]
fn without_probes_a_vanished_machines_clients_move_too() {
    let lab = Lab::new(Shape::Routed, CLIENTS, 3);
    let probed = usual_configuration(&lab).text;
    let lines = probed.lines().filter(|line| !line.starts_with("health"));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    let site = Site::start(lab, &Configuration { text });
    let placed = settle(&site);
    site.lab.backends[1].ip("link set eth0 down");
    // The kernel would find out within a minute; it is told to ask.
    let gone = site.lab.backend(Family::V4, 1);
    site.lab.balancer.ip(&format!("neigh del {gone} dev eth1"));
    let status = site.holdfast.until_backend("web-2", BackendState::Down);
    let backend = status.backends.iter().find(|one| one.name == "web-2").expect("web-2");
    let way = &backend.reach.detail;
    assert!(way.contains("ARP on eth1") && !backend.reach.known, "{backend:?}");
    assert!(site.holdfast.verb("status").contains("ARP on eth1"));
    let answers = curl_all(&site.lab.clients, &clients(&site, 0..CLIENTS), vip(&site), 2);
    let moved = tests::clients::placed(&answers, 2);
    for (client, name) in &moved {
        let before = &placed[client];
        assert!(name != "web-2" && (before == "web-2" || before == name), "{client}: {name}");
    }

    site.lab.backends[1].ip("link set eth0 up");
    site.holdfast.until_backend("web-2", BackendState::Ready);
    let answers = curl_all(&site.lab.clients, &clients(&site, 0..CLIENTS), vip(&site), 2);
    assert_eq!(tests::clients::placed(&answers, 2), moved, "pins of its next life");

    // Nobody is left: clients keep their backends, and what is lost has a name.
    for index in 0..3 {
        site.lab.backends[index].ip("link set eth0 down");
        let gone = site.lab.backend(Family::V4, index);
        site.lab.balancer.ip(&format!("neigh del {gone} dev eth1"));
    }
    site.holdfast.until("all are lost", |status| {
        status.backends.iter().all(|one| one.state == BackendState::Down)
    });
    let client = site.lab.client(Family::V4, 0);
    let _none = curl(&site.lab.clients, client, vip(&site), 1);
    let dropped = site.holdfast.status().events.dropped;
    assert!(dropped.iter().any(|event| event.name == "drop_no_next_hop"), "{dropped:?}");
    for index in 0..3 {
        site.lab.backends[index].ip("link set eth0 up");
    }
    site.holdfast.until("all are back", tests::agent::all_ready);
    let answers = curl_all(&site.lab.clients, &clients(&site, 0..CLIENTS), vip(&site), 2);
    assert_eq!(tests::clients::placed(&answers, 2), moved);
}

#[test]
fn draining_keeps_pinned_clients_and_takes_no_new_ones() {
    let site = usual(60, 3);
    let placed = settle(&site);
    let load = load(&site);
    let said = site.holdfast.verb("backend drain web-1");
    assert!(said.contains("web-1"), "{said}");
    site.holdfast.until_backend("web-1", BackendState::Draining);
    let strangers = clients(&site, CLIENTS..36);
    let answers = curl_all(&site.lab.clients, &strangers, vip(&site), 2);
    for (client, name) in tests::clients::placed(&answers, 2) {
        assert_ne!(name, "web-1", "{client}");
    }
    sleep(Duration::from_millis(500));
    let all = load.stop();
    check_unmoved(&all.iter().collect::<Vec<_>>(), &placed);

    site.holdfast.verb("backend ready web-1");
    site.holdfast.until_backend("web-1", BackendState::Ready);
    let answers = curl_all(&site.lab.clients, &clients(&site, 36..60), vip(&site), 2);
    let names: BTreeSet<_> = tests::clients::placed(&answers, 2).into_values().collect();
    assert!(names.contains("web-1"), "{names:?}");
}

#[test]
fn evacuating_lets_connections_run_and_pins_clients_anew() {
    let site = usual(CLIENTS, 3);
    let placed = settle(&site);
    let load = load(&site);
    site.holdfast.verb("backend evacuate web-1");
    site.holdfast.until_backend("web-1", BackendState::Evacuating);
    sleep(Duration::from_millis(200));
    let settled_at = Instant::now();
    sleep(Duration::from_millis(700));
    let after = load.since(settled_at);
    let all = load.stop();
    let (running, new): (Vec<&Asked>, Vec<&Asked>) = all.iter().partition(|one| !one.new);
    check_unmoved(&running, &placed);
    let stayed: Vec<&Asked> =
        new.into_iter().filter(|one| placed[&one.client] != "web-1").collect();
    check_unmoved(&stayed, &placed);
    let new_after: Vec<Asked> = after.into_iter().filter(|one| one.new).collect();
    check_moved(&of(&new_after, &placed, "web-1"), "web-1");
}

#[test]
fn listeners_of_a_group_share_pins() {
    let lab = Lab::new(Shape::Routed, 30, 3);
    let at = |port| SocketAddr::new(lab.vip(Family::V4), port);
    let (http, https, alone) = (at(80), at(443), at(8000));
    let pins = "persistence = { timeout = \"5m\", group = \"site\" }";
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, "")
        .listener("http", "tcp", http, pins)
        .listener("https", "tcp", https, pins)
        .listener("alone", "tcp", alone, "persistence = { timeout = \"5m\" }");
    let site = Site::start(lab, &configuration);
    let clients = clients(&site, 0..30);
    let by_http = placed(&curl_all(&site.lab.clients, &clients, http, 2), 2);
    // Now the hash gives web-1 to nobody: who is on it by another listener is so by a shared pin.
    site.holdfast.verb("backend drain web-1");
    let by_https = placed(&curl_all(&site.lab.clients, &clients, https, 2), 2);
    assert_eq!(by_https, by_http);
    let by_alone = placed(&curl_all(&site.lab.clients, &clients, alone, 2), 2);
    assert!(by_http.values().any(|name| name == "web-1"), "{by_http:?}");
    assert!(by_alone.values().all(|name| name != "web-1"), "{by_alone:?}");
    for session in site.holdfast.sessions() {
        let listeners: &[&str] =
            if session.scope == "site" { &["http", "https"] } else { &["alone"] };
        assert_eq!(session.listeners, listeners);
    }
}

#[test]
fn without_persistence_a_client_is_on_every_backend() {
    let lab = Lab::new(Shape::Routed, 1, 3);
    let vip = SocketAddr::new(lab.vip(Family::V4), 80);
    let configuration =
        Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener("web", "tcp", vip, "");
    let site = Site::start(lab, &configuration);
    let answers = curl(&site.lab.clients, site.lab.client(Family::V4, 0), vip, 60);
    assert_eq!(answers.values().sum::<u32>(), 60, "{answers:?}");
    let names: Vec<_> = answers.keys().cloned().collect();
    assert_eq!(names, (0..3).map(backend_name).collect::<Vec<_>>());
    assert_eq!(site.holdfast.sessions(), []);
}
