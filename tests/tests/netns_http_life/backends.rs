//! Backends that drain, evacuate, go down and come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_userspace::api::wire::{BackendState, Health};
use tests::{
    http::{
        load::{Asked, Browsers, all_served},
        shop::{self, INSERT},
    },
    site::Site,
};

const BROWSERS: usize = 9;

fn browsers(site: &Site) -> Browsers {
    Browsers::start(&site.lab, BROWSERS, shop::client(&site.lab, 0), shop::vip(&site.lab))
}

/// Lets browsers settle: where each is.
fn placed(load: &Browsers) -> BTreeMap<usize, String> {
    let _first = load.work(Duration::from_millis(600));
    let placed = all_served(&load.work(Duration::from_millis(300)));
    assert_eq!(placed.len(), BROWSERS);
    let used: BTreeSet<_> = placed.values().collect();
    assert_eq!(used.len(), 3, "not every backend has browsers: {placed:?}");
    placed
}

/// Nobody changes servers but those of `left`, and they once; where each is in the end.
#[track_caller]
fn check_moves(
    asked: &[Asked],
    placed: &BTreeMap<usize, String>,
    left: &str,
) -> BTreeMap<usize, String> {
    let end = all_served(asked);
    for (browser, before) in placed {
        let mut servers = vec![before.clone()];
        for one in asked.iter().filter(|one| one.browser == *browser) {
            let Ok((_, server)) = &one.answer else { continue };
            if servers.last() != Some(server) {
                servers.push(server.clone());
            }
        }
        if before == left {
            assert!(servers.len() <= 2, "browser {browser} went over {servers:?}");
        } else {
            assert_eq!(servers.len(), 1, "browser {browser} went over {servers:?}");
        }
    }
    end
}

#[test]
fn draining_keeps_sessions_and_takes_no_new_ones() {
    let site = shop::start(2, 3, INSERT);
    let load = browsers(&site);
    let placed = placed(&load);
    site.holdfast.verb("backend drain web-1");
    site.holdfast.until_backend("web-1", BackendState::Draining);
    shop::settle();
    let new = Browsers::start(&site.lab, 12, shop::client(&site.lab, 1), shop::vip(&site.lab));
    let asked = load.work(Duration::from_millis(800));
    assert_eq!(check_moves(&asked, &placed, "nobody"), placed);
    let new = all_served(&new.stop());
    let used: BTreeSet<&str> = new.values().map(String::as_str).collect();
    assert_eq!(used, BTreeSet::from(["web-2", "web-3"]));
    let _all = all_served(&load.stop());
}

#[test]
fn evacuating_moves_sessions_once() {
    let site = shop::start(1, 3, INSERT);
    let load = browsers(&site);
    let placed = placed(&load);
    site.holdfast.verb("backend evacuate web-2");
    site.holdfast.until_backend("web-2", BackendState::Evacuating);
    shop::settle();
    let asked = load.work(Duration::from_millis(800));
    let now = check_moves(&asked, &placed, "web-2");
    assert!(now.values().all(|server| server != "web-2"), "{now:?}");
    // Back in service: who has moved stays.
    site.holdfast.verb("backend ready web-2");
    site.holdfast.until_backend("web-2", BackendState::Ready);
    shop::settle();
    assert_eq!(check_moves(&load.work(Duration::from_millis(500)), &now, "nobody"), now);
    let _all = all_served(&load.stop());
}

#[test]
fn a_killed_server_loses_no_request_that_can_be_repeated() {
    let mut site = shop::start(1, 3, INSERT);
    let load = browsers(&site);
    let placed = placed(&load);
    // Its sessions move at the first refused connection, long before the health check says so.
    site.servers[2].stop();
    let asked = load.work(Duration::from_millis(1500));
    let now = check_moves(&asked, &placed, "web-3");
    assert!(now.values().all(|server| server != "web-3"), "{now:?}");
    site.holdfast.until("web-3 is down", |status| {
        status.backends.iter().any(|one| one.name == "web-3" && one.health == Health::Down)
    });
    shop::settle();
    // A new life: who has moved stays, new ones come.
    site.servers[2].start_again();
    site.holdfast.until("web-3 is up", |status| {
        status.backends.iter().any(|one| one.name == "web-3" && one.health == Health::Up)
    });
    shop::settle();
    assert_eq!(check_moves(&load.work(Duration::from_millis(500)), &now, "nobody"), now);
    let new = Browsers::start(&site.lab, 6, shop::client(&site.lab, 0), shop::vip(&site.lab));
    let used = all_served(&new.work(Duration::from_millis(600)));
    assert!(used.values().any(|server| server == "web-3"), "{used:?}");
    drop(new);
    let all = load.stop();
    let _served = all_served(&all);
    assert!(all.len() > 500, "only {} requests", all.len());
}

#[test]
fn a_cookie_of_an_earlier_life_is_void() {
    let mut site = shop::start(1, 3, INSERT);
    let cookie = loop {
        let answer = shop::get(&site, 0, "/", &[]).answer;
        if answer.server() == "web-1" {
            break answer.cookies()[0].to_owned();
        }
    };
    let is = |site: &Site, health| {
        let what = format!("web-1 is {health:?}");
        let _status = site.holdfast.until(&what, |status| {
            status.backends.iter().any(|one| one.name == "web-1" && one.health == health)
        });
        shop::settle();
    };
    site.servers[0].stop();
    is(&site, Health::Down);
    let moved = shop::get(&site, 0, "/", &["--cookie", &cookie]).answer;
    assert_eq!(moved.field("x-session"), Some("down"));
    let new = moved.cookies()[0].to_owned();
    site.servers[0].start_again();
    is(&site, Health::Up);
    for _ in 0..3 {
        let answer = shop::get(&site, 0, "/", &["--cookie", &new]).answer;
        assert_eq!((answer.field("x-session"), answer.server()), (Some("hit"), moved.server()));
        // Requests of the same browser that still bring the old one go the same way.
        let old = shop::get(&site, 0, "/", &["--cookie", &cookie]).answer;
        assert_eq!(old.field("x-session"), Some("down"));
    }
    // All backends gone: 503, and nothing of them is said.
    for server in &mut site.servers {
        server.stop();
    }
    let none = shop::get(&site, 0, "/", &[]).answer;
    assert_eq!(none.status, 503, "{none:?}");
    assert!(!none.text().contains("10.0.0") && none.all("set-cookie").is_empty(), "{none:?}");
}

#[test]
fn a_backend_that_is_taken_out_of_the_file_loses_its_sessions_alone() {
    let site = shop::start(1, 3, INSERT);
    let load = browsers(&site);
    let placed = placed(&load);
    let with = std::fs::read_to_string(&site.holdfast.config).expect("a file");
    let begin = with.find("[[pool.backend]]\nname = \"web-3\"").expect("there");
    let end = with.find("[[listener]]").expect("there");
    let without = format!("{}{}", &with[..begin], &with[end..]);
    shop::reload(&site, &tests::site::Configuration { text: without });
    let asked = load.work(Duration::from_millis(700));
    let now = check_moves(&asked, &placed, "web-3");
    assert!(now.values().all(|server| server != "web-3"), "{now:?}");
    let _all = all_served(&load.stop());
}
