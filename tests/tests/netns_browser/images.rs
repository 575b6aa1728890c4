//! A page's images, asked for at once before any cookie came back (C12).

use std::collections::BTreeSet;

use crate::shop::{Shop, start};

/// The backends of a page's images, by their widths.
#[track_caller]
fn backends(shop: &Shop) -> BTreeSet<u64> {
    let widths = shop.browser.script("return [...document.images].map(i => i.naturalWidth)");
    let widths: Vec<u64> = serde_json::from_value(widths).expect("widths");
    assert_eq!(widths.len(), 8);
    assert!(widths.iter().all(|width| (1..=3).contains(width)), "{widths:?}");
    widths.into_iter().collect()
}

#[test]
fn go_to_one_backend() {
    let shop = start();
    // The page itself has no session.
    shop.browser.open("http://shop.example/start");
    let held = backends(&shop);
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(shop.browser.only_cookie().name, "SERVERID");
    shop.browser.open("http://shop.example/");
    assert_eq!(held, BTreeSet::from([shop.backend() as u64 + 1]));
}

#[test]
fn spread_where_first_requests_are_not_remembered() {
    let shop = start();
    // Images of another site bring no cookie, and keep none (SameSite).
    shop.browser.open("http://shop.example/start/elsewhere");
    let held = backends(&shop);
    assert!(held.len() > 1, "{held:?}");
}
