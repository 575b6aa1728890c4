//! What an operator does and sees: checks, reloads, status, sessions, a second agent, detach.
#![expect(clippy::print_stdout, reason = "the time of a start is printed, not judged")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tests::{
    agent::{Holdfast, check_refused, said},
    clients::{ask_udp, curl, curl_all, placed, udp},
    servers::Echo,
    site::{Configuration, PORT, Site, usual, usual_configuration},
    topology::{Family, Lab, Shape},
    wait,
};

fn vip(site: &Site) -> SocketAddr {
    SocketAddr::new(site.lab.vip(Family::V4), 80)
}

#[test]
fn a_mistake_is_named_with_file_and_line() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let good = usual_configuration(&lab).text;
    let holdfast = Holdfast::new(&lab, &good);
    let (code, text) = said(&holdfast.try_with_config("check"));
    assert_eq!(code, Some(0), "{text}");

    let mistakes = [
        ("timeout = \"5m\"", "timeout = \"2h\"", "3600"),
        ("timeout = \"5m\"", "timeuot = \"5m\"", "timeout"),
        ("pool = \"web\"", "pool = \"wob\"", "wob"),
        ("protocol = \"tcp\"", "protocol = \"tpc\"", "tcp"),
    ];
    for (from, to, told) in mistakes {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        let line = bad.lines().position(|line| line.contains(to)).expect("a line") + 1;
        fs::write(&holdfast.config, &bad).expect("the configuration");
        let place = format!("{}:{line}", holdfast.config.display());
        for verb in ["check", "run"] {
            check_refused(&holdfast.try_with_config(verb), 2, &[&place, told]);
        }
    }

    let bad = good.replace("\"eth1\"", "\"eth7\"");
    fs::write(&holdfast.config, bad).expect("the configuration");
    for verb in ["check", "run"] {
        check_refused(&holdfast.try_with_config(verb), 2, &["eth7", "eth1"]);
    }
    assert_eq!(programs(&lab), 0, "a refused configuration was applied");
}

#[test]
fn a_reload_is_all_or_nothing() {
    let site = usual(12, 3);
    let clients: Vec<_> = (0..12).map(|index| site.lab.client(Family::V4, index)).collect();
    let before = placed(&curl_all(&site.lab.clients, &clients, vip(&site), 2), 2);
    let good = usual_configuration(&site.lab).text;

    let status = site.holdfast.status();
    // The first mistake of the file is far behind a change that would be taken.
    let other = SocketAddr::new(site.lab.vip(Family::V4), 81);
    let bad = good.replace(&vip(&site).to_string(), &other.to_string())
        + "\n[[listener]]\nname = \"web\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:82\"\n\
           pool = \"web\"\n";
    fs::write(&site.holdfast.config, bad).expect("the configuration");
    check_refused(&site.holdfast.try_verb("reload"), 2, &["holdfast.toml:", "web"]);
    let after = site.holdfast.status();
    assert_eq!(after.listeners.len(), status.listeners.len());
    assert_eq!(after.listeners[0].address, status.listeners[0].address);
    assert!(after.last_reload.is_some_and(|last| !last.ok && last.error.is_some()));
    assert_eq!(placed(&curl_all(&site.lab.clients, &clients, vip(&site), 2), 2), before);

    // A good one, by the signal: another listener, another timeout; pins stay.
    let better = usual_configuration(&site.lab)
        .listener("more", "tcp", other, "persistence = { timeout = 60 }")
        .text
        .replace("timeout = \"5m\"", "timeout = \"2m\"");
    fs::write(&site.holdfast.config, better).expect("the configuration");
    site.agent().signal(Signal::SIGHUP);
    let status = site.holdfast.until("the new listener is there", |s| s.listeners.len() == 2);
    assert!(status.last_reload.is_some_and(|last| last.ok));
    let persistence = status.listeners[0].persistence.as_ref().expect("persistence");
    assert_eq!(persistence.timeout_s, 120);
    assert_eq!(placed(&curl_all(&site.lab.clients, &clients, vip(&site), 2), 2), before);
    let answers = curl(&site.lab.clients, clients[0], other, 2);
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [2], "{answers:?}");
    for session in site.holdfast.sessions() {
        let most = if session.scope == "web" { 120 } else { 60 };
        assert!(session.left_s <= most, "{session:?}");
    }

    // And back: the listener goes, and with it its sessions.
    fs::write(&site.holdfast.config, good).expect("the configuration");
    let reloaded = site.holdfast.verb("reload");
    assert!(reloaded.contains("more"), "{reloaded}");
    assert_eq!(site.holdfast.status().listeners.len(), 1);
    assert!(site.holdfast.sessions().iter().all(|session| session.scope == "web"));
    let answers = curl(&site.lab.clients, clients[0], other, 1);
    assert_eq!(answers.get(""), Some(&1), "{answers:?}");
}

#[test]
fn pins_expire_by_the_newest_timeout() {
    let site = usual(6, 3);
    let clients: Vec<_> = (0..6).map(|index| site.lab.client(Family::V4, index)).collect();
    let before = placed(&curl_all(&site.lab.clients, &clients, vip(&site), 2), 2);
    assert_eq!(site.holdfast.sessions().len(), 6);
    let short = usual_configuration(&site.lab).text.replace("\"5m\"", "\"2s\"");
    fs::write(&site.holdfast.config, short).expect("the configuration");
    site.holdfast.verb("reload");
    wait::until("the pins are void", Duration::from_secs(4), || {
        site.holdfast.sessions().is_empty().then_some(())
    });
    // The hash gives the same backends again (P8).
    assert_eq!(placed(&curl_all(&site.lab.clients, &clients, vip(&site), 2), 2), before);
}

#[test]
fn status_and_sessions_tell_what_is() {
    let site = usual(6, 3);
    let clients: Vec<_> = (0..6).map(|index| site.lab.client(Family::V4, index)).collect();
    let placed = placed(&curl_all(&site.lab.clients, &clients, vip(&site), 5), 5);
    let status = site.holdfast.until("pins are counted", |status| status.tables.pins.held == 6);
    let interfaces: Vec<_> = status.interfaces.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(interfaces, ["eth0", "eth1"]);
    let [listener] = status.listeners.as_slice() else { panic!("{status:#?}") };
    assert_eq!((listener.name.as_str(), listener.address), ("web", vip(&site)));
    // 30 connections: handshake, request, end.
    assert!(listener.packets_in >= 30 * 4 && listener.packets_out >= 30 * 3, "{listener:?}");
    assert!(listener.bytes_in >= listener.packets_in * 54, "{listener:?}");
    assert_eq!(listener.events["flow_made"] + flow_renewals(&status), 30, "{listener:?}");
    assert_eq!(listener.events["pin_made"], 6);
    for backend in &status.backends {
        let pins = placed.values().filter(|name| **name == backend.name).count() as u64;
        assert_eq!((backend.pins, backend.flows_placed), (pins, pins * 5), "{backend:?}");
    }
    let page = site.holdfast.verb("status");
    for part in ["web-1", "web-2", "web-3", "eth0", "203.0.113.10:80"] {
        assert!(page.contains(part), "{part} is not in: {page}");
    }

    let one = site.lab.client(Family::V4, 3);
    let text = site.holdfast.verb(&format!("sessions --client {one}"));
    assert!(text.contains(&one.to_string()) && text.contains(&placed[&one]), "{text}");
    assert_eq!(site.holdfast.sessions().len(), 6);
    let _said = site.holdfast.verb(&format!("sessions flush --client {one}"));
    assert_eq!(site.holdfast.sessions().len(), 5);
    let missing = site.holdfast.try_verb("backend drain web-9");
    check_refused(&missing, 2, &["web-9", "web-"]);
}

fn flow_renewals(status: &lb_userspace::api::wire::Status) -> u64 {
    status.listeners[0].events.get("flow_renewed").copied().unwrap_or(0)
}

#[test]
fn a_second_agent_is_refused() {
    let site = usual(2, 2);
    let client = site.lab.client(Family::V4, 0);
    for verb in ["run", "detach"] {
        let output = site.holdfast.try_with_config(verb);
        let (code, text) = said(&output);
        assert_eq!(code, Some(1), "{verb}: {text}");
        assert!(text.contains("another holdfast agent"), "{verb}: {text}");
    }
    let answers = curl(&site.lab.clients, client, vip(&site), 3);
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [3], "{answers:?}");
    assert_eq!(site.holdfast.status().backends.len(), 2);
}

/// How many XDP programs are on the balancer's interfaces.
fn programs(lab: &Lab) -> usize {
    lab.balancer.ip("-details link show").matches("prog/xdp").count()
}

fn addresses(lab: &Lab) -> BTreeSet<String> {
    let text = lab.balancer.ip("-brief address show");
    let words = text.split_whitespace().filter_map(|word| word.split_once('/'));
    words.map(|(address, _)| address.to_owned()).collect()
}

#[test]
fn traffic_goes_on_without_the_agent_and_ends_with_detach() {
    let lab = Lab::new(Shape::Routed, 2, 2);
    let own = addresses(&lab);
    let [v4, v6] = [Family::V4, Family::V6].map(|family| SocketAddr::new(lab.vip(family), 80));
    let configuration = usual_configuration(&lab);
    let mut six = Configuration { text: String::new() }.pool(&lab, Family::V6, "");
    six = six.listener("web6", "tcp", v6, "");
    let six = six.text.replace("\"web\"", "\"web6\"").replace("\"web-", "\"six-");
    let configuration = Configuration { text: configuration.text + &six };
    let mut site = Site::start(lab, &configuration);
    let managed = |site: &Site| &addresses(&site.lab) - &own;
    let wanted: BTreeSet<String> = [v4, v6].iter().map(|vip| vip.ip().to_string()).collect();
    assert_eq!(managed(&site), wanted);
    assert_eq!(programs(&site.lab), 2);

    let check_traffic = |site: &Site| {
        for (family, vip) in [(Family::V4, v4), (Family::V6, v6)] {
            let answers = curl(&site.lab.clients, site.lab.client(family, 0), vip, 3);
            assert_eq!(answers.values().sum::<u32>(), 3, "{answers:?}");
            assert!(!answers.contains_key(""), "{answers:?}");
        }
    };
    check_traffic(&site);
    assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
    check_traffic(&site);
    assert_eq!(managed(&site), wanted);
    assert_eq!(programs(&site.lab), 2);

    let (code, text) = said(&site.holdfast.try_with_config("detach"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(programs(&site.lab), 0);
    assert_eq!(managed(&site), BTreeSet::new());
    assert!(!site.lab.instance().exists(), "bpffs pins are left");
    // Safe to repeat.
    let (code, text) = said(&site.holdfast.try_with_config("detach"));
    assert_eq!(code, Some(0), "{text}");
    // And all can begin again.
    site.agent = Some(site.holdfast.start_ready());
    check_traffic(&site);
}

#[test]
fn addresses_are_left_alone_where_that_is_wanted() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let vip = SocketAddr::new(lab.vip(Family::V4), 80);
    let own = addresses(&lab);
    let configuration = Configuration::new(&lab, "manage_addresses = false")
        .pool(&lab, Family::V4, "")
        .listener("web", "tcp", vip, "");
    let site = Site::start(lab, &configuration);
    assert_eq!(addresses(&site.lab), own);
    // Clients reach it by their route all the same.
    let answers = curl(&site.lab.clients, site.lab.client(Family::V4, 0), vip, 3);
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [3], "{answers:?}");
}

/// Times nothing, so that a slow machine does not fail it: it prints how long it took.
#[test]
fn the_first_packet_of_512_listeners_on_32_pools() {
    let lab = Lab::new(Shape::Routed, 1, 3);
    let ip = lab.vip(Family::V4);
    let mut text = format!("{}[limits]\nflows = 100_000\npins = 100_000\n", lab.agent_table());
    for pool in 0..32 {
        writeln!(text, "[[pool]]\nname = \"pool-{pool}\"").expect("memory");
        for index in 0..3 {
            let address = SocketAddr::new(lab.backend(Family::V4, index), PORT);
            let name = format!("backend-{pool}-{index}");
            writeln!(text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"")
                .expect("memory");
        }
    }
    for listener in 0..512_u16 {
        writeln!(
            text,
            "[[listener]]\nname = \"listener-{listener}\"\nprotocol = \"udp\"\n\
             address = \"{}\"\npool = \"pool-{}\"\npersistence = {{ timeout = 60 }}",
            SocketAddr::new(ip, 1_000 + listener),
            listener % 32
        )
        .expect("memory");
    }
    let echoes: Vec<Echo> = (0..3)
        .map(|index| {
            let address = SocketAddr::new(lab.backend(Family::V4, index), PORT);
            Echo::start(&lab.backends[index], &format!("web-{index}"), &[address])
        })
        .collect();
    let holdfast = Holdfast::new(&lab, &text);
    let socket = udp(&lab.clients, lab.client(Family::V4, 0), SocketAddr::new(ip, 1_511));
    let start = Instant::now();
    let agent = holdfast.start_only();
    socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    let first = wait::until("a packet is balanced", Duration::from_secs(20), || {
        // Refused while nobody listens there.
        socket.send(b"x").ok();
        socket.recv(&mut [0; 64]).ok().map(|_| start.elapsed())
    });
    println!("from the start to the first balanced packet: {first:?}");
    for port in 1_000..1_512 {
        let socket = udp(&lab.clients, lab.client(Family::V4, 0), SocketAddr::new(ip, port));
        let answer = ask_udp(&socket, "y");
        assert!(answer.is_ok(), "port {port}: {answer:?}{}", holdfast.last_words());
    }
    drop((agent, echoes));
}
