//! What a cookie is worth that was changed, moved, made elsewhere or at another time (C6, C7, C14).
//!
//! A clock that is set back or ahead is seen in the times of seals alone: so they are made here, with
//! the agent's own keys and other times. The machine's clock stays.

use std::{fs, net::SocketAddr};

use lb_userspace::{
    agent::sidecar::keys::now_s,
    l7::{
        cookie::{
            pin::Pin,
            ring::Ring,
            seal::{Sealer, open, seal},
        },
        random,
        view::scope,
    },
};
use tests::{
    http::{
        raw::Raw,
        shop::{self, INSERT, get},
    },
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

fn sealer(site: &Site) -> Sealer {
    let keys = fs::read(site.lab.folder().join("state/keys.json")).expect("keys");
    Sealer::new(&Ring::from_json(&keys).expect("a ring"))
}

fn ask(site: &Site, cookie: &str) -> tests::http::answer::Answer {
    get(site, 0, "/", &["--header", &format!("Cookie: {cookie}")]).answer
}

#[test]
fn forged_cookies_begin_a_new_session() {
    let lab = Lab::new(Shape::Routed, 1, 2);
    let other_at = SocketAddr::new(lab.vip(Family::V4), 81);
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, "")
        .listener("shop", "http", shop::vip(&lab), INSERT)
        .listener("other", "http", other_at, INSERT);
    let servers = shop::servers(&lab);
    let site = shop::serve(lab, servers, &configuration);
    let first = get(&site, 0, "/", &[]).answer;
    let own = first.cookies()[0].to_owned();
    let mut elsewhere = Raw::open(&site.lab.clients, shop::client(&site.lab, 0), other_at);
    let moved = elsewhere.ask("/", "").cookies()[0].to_owned();

    let mut changed = own.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("text");
    let cut = own[..own.len() - 1].to_owned();
    for bad in ["SERVERID=web-1", "SERVERID=", &changed, &cut, &moved] {
        let answer = ask(&site, bad);
        assert_eq!(answer.field("x-session"), Some("forged"), "{bad}");
        let new = answer.cookies()[0].to_owned();
        assert_eq!(ask(&site, &new).field("x-session"), Some("hit"), "after {bad}");
        // The first valid one counts.
        let both = ask(&site, &format!("{bad}; {own}"));
        assert_eq!(both.field("x-session"), Some("hit"), "{bad}");
        assert_eq!(both.server(), first.server());
    }
    // No two cookies are alike, even of one backend.
    assert_ne!(get(&site, 0, "/", &[]).answer.cookies(), get(&site, 0, "/", &[]).answer.cookies());
}

#[test]
fn a_clock_that_is_set_loses_no_session_and_lengthens_none() {
    const HOUR_MS: u64 = 3_600_000;
    let lines = INSERT.replace(" }", ", max_lifetime = \"8h\" }");
    let site = shop::start(1, 2, &lines);
    let sealer = sealer(&site);
    let scope = scope("shop", "web");
    let first = get(&site, 0, "/", &[]).answer;
    let value = first.cookies()[0].strip_prefix("SERVERID=").expect("its name").to_owned();
    let pin = open(&sealer, scope.as_bytes(), value.as_bytes()).expect("ours").pin;
    assert_eq!((pin.idle_s, pin.absolute_s), (3600, 8 * 3600));
    let now_ms = now_s() * 1000;
    assert!(now_ms.abs_diff(pin.issued_ms) < 60_000, "{pin:?}");

    let minutes = |count: u64| count * 60_000;
    let (back, ahead) = (|by: u64| now_ms - by, |by: u64| now_ms + by);
    for (what, issued_ms, renewed_ms, wanted, renewed) in [
        ("now", now_ms, now_ms, "hit", false),
        ("used lately", back(HOUR_MS), back(minutes(5)), "hit", false),
        ("an eighth of the idle time ago", back(HOUR_MS), back(minutes(8)), "hit", true),
        ("nearly too long ago", back(HOUR_MS), back(minutes(59)), "hit", true),
        ("too long ago", back(2 * HOUR_MS), back(minutes(60)), "expired", true),
        ("near the end of its life", back(8 * HOUR_MS - minutes(1)), now_ms, "hit", false),
        ("over its life", back(8 * HOUR_MS), now_ms, "expired", true),
        ("made by a clock an hour ahead", ahead(HOUR_MS), ahead(HOUR_MS), "hit", true),
        ("made years ahead", ahead(20_000 * HOUR_MS), ahead(20_000 * HOUR_MS), "hit", true),
    ] {
        let pin = Pin { issued_ms, renewed_ms, ..pin };
        let made = seal(&sealer, scope.as_bytes(), &pin, now_ms, &mut random::fill);
        let answer = ask(&site, &format!("SERVERID={made}"));
        assert_eq!(answer.field("x-session"), Some(wanted), "{what}");
        assert_eq!(answer.cookies().len(), usize::from(renewed), "{what}: {answer:?}");
        if wanted == "hit" {
            assert_eq!(answer.server(), first.server(), "{what}");
        }
        let Some(new) = answer.cookies().first().and_then(|it| it.strip_prefix("SERVERID=")) else {
            continue;
        };
        let new = open(&sealer, scope.as_bytes(), new.as_bytes()).expect("ours").pin;
        // Never longer than it was meant to be, from now on.
        assert!(new.renewed_ms < now_ms + 60_000, "{what}: {new:?}");
        assert!(new.issued_ms < now_ms + 60_000, "{what}: {new:?}");
        if wanted == "hit" {
            let wanted = issued_ms.min(new.renewed_ms);
            assert_eq!((new.session, new.issued_ms), (pin.session, wanted), "{what}");
        } else {
            assert_ne!(new.session, pin.session, "{what}");
        }
    }
}
