//! Chunked bodies: a table, and that cuts change nothing.

use proptest::prelude::*;

use super::super::{Chunks, Limits, Refusal, Walked};

const LIMITS: Limits = Limits { head_bytes: 64, head_fields: 2, body_bytes: 40 };

/// Walks over `bytes` in reads of that many: bytes in order, and what stopped it.
fn walk(bytes: &[u8], read: usize) -> (usize, Result<bool, Refusal>) {
    let mut chunks = Chunks::default();
    let mut at = 0;
    for part in bytes.chunks(read) {
        match chunks.walk(part, &LIMITS) {
            Ok(Walked { bytes, ended }) => {
                at += bytes;
                if ended {
                    return (at, Ok(true));
                }
                assert_eq!(bytes, part.len());
            }
            Err((bytes, refusal)) => return (at + bytes, Err(refusal)),
        }
    }
    (at, Ok(false))
}

fn check(body: &str, wanted: Result<bool, Refusal>) {
    for read in [1, 2, 3, 1000] {
        let (_, got) = walk(body.as_bytes(), read);
        assert_eq!(got, wanted, "{body:?} in reads of {read}");
    }
}

#[test]
fn bodies() {
    let whole = [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "A;x=\"y\"\r\n0123456789\r\n000\r\n\r\n",
        "1\r\n\n\r\n0;\r\nX: y\r\n\r\n",
    ];
    for body in whole {
        check(body, Ok(true));
        check(&body[..body.len() - 1], Ok(false));
        let followed = format!("{body}GET /");
        assert_eq!(walk(followed.as_bytes(), 1000), (body.len(), Ok(true)));
    }
    for (body, refusal) in [
        ("\r\n", Refusal::ChunkSize),
        ("5 \r\n", Refusal::ChunkSize),
        (" 5\r\n", Refusal::ChunkSize),
        ("5\n", Refusal::ChunkSize),
        ("-5\r\n", Refusal::ChunkSize),
        ("0x5\r\n", Refusal::ChunkSize),
        ("g\r\n", Refusal::ChunkSize),
        (";x\r\n", Refusal::ChunkSize),
        ("0000000000000000\r\n", Refusal::ChunkSize),
        ("5\r\r\n", Refusal::BareCr),
        ("5\rX", Refusal::BareCr),
        ("5;a\nhello", Refusal::ChunkExtension),
        ("5;a\0\r\n", Refusal::ChunkExtension),
        ("5;a\rb\r\n", Refusal::BareCr),
        ("5\r\nhelloX", Refusal::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", Refusal::ChunkEnd),
        ("5\r\nhello\rX", Refusal::ChunkEnd),
        ("5\r\nhell\r\n0\r\n", Refusal::ChunkEnd),
        ("29\r\n", Refusal::BodyTooLarge),
        ("1\r\nx\r\n28\r\n", Refusal::BodyTooLarge),
        ("fffffffffffffff\r\n", Refusal::BodyTooLarge),
        ("0\r\n\rX", Refusal::BareCr),
        ("0\r\n\n", Refusal::BareLf),
        ("0\r\nX: y\n", Refusal::BareLf),
        ("0\r\nX: y\rZ", Refusal::BareCr),
        ("0\r\nX: \0", Refusal::ControlByte),
        ("0\r\nX : y", Refusal::FieldNameSpace),
        ("0\r\nX: y\r\n z", Refusal::ObsFold),
        ("0\r\n: y", Refusal::FieldName),
        ("0\r\nX\r\n", Refusal::FieldName),
        ("0\r\nContent-Length: 5", Refusal::TrailerField),
        ("0\r\ntransfer-ENCODING: x", Refusal::TrailerField),
        ("0\r\nHost: x", Refusal::TrailerField),
        ("0\r\nX-Forwarded-For: x", Refusal::TrailerField),
        ("0\r\nContent_Length: 5", Refusal::TwinName),
        ("0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", Refusal::TrailersTooLarge),
    ] {
        check(body, Err(refusal));
    }
    check(&format!("0\r\nA: {}\r\n\r\n", "b".repeat(100)), Err(Refusal::TrailersTooLarge));
    check(&format!("5;{}\r\n", "a".repeat(255)), Ok(false));
    check(&format!("5;{}\r\n", "a".repeat(256)), Err(Refusal::ChunkExtension));
    let many = format!("1;{}\r\nx\r\n", "a".repeat(250)).repeat(35);
    check(&many, Err(Refusal::ChunkExtension));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cuts_change_nothing(
        pieces in proptest::collection::vec(prop::sample::select(&["5\r\nhello\r\n", "0\r\n", "\r\n", "A: b\r\n", "3;x\r\n", "abc", "\n", "\r", "f", ";"][..]), 0..8),
        read in 1usize..20,
    ) {
        let body = pieces.concat();
        prop_assert_eq!(walk(body.as_bytes(), read), walk(body.as_bytes(), 10_000));
    }
}
