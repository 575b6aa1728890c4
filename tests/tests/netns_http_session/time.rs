//! Sessions end by themselves: idle time and life, in real seconds (C7).

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use tests::{
    http::shop::{self, INSERT, get},
    site::Site,
};

/// One request with a cookie: what became of it, and the cookie that is held from then on.
fn ask(site: &Site, cookie: &mut String) -> (String, String) {
    let answer = get(site, 0, "/", &["--header", &format!("Cookie: {cookie}")]).answer;
    if let Some(new) = answer.cookies().first() {
        (*new).clone_into(cookie);
    }
    (answer.field("x-session").unwrap_or_default().to_owned(), answer.server())
}

#[test]
fn an_idle_time_slides_and_ends() {
    let site = shop::start(1, 3, &INSERT.replace("1h", "2s"));
    let mut cookie = String::from("a=b");
    let (verdict, server) = ask(&site, &mut cookie);
    assert_eq!(verdict, "new");
    let old = cookie.clone();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert_eq!(ask(&site, &mut cookie), ("hit".to_owned(), server.clone()));
        sleep(Duration::from_millis(600));
    }
    // The first one is over: the sidecar says so, whatever a browser keeps.
    assert_eq!(ask(&site, &mut old.clone()).0, "expired");
    sleep(Duration::from_millis(2100));
    assert_eq!(ask(&site, &mut cookie).0, "expired");
    assert_eq!(ask(&site, &mut cookie).0, "hit");
}

#[test]
fn a_life_ends_whatever_happens() {
    let site = shop::start(1, 3, &INSERT.replace("1h\"", "2s\", max_lifetime = \"4s\""));
    let mut cookie = String::from("a=b");
    let (verdict, server) = ask(&site, &mut cookie);
    assert_eq!(verdict, "new");
    let start = Instant::now();
    loop {
        let before = start.elapsed();
        let (verdict, by) = ask(&site, &mut cookie);
        if verdict == "expired" {
            assert!(start.elapsed() > Duration::from_millis(3900), "{:?}", start.elapsed());
            break;
        }
        assert_eq!((&*verdict, by), ("hit", server.clone()));
        assert!(before < Duration::from_millis(4100), "{before:?}");
        sleep(Duration::from_millis(300));
    }
}
