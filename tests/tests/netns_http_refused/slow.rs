//! Clients and backends that take their time.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use tests::{
    http::{
        backend::{Backend, Conversation},
        shop::{self, INSERT},
    },
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

const LIMITS: &str = "[sidecar.limits]\nhead_timeout = \"600ms\"\nidle_timeout = \"900ms\"\n\
                      body_timeout = \"600ms\"\nanswer_timeout = \"800ms\"\n\
                      connect_timeout = \"300ms\"\n";

fn serve(conversation: &mut Conversation) -> io::Result<bool> {
    let (body, _) = conversation.body()?;
    match conversation.target() {
        "/never" => sleep(Duration::from_secs(3)),
        "/half" => {
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
            sleep(Duration::from_secs(3));
        }
        _ => {}
    }
    let text = format!("web-1 {}\n", body.len());
    conversation.reply("200 OK", "", &text)
}

fn site() -> (Site, Backend) {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let at = (lab.backend(Family::V4, 0), PORT).into();
    let backend = Backend::start(&lab.backends[0], at, serve);
    let configuration = Configuration::new(&lab, LIMITS).pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    (shop::serve(lab, Vec::new(), &configuration), backend)
}

/// Between these, give or take what a busy machine takes.
#[track_caller]
fn check_took(start: Instant, wanted_ms: u64) {
    let took = start.elapsed();
    let wanted = Duration::from_millis(wanted_ms);
    assert!(took + Duration::from_millis(50) > wanted, "{took:?}");
    assert!(took < wanted + Duration::from_millis(1500), "{took:?}");
}

#[test]
fn a_head_that_trickles_is_cut_off() {
    let (site, backend) = site();
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    raw.send("GET /smuggled HTTP/1.1\r\n");
    // A byte now and then makes it no longer.
    let mut bytes = "Host: a\r\nX: yyyyyyyyyyyyyyyyyyyyyy".bytes();
    raw.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let answer = loop {
        match raw.try_answer(false) {
            Ok(answer) => break answer,
            Err(_) => raw.send([bytes.next().expect("it is cut off before")]),
        }
    };
    assert_eq!(answer.map(|answer| answer.status), Some(408));
    check_took(start, 600);
    // Not a byte at all.
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    let _end = raw.until_closed();
    check_took(start, 600);
    assert!(!backend.seen_text().contains("smuggled"));
}

#[test]
fn an_idle_connection_is_closed() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    assert_eq!(raw.ask("/", "").status, 200);
    let start = Instant::now();
    let _end = raw.until_closed();
    check_took(start, 900);
}

#[test]
fn a_body_that_stops_is_given_up() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(raw.answer().status, 408);
    check_took(start, 600);
    let _end = raw.until_closed();
}

#[test]
fn a_backend_that_does_not_answer_is_given_up() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    assert_eq!(raw.ask("/never", "").status, 504);
    check_took(start, 800);
    // One that stops in the middle: the client must see that it is not whole.
    let mut raw = shop::raw(&site, 0);
    raw.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(raw.try_answer(false), Ok(None) | Err(_)), "{:?}", raw.unread);
}

#[test]
fn a_backend_that_accepts_nothing_is_given_up() {
    let (site, _backend) = site();
    // It is there by its neighbours, but its packets go nowhere.
    site.lab.backends[0].ip("link set lo down");
    let back = site.lab.balancer_back(Family::V4);
    site.lab.backends[0].ip(&format!("route add blackhole {back}/32"));
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    assert!([503, 504].contains(&raw.ask("/", "").status));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
