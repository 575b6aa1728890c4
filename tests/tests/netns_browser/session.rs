//! A session's cookie: what the jar shows, and how long it lasts.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    driver::Cookie,
    shop::{Shop, start},
};

const HOUR_S: u64 = 3600;

/// Seconds that may pass between an answer and a look at the jar.
const SLACK_S: u64 = 15;

/// Checks the first cookie of a session, and that reloads and a redirect stay on its backend.
#[track_caller]
fn check_held(shop: &Shop, origin: &str, name: &str, secure: bool) {
    let browser = &shop.browser;
    browser.open(&format!("{origin}/"));
    let backend = shop.backend();
    let cookie = browser.only_cookie();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let left_s = cookie.expiry.expect("an end").saturating_sub(now_s);
    assert!((HOUR_S - SLACK_S..=HOUR_S + SLACK_S).contains(&left_s), "{left_s} s: {cookie:?}");
    let wanted = Cookie {
        name: name.to_owned(),
        path: "/".to_owned(),
        http_only: true,
        secure,
        same_site: "Lax".to_owned(),
        ..cookie.clone()
    };
    assert_eq!(cookie, wanted);
    assert_eq!(browser.script("return document.cookie"), "");
    // Nor does the backend see it.
    assert_eq!(browser.script("return document.getElementById('all').textContent"), "");

    assert_eq!(shop.reload(8), [backend; 8]);
    browser.open(&format!("{origin}/login"));
    assert_eq!(browser.url(), format!("{origin}/account"));
    assert_eq!(shop.backend(), backend);
    browser.open(&format!("{origin}/"));
    assert_eq!(shop.backend(), backend);
    assert_eq!(browser.only_cookie().value, cookie.value);
}

#[test]
fn over_http_reloads_and_a_redirect_stay() {
    let shop = start();
    check_held(&shop, "http://shop.example", "SERVERID", false);
}

#[test]
fn over_https_reloads_and_a_redirect_stay() {
    let shop = start();
    check_held(&shop, "https://shop.example", "SHOP", true);
}

#[test]
fn a_first_answer_may_be_the_redirect() {
    let shop = start();
    shop.browser.open("http://shop.example/missing");
    assert_eq!(shop.browser.jar(), [], "of a 404");
    // Longer than a first request is remembered: what holds now is the cookie.
    sleep(Duration::from_millis(2200));
    shop.browser.open("http://shop.example/login");
    assert_eq!(shop.browser.only_cookie().name, "SERVERID");
    let backend = shop.backend();
    assert_eq!(shop.reload(6), [backend; 6]);
}

#[test]
fn a_session_ends_at_its_timeout() {
    let shop = start();
    let browser = &shop.browser;
    let verdict = || {
        let fetch =
            "return fetch('/', { cache: 'no-store' }).then(a => a.headers.get('x-session'))";
        browser.script(fetch)
    };
    browser.open("http://short.example/");
    let (first, backend) = (browser.only_cookie(), shop.backend());
    assert_eq!(first.name, "SHORT");
    // Longer than the timeout, but never without a request for so long.
    for _ in 0..5 {
        sleep(Duration::from_secs(1));
        assert_eq!(shop.reload(1), [backend]);
    }
    assert_eq!(verdict(), "hit");
    assert_ne!(browser.only_cookie().value, first.value, "it was not renewed");

    sleep(Duration::from_secs(4));
    assert_eq!(browser.jar(), [], "the browser has dropped it");
    assert_eq!(verdict(), "new");
    assert_eq!(browser.only_cookie().name, "SHORT");
    assert_eq!(verdict(), "hit");
}

#[test]
fn a_cookie_that_was_kept_longer_is_expired() {
    let shop = start();
    let browser = &shop.browser;
    browser.open("http://short.example/");
    let cookie = browser.only_cookie();
    sleep(Duration::from_secs(4));
    // A browser that does not look at Max-Age. Scripts may not replace what is HttpOnly.
    browser.forget();
    let kept = format!("document.cookie = 'SHORT={}; path=/; max-age=600'", cookie.value);
    let _nothing = browser.script(&kept);
    let fetch = "return fetch('/', { cache: 'no-store' }).then(a => a.headers.get('x-session'))";
    assert_eq!(browser.script(fetch), "expired");
    assert_eq!(browser.script(fetch), "hit");
}

#[test]
fn another_domain_has_its_backends_cookie() {
    let shop = start();
    let browser = &shop.browser;
    browser.open("http://shop.example/");
    let own = || browser.script("return document.getElementById('own').textContent");
    browser.open("http://api.example/");
    let (backend, session) = (shop.backend(), own());
    let cookie = browser.only_cookie();
    assert_eq!(cookie.name, "JSESSIONID");
    // The attributes are the backend's.
    assert_eq!((cookie.http_only, cookie.expiry), (true, None), "{cookie:?}");
    let session = session.as_str().expect("a session");
    assert!(session.starts_with(&format!("web-{}.", backend + 1)), "{session}");
    assert!(cookie.value.ends_with(session) && cookie.value != session, "{cookie:?}, {session}");
    for _ in 0..6 {
        assert_eq!(shop.reload(1), [backend]);
        assert_eq!(own(), session, "the backend's value comes back as it was");
    }
    let all = browser.script("return document.getElementById('all').textContent");
    assert_eq!(all, format!("JSESSIONID={session}"));
}
