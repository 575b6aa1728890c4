//! Bodies as they flow: server-sent events, trailers, 100 and 103, large ones.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use tests::{
    http::{
        answer::find,
        backend::{Backend, Conversation},
        raw::Raw,
        shop::{self, INSERT},
    },
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

const EVENTS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(100);

fn serve(conversation: &mut Conversation) -> io::Result<bool> {
    match conversation.target().to_owned().as_str() {
        "/events" => {
            conversation.say(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            )?;
            for number in 0..EVENTS {
                let event = format!("data: {number}\n\n");
                conversation.say(&format!("{:x}\r\n{event}\r\n", event.len()))?;
                sleep(BETWEEN);
            }
            conversation.say("0\r\n\r\n")
        }
        "/trailers" => conversation.say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
        ),
        "/hints" => {
            conversation.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
            sleep(BETWEEN);
            conversation.reply("200 OK", "Link: </a.css>; rel=preload\r\n", "web-1 hints\n")
        }
        "/continue" => {
            let asked = conversation.field("expect") == Some("100-continue");
            if asked {
                conversation.say("HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let (body, trailers) = conversation.body()?;
            let text = format!("web-1 {asked} {} {trailers:?}\n", String::from_utf8_lossy(&body));
            conversation.reply("200 OK", "", &text)
        }
        "/refuse" => {
            conversation.reply("417 Expectation Failed", "Connection: close\r\n", "web-1 no\n")?;
            Ok(false)
        }
        "/sum" => {
            let (body, trailers) = conversation.body()?;
            let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
            let text = format!("web-1 {} {sum} {trailers:?}\n", body.len());
            conversation.reply("200 OK", "", &text)
        }
        _ => conversation.reply("200 OK", "", "web-1\n"),
    }
}

fn site() -> (Site, Backend) {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let at = (lab.backend(Family::V4, 0), PORT).into();
    let backend = Backend::start(&lab.backends[0], at, serve);
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    (shop::serve(lab, Vec::new(), &configuration), backend)
}

/// Reads until `text` has come.
fn until(raw: &mut Raw, text: &str) -> Instant {
    while find(&raw.unread, text.as_bytes()).is_none() {
        assert!(raw.more().expect("more"), "{text}: {}", String::from_utf8_lossy(&raw.unread));
    }
    Instant::now()
}

#[test]
fn events_come_one_by_one() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    let start = Instant::now();
    raw.send("GET /events HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let times: Vec<Duration> =
        (0..EVENTS).map(|number| until(&mut raw, &format!("data: {number}\n")) - start).collect();
    for (number, time) in (0u32..).zip(&times) {
        // Each long before the next one is sent.
        let sent = BETWEEN * number;
        assert!(*time < sent + BETWEEN * 2, "{times:?}");
    }
    assert!(times[0] + BETWEEN * 3 < times[EVENTS - 1], "all at once: {times:?}");
    let answer = raw.answer();
    assert_eq!(answer.cookies().len(), 1, "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("text/event-stream"));
    // Over HTTP/2 too: the first event is there while the answer still goes on.
    let url = format!("http://{}/events", shop::vip(&site.lab));
    let arguments = ["--http2-prior-knowledge", "--no-buffer", "--max-time", "0.35", &url];
    let output = tests::http::curl::run(&site.lab.clients, shop::client(&site.lab, 0), arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("data: 0") && !text.contains("data: 7"), "{text}");
}

#[test]
fn trailers_come_through_both_ways() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    let answer = raw.ask("/trailers", "TE: trailers\r\n");
    assert_eq!((answer.text().as_str(), answer.field("x-sum")), ("abc", Some("6")), "{answer:?}");
    raw.send(
        "POST /sum HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-End\r\n\r\n2\r\n\x01\x02\r\n1;ext=\"a b\"\r\n\x03\r\n0\r\nX-End: yes\r\n\r\n",
    );
    let answer = raw.answer();
    assert_eq!(answer.text(), "web-1 3 6 [(\"x-end\", \"yes\")]\n");
}

#[test]
fn early_hints_come_early() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    raw.send("GET /hints HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let hint = raw.answer();
    let at = Instant::now();
    assert_eq!(hint.status, 103, "{hint:?}");
    assert_eq!(hint.field("link"), Some("</a.css>; rel=preload"));
    let answer = raw.answer();
    assert_eq!((answer.status, answer.server().as_str()), (200, "web-1"), "{answer:?}");
    assert!(at.elapsed() > BETWEEN / 2, "not early: {:?}", at.elapsed());
}

#[test]
fn a_body_that_waits_for_100_is_asked_for_by_the_backend() {
    let (site, backend) = site();
    let mut raw = shop::raw(&site, 0);
    let head = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    raw.send(head("/continue"));
    let go_on = raw.answer();
    assert_eq!(go_on.status, 100, "{go_on:?}");
    raw.send("body");
    let answer = raw.answer();
    assert_eq!(answer.text(), "web-1 true body []\n");
    // A backend that does not want it says so, and gets none of it.
    raw.send(head("/refuse"));
    let answer = raw.answer();
    assert_eq!(answer.status, 417, "{answer:?}");
    assert!(!backend.seen_text().contains("secret"));
    // A client that does not wait is served as well.
    let mut raw = shop::raw(&site, 0);
    raw.send(format!("{}body", head("/continue")));
    let first = raw.answer();
    let answer = if first.status == 100 { raw.answer() } else { first };
    assert_eq!(answer.text(), "web-1 true body []\n");
}

#[test]
fn large_bodies_are_whole() {
    const LENGTH: usize = 3 << 20;
    let (site, _backend) = site();
    let body = vec![1u8; LENGTH];
    let mut raw = shop::raw(&site, 0);
    raw.send(format!(
        "POST /sum HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    raw.send(&body);
    assert_eq!(raw.answer().text(), format!("web-1 {LENGTH} {LENGTH} []\n"));
    let file = site.lab.folder().join("body");
    std::fs::write(&file, &body).expect("written");
    let data = format!("@{}", file.display());
    let arguments = ["--http2-prior-knowledge", "--data-binary", data.as_str()];
    let answer = shop::get(&site, 0, "/sum", &arguments).answer;
    assert_eq!(answer.text(), format!("web-1 {LENGTH} {LENGTH} []\n"));
}
