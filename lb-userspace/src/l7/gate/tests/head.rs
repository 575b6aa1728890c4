//! Heads: a table of refusals, and that no other parser finds another framing in what is taken.

use proptest::prelude::*;

use super::super::{Body, Framing, Limits, Refusal, check};

const LIMITS: Limits = Limits { head_bytes: 2048, head_fields: 10, body_bytes: 1000 };

fn refused(head: &str, wanted: Refusal) {
    let head = head.as_bytes();
    assert_eq!(check(head, &LIMITS), Err(wanted), "{}", head.escape_ascii());
}

/// A request line of that kind, with Host.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

/// A request with Host and those lines.
fn fields(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn accepted() {
    let none = Framing {
        body: Body::None,
        upgrade: false,
        expects_continue: false,
        close: false,
        http_10: false,
    };
    let check = |head: &str, wanted: Framing| {
        assert_eq!(super::super::check(head.as_bytes(), &LIMITS), Ok(wanted), "{head:?}");
    };
    check(&line("GET / HTTP/1.1"), none);
    check(&line("OPTIONS * HTTP/1.1"), none);
    check(&line("M-SEARCH /a%20b;c=d/?e=[f]|{g}&h=\\^ HTTP/1.1"), none);
    check("GET http://a.b/ HTTP/1.1\r\nhost:A.B:80\r\n\r\n", none);
    check("GET https://a.b?x HTTP/1.1\r\nHost: a.b:443 \r\n\r\n", none);
    check("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\nY: \t \u{e9} \t\r\n\r\n", none);
    check(&fields("Content-Length: 0"), none);
    check(&fields("Content-Length: 10"), Framing { body: Body::Length(10), ..none });
    check(&fields("content-LENGTH:\t1000\t"), Framing { body: Body::Length(1000), ..none });
    let chunked = Framing { body: Body::Chunked, ..none };
    check(&fields("Transfer-Encoding: chunked"), chunked);
    check(&fields("transfer-encoding:CHUNKED "), chunked);
    check(
        &fields("Transfer-Encoding: chunked\r\nExpect: 100-Continue"),
        Framing { expects_continue: true, ..chunked },
    );
    check(&fields("Expect: 100-continue"), none);
    check(&fields("Connection: x, Close"), Framing { close: true, ..none });
    let old = Framing { http_10: true, close: true, ..none };
    check("GET / HTTP/1.0\r\n\r\n", old);
    check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Framing { close: false, ..old });
    check("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", old);
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: ";
    check(&fields(&format!("{upgrade}websocket")), Framing { upgrade: true, ..none });
    check(&fields(&format!("{upgrade}h2c")), none);
    check(&fields(&format!("{upgrade}websocket, H2C")), none);
    check(&fields("Upgrade: websocket"), none);
    check(&fields("Connection: upgrade"), none);
    check(
        &fields(&format!("{upgrade}websocket\r\nContent-Length: 5")),
        Framing { body: Body::Length(5), ..none },
    );
    check(
        &format!("GET / HTTP/1.0\r\n{upgrade}websocket\r\n\r\n"),
        Framing { close: false, ..old },
    );
}

#[test]
fn request_lines() {
    for bad in [
        "",
        "GET",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1",
        "GET / HTTP/x.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.1\t",
    ] {
        refused(&line(bad), Refusal::RequestLine);
    }
    for bad in [
        " / HTTP/1.1",
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        "G@T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "(GET) / HTTP/1.1",
    ] {
        refused(&line(bad), Refusal::Method);
    }
    refused(&line(&format!("{} / HTTP/1.1", "A".repeat(33))), Refusal::Method);
    for bad in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9", "PRI * HTTP/2.0"] {
        refused(&line(bad), Refusal::Version);
    }
    for bad in ["CONNECT a:443 HTTP/1.1", "CONNECT / HTTP/1.1"] {
        refused(&line(bad), Refusal::Connect);
    }
    for bad in [
        "*",
        "**",
        "a",
        "a:80",
        "ftp://a/",
        "http:/a",
        "http:///x",
        "http://u@a/",
        "http://a:x/",
        "/\u{e9}",
        "/\0",
        "/\x7f",
        "/<",
        "/a`",
        "/?<",
        "/?\"",
        "http://a/<",
        "http://a\\b/",
    ] {
        refused(&line(&format!("GET {bad} HTTP/1.1")), Refusal::Target);
    }
    for bad in ["/#", "/a#b", "http://a/#b", "/?#", "#"] {
        refused(&line(&format!("GET {bad} HTTP/1.1")), Refusal::TargetFragment);
    }
    refused(&line("GET /\r HTTP/1.1"), Refusal::BareCr);
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLf);
    let long = line(&format!("GET /{} HTTP/1.1", "a".repeat(65_534)));
    let limits = Limits { head_bytes: 1 << 20, ..LIMITS };
    assert_eq!(check(long.as_bytes(), &limits), Err(Refusal::TargetTooLong));
}

#[test]
fn field_lines() {
    for (lines, wanted) in [
        ("X: a\nY: b", Refusal::BareLf),
        ("X: a\rY: b", Refusal::BareCr),
        ("X: a\r\r", Refusal::BareCr),
        ("X\r: a", Refusal::BareCr),
        ("X: a\0b", Refusal::ControlByte),
        ("X: a\x0bb", Refusal::ControlByte),
        ("X: \x7f", Refusal::ControlByte),
        ("X: \x1b", Refusal::ControlByte),
        (": a", Refusal::FieldName),
        ("X", Refusal::FieldName),
        ("X\0: a", Refusal::FieldName),
        ("X(Y): a", Refusal::FieldName),
        ("X\u{e9}: a", Refusal::FieldName),
        ("X/Y: a", Refusal::FieldName),
        ("X : a", Refusal::FieldNameSpace),
        ("X\t: a", Refusal::FieldNameSpace),
        ("Content-Length : 5", Refusal::FieldNameSpace),
        ("X Y: a", Refusal::FieldNameSpace),
        ("X: a\r\n b", Refusal::ObsFold),
        ("X: a\r\n\tb: c", Refusal::ObsFold),
        ("Content_Length: 5", Refusal::TwinName),
        ("content.length: 5", Refusal::TwinName),
        ("Transfer_Encoding: chunked", Refusal::TwinName),
        ("Transfer~encoding: chunked", Refusal::TwinName),
        ("X: 1\r\n\r\n\r\n", Refusal::RequestLine),
    ] {
        refused(&fields(lines), wanted);
    }
    refused(&fields(&["X: 1"; 10].join("\r\n")), Refusal::TooManyFields);
    refused(&fields(&format!("X: {}", "a".repeat(2048))), Refusal::HeadTooLarge);
    refused("GET / HTTP/1.1\r\nHost: a\r\n", Refusal::RequestLine);
}

#[test]
fn hosts() {
    refused("GET / HTTP/1.1\r\n\r\n", Refusal::NoHost);
    refused("GET http://a/ HTTP/1.1\r\n\r\n", Refusal::NoHost);
    refused(&fields("host: a"), Refusal::SeveralHosts);
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::SeveralHosts);
    for bad in
        ["", "a b", "u@a", "a:", "a:65536", "a:b", "a/b", "a,b", "http://a", "[::1", "::1", "a\tb"]
    {
        refused(&format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n"), Refusal::Host);
    }
    for (target, host) in
        [("http://a/", "b"), ("http://a/", "a:81"), ("http://a:443/", "a"), ("https://a/", "a:80")]
    {
        refused(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), Refusal::HostMismatch);
    }
}

#[test]
fn framing() {
    let (length, coding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for (lines, wanted) in [
        (format!("{length}{coding}X: 1"), Refusal::LengthAndCoding),
        (format!("{coding}{length}X: 1"), Refusal::LengthAndCoding),
        (format!("{coding}Content-Length: 0"), Refusal::LengthAndCoding),
        (format!("{length}{length}X: 1"), Refusal::SeveralLengths),
        (format!("{length}content-length: 6"), Refusal::SeveralLengths),
        (format!("{coding}{coding}X: 1"), Refusal::SeveralCodings),
        (format!("{coding}Transfer-Encoding: identity"), Refusal::SeveralCodings),
        ("Content-Length: 1001".to_owned(), Refusal::BodyTooLarge),
    ] {
        refused(&fields(&lines), wanted);
    }
    for bad in [
        "",
        "+5",
        "-5",
        "0x5",
        "5, 5",
        "5,5",
        "5 5",
        "05",
        "00",
        "5.0",
        "5e1",
        "\u{665}",
        "9223372036854775808",
        "18446744073709551621",
        "99999999999999999999999",
    ] {
        refused(&fields(&format!("Content-Length: {bad}")), Refusal::Length);
    }
    for bad in [
        "",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        ", chunked",
        "chunked,",
        "chunk\u{e9}d",
    ] {
        refused(&fields(&format!("Transfer-Encoding: {bad}")), Refusal::Coding);
    }
    refused(&fields("Transfer-Encoding: \x0bchunked"), Refusal::ControlByte);
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingVersion);
}

/// How another parser might read.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "all combinations are tried")]
struct Lenient {
    bare_lf: bool,
    last_length: bool,
    length_wins: bool,
    dashes: bool,
    folds: bool,
}

impl Lenient {
    /// Length of the head, and the framing.
    fn read(self, head: &[u8]) -> (usize, Body) {
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let end = |mark: &str| text.find(mark).map(|at| at + mark.len());
        let ends = if self.bare_lf {
            [end("\r\n\r\n"), end("\n\n"), end("\n\r\n")]
        } else {
            [end("\r\n\r\n"), None, None]
        };
        let end = ends.into_iter().flatten().min().unwrap_or(text.len());
        let newline = if self.bare_lf { "\n" } else { "\r\n" };
        let text = if self.folds {
            text[..end].replace("\r\n ", " ").replace("\r\n\t", " ")
        } else {
            text[..end].to_owned()
        };
        let (mut lengths, mut chunked) = (Vec::new(), false);
        for line in text.split(newline).skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let mut name =
                name.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_lowercase();
            if self.dashes {
                name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            }
            if name == "transfer-encoding" {
                chunked |= value.to_lowercase().contains("chunked");
            } else if name == "content-length" {
                lengths.extend(value.split(',').map(lenient_length));
            }
        }
        let length = if self.last_length { lengths.last() } else { lengths.first() }.copied();
        let body = match length {
            Some(0) if self.length_wins => Body::None,
            Some(length) if self.length_wins || !chunked => {
                if length == 0 {
                    Body::None
                } else {
                    Body::Length(length)
                }
            }
            _ if chunked => Body::Chunked,
            _ => Body::None,
        };
        (end, body)
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..32u8).map(|bits| Self {
            bare_lf: bits & 1 != 0,
            last_length: bits & 2 != 0,
            length_wins: bits & 4 != 0,
            dashes: bits & 8 != 0,
            folds: bits & 16 != 0,
        })
    }
}

/// As `strtol` would: signs, prefixes, and whatever follows.
fn lenient_length(text: &str) -> u64 {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let text = text.trim_start_matches(['+', '-']);
    let (digits, base) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    digits
        .chars()
        .map_while(|c| c.to_digit(base))
        .fold(0, |length: u64, digit| length.wrapping_mul(base.into()).wrapping_add(digit.into()))
}

/// Pieces that heads are made of, good and bad.
const PIECES: [&str; 30] = [
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "POST / HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 6\r\n",
    "Content-Length: 0\r\n",
    "Content-Length:5\r\n",
    "Content-Length : 7\r\n",
    "Content_Length: 8\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Transfer-Encoding\r\n : chunked\r\n",
    " chunked\r\n",
    "\t5\r\n",
    "X: y\r\n",
    "X: y",
    "\r\n",
    "\n",
    "\r",
    ":",
    " ",
    ",",
    "0",
    "+",
    "-",
    "\0",
    "\x0b",
    "5",
];

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::collection::vec(prop::sample::select(&PIECES[..]), 0..5);
    let change = (any::<prop::sample::Index>(), 0..3u8, prop::sample::select(&PIECES[..]));
    let changes = proptest::collection::vec(change, 0..3);
    (pieces, changes).prop_map(|(pieces, changes)| {
        let mut head = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
        head.extend(pieces.concat().bytes());
        head.extend(b"\r\n");
        for (place, kind, piece) in changes {
            let at = place.index(head.len());
            let piece = piece.bytes();
            drop(match kind {
                0 => head.splice(at..at, piece).collect::<Vec<_>>(),
                1 => head.splice(at..=at, piece.take(1)).collect(),
                _ => head.splice(at..=at, []).collect(),
            });
        }
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_two_framings(heads in proptest::collection::vec(mutated(), 40)) {
        for head in heads {
            let Ok(framing) = check(&head, &Limits::default()) else { continue };
            for other in Lenient::all() {
                let read = other.read(&head);
                prop_assert_eq!(read, (head.len(), framing.body), "{:?} {}", other, head.escape_ascii());
            }
        }
    }

    /// What is taken, hyper takes: it never answers for itself.
    #[test]
    fn what_is_taken_hyper_takes(
        target in proptest::collection::vec(any::<u8>(), 1..12),
        form in prop::sample::select(&["", "/", "/?", "http://a", "http://a/"][..]),
        name in proptest::collection::vec(any::<u8>(), 1..4),
        value in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        for (target, name, value) in [
            (&target[..], &b"X"[..], &b"y"[..]),
            (b"", &name, b"y"),
            (b"", b"X", &value),
        ] {
            let form = if target.is_empty() { "/" } else { form };
            let head = [b"GET ", form.as_bytes(), target, b" HTTP/1.1\r\nHost: a\r\n", name, b": ", value, b"\r\n\r\n"].concat();
            if check(&head, &Limits::default()).is_err() {
                continue;
            }
            let mut fields = [httparse::EMPTY_HEADER; 10];
            let mut request = httparse::Request::new(&mut fields);
            let shown = head.escape_ascii().to_string();
            prop_assert_eq!(request.parse(&head), Ok(httparse::Status::Complete(head.len())), "{}", shown);
            let uri = http::Uri::try_from(request.path.unwrap_or_default());
            prop_assert!(uri.is_ok(), "{}", shown);
            for field in &*request.headers {
                prop_assert!(http::HeaderName::from_bytes(field.name.as_bytes()).is_ok());
                prop_assert!(http::HeaderValue::from_bytes(field.value).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes(head in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _result = check(&head, &LIMITS);
        let _result = check(&[&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], &head].concat(), &LIMITS);
    }
}

/// The property above can fail: such a head is taken, or it is not, for a reason.
#[test]
fn lenient_parsers_differ_on_what_is_refused() {
    let differ = |head: &str| {
        let mut readings: Vec<_> =
            Lenient::all().map(|other| other.read(head.as_bytes())).collect();
        readings.dedup();
        assert!(readings.len() > 1, "{head:?}");
    };
    differ(&fields("Content-Length: 5\r\nTransfer-Encoding: chunked"));
    differ(&fields("Content-Length: 5\r\nContent-Length: 6"));
    differ(&fields("Content_Length: 5"));
    differ(&fields("X: y\nContent-Length: 5"));
    differ("GET / HTTP/1.1\n\nHost: a\r\n\r\n");
}
