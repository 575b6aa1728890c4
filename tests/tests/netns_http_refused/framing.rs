//! Requests that could be read in two ways: refused, closed, and nothing of them at a backend.

use std::io;

use tests::{
    http::{
        backend::{Backend, Conversation},
        shop::{self, INSERT},
    },
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

/// What stands in every bad request and must never reach a backend.
const MARK: &str = "smuggled";

fn serve(conversation: &mut Conversation) -> io::Result<bool> {
    let (body, _) = conversation.body()?;
    let text = format!("web-1 {} {}\n", conversation.target(), body.len());
    conversation.reply("200 OK", "", &text)
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

/// With its status. `HOST` stands for a good Host field.
const BAD: &[(u16, &str)] = &[
    // Whose request it is.
    (400, "GET /smuggled HTTP/1.1\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "GET http://b/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost : a\r\n\r\n"),
    // Lines.
    (400, "GET /smuggled HTTP/1.1\nHost: a\n\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n"),
    (400, "GET /smuggled HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n"),
    (400, "GET  /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /smuggled  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /smuggled\r\nHost: a\r\n\r\n"),
    (400, "GET /smuggled#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "G@T /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    (505, "GET /smuggled HTTP/3.0\r\nHost: a\r\n\r\n"),
    (501, "CONNECT smuggled:80 HTTP/1.1\r\nHost: smuggled:80\r\n\r\n"),
    // Where it ends.
    (
        400,
        "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (501, "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (501, "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer-Encoding: identity\r\n\r\n"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent_Length: 1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.0\r\nHOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 1, 1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: +1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: -1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 0x1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 1 1\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
    (400, "POST /smuggled HTTP/1.1\r\nHOST\r\nContent-Length:\r\n\r\nx"),
];

/// In chunks: the head is good, and may have gone to the backend; what follows must not.
const BAD_CHUNKS: &[&str] = &[
    "x\r\nsmuggled\r\n0\r\n\r\n",
    "1\nsmuggled",
    "0x8\r\nsmuggled\r\n0\r\n\r\n",
    "-1\r\nsmuggled",
    "ffffffffffffffff1\r\nsmuggled",
    "2\r\nabXXsmuggled\r\n0\r\n\r\n",
    "1;a\0b\r\nsmuggled",
    "1\r\na\r\n0\r\nContent-Length: 5\r\n\r\nsmuggled",
];

#[test]
fn two_readings_are_refused_and_never_passed_on() {
    let (site, backend) = site();
    for (wanted, request) in BAD {
        let request = request.replace("HOST", "Host: shop.example");
        let mut raw = shop::raw(&site, 0);
        raw.send(&request);
        let answer = raw.answer();
        assert_eq!(answer.status, *wanted, "{request:?}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{request:?}");
        let _end = raw.until_closed();
    }
    let seen = backend.seen_text();
    assert!(!seen.contains(MARK), "{seen}");
    // None of that did harm.
    assert_eq!(shop::raw(&site, 0).ask("/", "").status, 200);
}

#[test]
fn a_good_request_before_a_bad_one_is_answered_and_none_behind_it() {
    let (site, backend) = site();
    let good = "GET /good HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    for (wanted, request) in BAD {
        let request = request.replace("HOST", "Host: shop.example");
        let mut raw = shop::raw(&site, 0);
        raw.send(format!("{good}{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let first = raw.answer();
        assert_eq!(first.text(), "web-1 /good 0\n", "{request:?}");
        let second = raw.answer();
        assert_eq!(second.status, *wanted, "{request:?}: {second:?}");
        let _end = raw.until_closed();
    }
    let seen = backend.seen_text();
    assert_eq!(seen.matches("GET /good").count(), BAD.len());
    assert!(!seen.contains(MARK), "{seen}");
}

#[test]
fn bad_chunks_end_the_request() {
    let (site, backend) = site();
    for chunks in BAD_CHUNKS {
        let mut raw = shop::raw(&site, 0);
        raw.send(
            "POST /chunks HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        raw.send(chunks);
        // An answer, or an end without one where the head had gone on; never a backend's.
        if let Ok(Some(answer)) = raw.try_answer(false) {
            assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
        }
        raw.unread.clear();
        let _end = raw.until_closed();
    }
    shop::settle();
    let seen = backend.seen_text();
    assert!(!seen.contains(MARK), "{seen}");
    assert_eq!(shop::raw(&site, 0).ask("/", "").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (site, _backend) = site();
    let mut raw = shop::raw(&site, 0);
    let mut text = String::new();
    for number in 0..20 {
        let request = match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"),
            _ => format!(
                "POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nGE\r\n3\r\nT /\r\n0\r\n\r\n"
            ),
        };
        text += &request;
    }
    raw.send(text);
    for number in 0..20 {
        let length = if number % 3 == 0 { 0 } else { 5 };
        assert_eq!(raw.answer().text(), format!("web-1 /{number} {length}\n"));
    }
}

#[test]
fn paths_and_fields_go_through_as_they_are() {
    let (site, backend) = site();
    for target in ["/a/../b", "/%2e%2e/%00?x=%0d%0a", "//double//", "/;p=1?q=?&=", "/~!$'()*,:@"] {
        let answer = shop::raw(&site, 0).ask(target, "X-Any: \"a\\b\"\t; \u{e9}\r\n");
        assert_eq!(answer.text(), format!("web-1 {target} 0\n"));
    }
    let seen = backend.seen_text();
    let field = seen.lines().find_map(|line| line.strip_prefix("x-any: "));
    assert_eq!(field, Some("\"a\\b\"\t; \u{e9}"), "{seen}");
}
