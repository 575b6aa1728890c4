//! Several agents with one key ring, and a ring that turns (C6).

use std::fs;

use lb_userspace::{
    agent::sidecar::keys::{now_s, save},
    l7::{cookie::ring::Ring, random},
};
use tests::{
    agent::Holdfast,
    http::shop::{self, INSERT, get},
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

/// A node, with the keys of another one.
fn node(keys_of: Option<&Site>) -> Site {
    let lab = Lab::new(Shape::Routed, 1, 3);
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    let servers = shop::servers(&lab);
    let holdfast = Holdfast::new(&lab, &configuration.text);
    if let Some(other) = keys_of {
        let keys = fs::read_to_string(other.lab.folder().join("state/keys.json"));
        let _path = lab.write("state/keys.json", &keys.expect("keys"));
    }
    shop::run(lab, servers, holdfast)
}

#[test]
fn nodes_with_one_ring_understand_one_another() {
    let one = node(None);
    let two = node(Some(&one));
    let stranger = node(None);
    for _ in 0..4 {
        let first = get(&one, 0, "/", &[]).answer;
        let cookie = first.cookies()[0].to_owned();
        let there = get(&two, 0, "/", &["--cookie", &cookie]).answer;
        assert_eq!(there.field("x-session"), Some("hit"), "{there:?}");
        assert_eq!(there.server(), first.server());
        // And what that one makes of it holds here.
        let renewed = there.cookies().first().map_or(cookie.clone(), |it| (*it).to_owned());
        let back = get(&one, 0, "/", &["--cookie", &renewed]).answer;
        assert_eq!((back.field("x-session"), back.server()), (Some("hit"), first.server()));
        let other = get(&stranger, 0, "/", &["--cookie", &cookie]).answer;
        assert_eq!(other.field("x-session"), Some("forged"));
    }
}

#[test]
fn a_ring_that_turns_loses_no_session() {
    let site = node(None);
    let first = get(&site, 0, "/", &[]).answer;
    let cookie = first.cookies()[0].to_owned();
    let state = site.lab.folder().join("state");
    let read = || Ring::from_json(&fs::read(state.join("keys.json")).expect("keys")).expect("one");
    let mut ring = read();
    // Of two keys of one second the larger id would seal.
    ring.rotate(now_s(), 1, &mut random::fill);
    save(&state, &ring).expect("saved");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let _said = site.holdfast.verb("reload");
    shop::settle();
    let again = get(&site, 0, "/", &["--cookie", &cookie]).answer;
    assert_eq!((again.field("x-session"), again.server()), (Some("hit"), first.server()));
    // Sealed by the new key.
    let renewed = again.cookies()[0].to_owned();
    assert_ne!(renewed.get(..18), cookie.get(..18));
    // Without the old key only the new cookie is worth anything.
    let text = fs::read_to_string(state.join("keys.json")).expect("keys");
    let mut keys: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = keys.get_mut("keys").and_then(|keys| keys.as_array_mut()).expect("a list");
    let _old = list.remove(0);
    fs::write(state.join("keys.json"), keys.to_string()).expect("written");
    let _said = site.holdfast.verb("reload");
    shop::settle();
    for (cookie, wanted) in [(renewed, "hit"), (cookie, "forged")] {
        let answer = get(&site, 0, "/", &["--cookie", &cookie]).answer;
        assert_eq!(answer.field("x-session"), Some(wanted));
    }
}
