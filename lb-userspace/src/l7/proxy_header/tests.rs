use proptest::prelude::*;

use super::*;

fn proxied(source: &str, destination: &str) -> Header {
    let parse = |address: &str| address.parse().expect("an address");
    Header::Proxied { source: parse(source), destination: parse(destination) }
}

fn check(bytes: &[u8], wanted: Result<Option<(Header, usize)>, Error>) {
    assert_eq!(parse(bytes), wanted, "{:?}", bytes.escape_ascii().to_string());
}

/// A header of version 2 with that command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [V2_BEGIN, &[command, family], &length, rest].concat()
}

#[test]
fn version_1() {
    let v4 = proxied("192.0.2.1:5000", "192.0.2.2:80");
    check(b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\nGET", Ok(Some((v4, 40))));
    let v6 = proxied("[2001:db8::1]:0", "[::2]:65535");
    check(b"PROXY TCP6 2001:db8::1 ::2 0 65535\r\n", Ok(Some((v6, 36))));
    check(b"PROXY UNKNOWN\r\n", Ok(Some((Header::Unknown, 15))));
    check(b"PROXY UNKNOWN any thing\r\n", Ok(Some((Header::Unknown, 25))));
    for begin in [&b""[..], b"P", b"PROXY", b"PROXY TCP4 1", b"PROXY UNKNOWN\r"] {
        check(begin, Ok(None));
    }
    for bad in [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\n"[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 05000 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +5 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 5000 80\r\n",
        b"PROXY TCP4 ::1 ::2 5000 80\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 5000 80\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 5000 80\r\n",
        b"PROXY \xff\r\n",
        b"PROXY \r\n",
    ] {
        check(bad, Err(Error::Malformed));
    }
    let long = [V1_BEGIN, b"UNKNOWN ", &[b'a'; 91], b"\r\n"].concat();
    check(&long, Ok(Some((Header::Unknown, 107))));
    let longer = [V1_BEGIN, b"UNKNOWN ", &[b'a'; 92], b"\r\n"].concat();
    check(&longer, Err(Error::Malformed));
    check(b"GET / HTTP/1.1\r\n", Err(Error::Missing));
    check(b"PROXy", Err(Error::Missing));
}

#[test]
fn version_2() {
    let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0, 80];
    let v4 = proxied("192.0.2.1:5000", "192.0.2.2:80");
    check(&v2(0x21, 0x11, &four), Ok(Some((v4, 28))));
    let with_tlv = [&four[..], &[4, 0, 1, 0]].concat();
    check(&v2(0x21, 0x11, &with_tlv), Ok(Some((v4, 32))));
    check(&v2(0x20, 0x11, &four), Ok(Some((Header::Local, 28))));
    check(&v2(0x20, 0, &[]), Ok(Some((Header::Local, 16))));
    check(&v2(0x21, 0, &[]), Ok(Some((Header::Unknown, 16))));
    check(&v2(0x21, 0x31, &[0; 216]), Ok(Some((Header::Unknown, 232))));
    check(&v2(0x21, 0x11, &four[..11]), Err(Error::Length));
    check(&v2(0x21, 0x21, &[0; 35]), Err(Error::Length));
    check(&v2(0x21, 0x12, &four), Err(Error::Unsupported));
    check(&v2(0x22, 0x11, &four), Err(Error::Unsupported));
    check(&v2(0x11, 0x11, &four), Err(Error::Unsupported));
    check(&v2(0x21, 0x00, &[0; 4080]), Ok(Some((Header::Unknown, 4096))));
    check(&v2(0x21, 0x00, &[0; 4081])[..16], Err(Error::Length));
    let whole = v2(0x21, 0x11, &four);
    for end in 0..whole.len() {
        check(&whole[..end], Ok(None));
    }
}

#[test]
fn what_is_written_is_read() {
    let check = |source: &str, destination: &str, read: Header| {
        let [source, destination] =
            [source, destination].map(|address| address.parse().expect("an address"));
        for bytes in [write_v1(source, destination), write_v2(source, destination)] {
            super::tests::check(&bytes, Ok(Some((read, bytes.len()))));
        }
    };
    let four = proxied("192.0.2.1:1", "192.0.2.2:2");
    check("192.0.2.1:1", "192.0.2.2:2", four);
    check("[::ffff:192.0.2.1]:1", "192.0.2.2:2", four);
    check("[2001:db8::1]:1", "[::2]:2", proxied("[2001:db8::1]:1", "[::2]:2"));
    check("192.0.2.1:1", "[::2]:2", proxied("[::ffff:192.0.2.1]:1", "[::2]:2"));
    let local = write_v2_local();
    super::tests::check(&local, Ok(Some((Header::Local, local.len()))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Nothing panics, and nothing is decided before it is certain.
    #[test]
    fn any_bytes(version in 0..3usize, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let begin: &[u8] = [&b""[..], V1_BEGIN, V2_BEGIN][version];
        let bytes = [begin, &rest].concat();
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(None) => {}
                early => prop_assert_eq!(early, whole),
            }
        }
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len());
        }
    }
}
