//! The sidecar and the agent under load: killed, stopped, started, reloaded.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::{
    http::{
        load::{Browsers, all_served},
        process::{kill_sidecar, sidecar, sidecars, status},
        shop::{self, INSERT},
    },
    load::Load,
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
    wait,
};

/// A listener of layer 7 on port 80, and one of layer 4 on 8000.
fn site() -> Site {
    let lab = Lab::new(Shape::Routed, 3, 3);
    let tcp = std::net::SocketAddr::new(lab.vip(Family::V4), 8000);
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, "")
        .listener("shop", "http", shop::vip(&lab), INSERT)
        .listener("raw", "tcp", tcp, "persistence = { timeout = \"5m\" }");
    let servers = shop::servers(&lab);
    shop::serve(lab, servers, &configuration)
}

fn browsers(site: &Site) -> Browsers {
    Browsers::start(&site.lab, 8, shop::client(&site.lab, 0), shop::vip(&site.lab))
}

#[test]
fn a_killed_sidecar_is_back_within_a_second_and_layer_4_does_not_notice() {
    let site = site();
    let tcp = std::net::SocketAddr::new(site.lab.vip(Family::V4), 8000);
    let load = browsers(&site);
    let below = Load::start(&site.lab, &[shop::client(&site.lab, 1)], tcp);
    let before = all_served(&load.work(Duration::from_secs(1)));
    let start = Instant::now();
    let _pid = kill_sidecar(&site.lab.balancer, &site.holdfast);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}{}", site.holdfast.last_words());
    let back = Instant::now();
    let after = all_served(&load.work(Duration::from_millis(800)));
    // A kill cannot be hidden from who waited for an answer, and from nobody else.
    let failed: Vec<_> = load.stop().into_iter().filter(|one| one.answer.is_err()).collect();
    assert!(failed.len() <= 8, "{failed:?}");
    assert!(failed.iter().all(|one| one.at < back), "{failed:?}");
    // Sessions are in the cookies.
    assert_eq!(before, after);
    let below = below.stop();
    assert!(below.len() > 50, "only {} requests", below.len());
    for one in below {
        assert!(one.answer.is_ok(), "{one:?}");
    }
}

#[test]
fn an_agent_that_stops_or_dies_leaves_the_sidecar_serving() {
    let mut site = site();
    let load = browsers(&site);
    let placed = all_served(&load.work(Duration::from_secs(1)));
    for end in ["stopped", "killed"] {
        let first = sidecar(&site.lab.balancer);
        let agent = site.agent.take().expect("it runs");
        match end {
            "stopped" => assert_eq!(agent.stop(), Some(0)),
            _ => agent.kill(),
        }
        // By itself.
        let asked = load.work(Duration::from_millis(600));
        assert_eq!(all_served(&asked), placed, "{end}");
        assert_eq!(sidecars(&site.lab.balancer), [first], "{end}");
        site.agent = Some(site.holdfast.start_ready());
        wait::until("the next one serves", tests::agent::PATIENCE, || {
            let now = sidecars(&site.lab.balancer);
            (now.len() == 1 && now != [first]).then_some(())
        });
        let asked = load.work(Duration::from_millis(600));
        assert_eq!(all_served(&asked), placed, "{end}, then started");
    }
    let all = load.stop();
    let _served = all_served(&all);
    assert!(all.len() > 500, "only {} requests", all.len());
}

#[test]
fn reloads_lose_no_request() {
    let site = site();
    let load = browsers(&site);
    let placed = all_served(&load.work(Duration::from_secs(1)));
    let pid = sidecar(&site.lab.balancer);
    let text = std::fs::read_to_string(&site.holdfast.config).expect("a file");
    for round in 0..4 {
        let timeout = format!("{}h", round + 2);
        let text = text.replace("\"1h\"", &format!("\"{timeout}\""));
        shop::reload(&site, &Configuration { text });
        // SIGHUP as well.
        site.agent().signal(Signal::SIGHUP);
        let asked = load.work(Duration::from_millis(200));
        assert_eq!(all_served(&asked), placed, "round {round}");
    }
    // The same process all along.
    assert_eq!(sidecar(&site.lab.balancer), pid);
    // What is wrong changes nothing.
    let bad = text.replace("cookie-insert", "cookie-inserted");
    std::fs::write(&site.holdfast.config, bad).expect("written");
    assert!(!site.holdfast.try_verb("reload").status.success());
    // Another number of workers: another process, and still no request is lost.
    let other = text.replace("[limits]", "[sidecar]\nworkers = 3\ndrain = \"5s\"\n[limits]");
    shop::reload(&site, &Configuration { text: other });
    wait::until("another process serves", tests::agent::PATIENCE, || {
        let now = sidecars(&site.lab.balancer);
        (now.len() == 1 && now != [pid]).then_some(())
    });
    let asked = load.work(Duration::from_millis(400));
    assert_eq!(all_served(&asked), placed);
    let all = load.stop();
    let _served = all_served(&all);
    assert!(all.len() > 500, "only {} requests", all.len());
}

#[test]
fn detach_takes_the_sidecar_away() {
    let mut site = site();
    let pid = sidecar(&site.lab.balancer);
    assert_eq!(site.agent.take().expect("it runs").stop(), Some(0));
    assert_eq!(sidecars(&site.lab.balancer), [pid]);
    let output = site.holdfast.try_with_config("detach");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait::until("it is gone", Duration::from_secs(5), || {
        sidecars(&site.lab.balancer).is_empty().then_some(())
    });
}

#[test]
fn the_process_can_do_nothing_but_serve() {
    let site = shop::start(1, 1, INSERT);
    let pid = sidecar(&site.lab.balancer);
    let passwd = std::fs::read_to_string("/etc/passwd").expect("users");
    let nobody = passwd.lines().find_map(|line| line.strip_prefix("nobody:"));
    let id = nobody.and_then(|rest| rest.split(':').nth(1)).expect("nobody");
    for name in ["Uid", "Gid"] {
        let ids = status(pid, name);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        assert_eq!(ids, [ids[0]; 4], "{name}");
        assert_ne!(ids[0], "0", "{name}");
    }
    assert_eq!(status(pid, "Uid").split_whitespace().next(), Some(id));
    assert_eq!(status(pid, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set).trim_start_matches('0'), "", "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    let log = std::fs::read_to_string(&site.holdfast.log).expect("a log");
    assert!(log.contains("no capabilities, no new privileges"), "{log}");
    // Where the kernel has Landlock, it says so: files are out of reach.
    let has = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if has.contains("landlock") {
        assert!(log.contains("no files (Landlock)"), "{log}");
    } else if log.contains("this kernel has no Landlock") {
        eprintln!("this kernel has no Landlock: that part is not seen here");
    }
    // It holds no file of the agent's: sockets, pipes and what the kernel has in memory.
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let open = ["socket:", "anon_inode:", "pipe:", "/dev/null"];
        let is_log = target.ends_with("agent.log");
        assert!(is_log || open.iter().any(|kind| target.starts_with(kind)), "{target}");
    }
}
