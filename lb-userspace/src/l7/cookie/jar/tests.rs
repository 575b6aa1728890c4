use proptest::prelude::*;

use super::*;
use crate::l7::cookie::samples::cases;

fn headers<T: AsRef<[u8]>>(fields: &[T]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("shop.example"));
    for field in fields {
        headers.append(COOKIE, HeaderValue::from_bytes(field.as_ref()).expect("a field's value"));
    }
    headers
}

fn fields(headers: &HeaderMap) -> Vec<Vec<u8>> {
    headers.get_all(COOKIE).iter().map(|field| field.as_bytes().to_vec()).collect()
}

#[test]
fn c8_values_by_exact_name() {
    let check = |given: &[&str], want: &[&str]| {
        let headers = headers(given);
        let got: Vec<_> = values(&headers, "SID").map(String::from_utf8_lossy).collect();
        assert_eq!(got, want, "{given:?}");
    };
    check(&[], &[]);
    check(&[""], &[]);
    check(&["SID=a"], &["a"]);
    check(&["xSID=a; SIDx=b; sid=c; Sid=d; SID =e; x=SID=f"], &["e"]);
    check(&["SID=a; SID=b", "x=y;SID=c"], &["a", "b", "c"]);
    check(&["a=1;SID=b;c=2"], &["b"]);
    check(&["  \tSID\t =  b \t ;c=2"], &["b"]);
    check(&["SID=; a=b"], &[""]);
    check(&["SID"], &[]);
    check(&["SID; SID=a"], &["a"]);
    check(&["=SID; =; ;; SID=a"], &["a"]);
    check(&["SID=a=b==; c"], &["a=b=="]);
    check(&["SID=\"a b\""], &["\"a b\""]);
    check(&["a=\"x; SID=b\""], &["b\""]);
    check(&["a=1, SID=b"], &[]);
    check(&["SID=a,b"], &["a,b"]);
}

#[test]
fn take_out_leaves_the_others_as_they_are() {
    let check = |given: &[&str], want: &[&str]| {
        let mut headers = headers(given);
        assert_eq!(take_out(&mut headers, "SID"), given != want, "{given:?}");
        assert_eq!(fields(&headers), want.iter().map(|field| field.as_bytes()).collect::<Vec<_>>());
        assert_eq!(headers["host"], "shop.example");
    };
    check(&[], &[]);
    check(&["a=1; b=2"], &["a=1; b=2"]);
    check(&["xSID=1;  SIDx ; sid=3 ;"], &["xSID=1;  SIDx ; sid=3 ;"]);
    check(&["SID=a"], &[]);
    check(&["SID=a; SID=b;"], &[]);
    check(&[" SID=a ; ;"], &[]);
    check(&["SID=a; b=2"], &["b=2"]);
    check(&["b=2; SID=a"], &["b=2"]);
    check(&["a=1; SID=a; b=2"], &["a=1; b=2"]);
    check(&["a=1;SID=a;  b= \"2\" ;c"], &["a=1;  b= \"2\" ;c"]);
    check(&[" a=1 ; SID=a;"], &[" a=1 ;"]);
    check(&["SID=1;a=\"x; SID=2\"; c=3"], &["a=\"x; c=3"]);
    check(&["a=1", "SID=a", "b=2; SID=b", "c=3"], &["a=1", "b=2", "c=3"]);
    check(&["SID=a", "b=2"], &["b=2"]);
}

#[test]
fn bytes_that_are_no_text_pass() {
    let mut headers = headers(&[&b"a=\xff\x80; SID=\xfe; b=\xc3"[..]]);
    assert_eq!(values(&headers, "SID").collect::<Vec<_>>(), [b"\xfe"]);
    assert!(take_out(&mut headers, "SID"));
    assert_eq!(fields(&headers), [b"a=\xff\x80; b=\xc3"]);
}

#[test]
fn cut_mends_values_in_their_place() {
    let check = |given: &[&str], want: &[&str]| {
        let mut headers = headers(given);
        let marked = |value: &[u8]| value.starts_with(b"S.").then_some(0..2);
        assert_eq!(cut(&mut headers, "SID", marked), given != want, "{given:?}");
        assert_eq!(fields(&headers), want.iter().map(|field| field.as_bytes()).collect::<Vec<_>>());
    };
    check(&[], &[]);
    check(&["SID=a; xSID=S.b"], &["SID=a; xSID=S.b"]);
    check(&["SID=S.a"], &["SID=a"]);
    check(&["SID=S."], &["SID="]);
    check(
        &[" a=1 ;SID = S.S.a ; b", "SID=c; SID=S.\"d\""],
        &[" a=1 ;SID = S.a ; b", "SID=c; SID=\"d\""],
    );
}

#[test]
fn join_makes_one_field() {
    let check = |given: &[&str], want: &[&str]| {
        let mut headers = headers(given);
        join(&mut headers);
        assert_eq!(fields(&headers), want.iter().map(|field| field.as_bytes()).collect::<Vec<_>>());
    };
    check(&[], &[]);
    check(&["a=1;b=2 "], &["a=1;b=2 "]);
    check(&["a=1", "", "b=2; c", "a=3"], &["a=1; b=2; c; a=3"]);
}

#[test]
fn what_must_not_be_indexed_still_must_not() {
    let mut headers = headers(&["SID=a; b=1", "c=2"]);
    for field in headers.iter_mut().map(|(_, field)| field) {
        field.set_sensitive(true);
    }
    assert!(take_out(&mut headers, "SID"));
    join(&mut headers);
    assert!(headers[COOKIE].is_sensitive());
}

/// Bytes that a field's value may have, those that matter here more often.
fn field_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(b"SID=; \t\".,".to_vec()),
        1 => any::<u8>().prop_filter("not in fields", |&byte| {
            HeaderValue::from_bytes(&[byte]).is_ok()
        }),
    ];
    let piece = prop_oneof![
        2 => Just(b"SID=".to_vec()),
        1 => Just(b"; SID=x".to_vec()),
        4 => proptest::collection::vec(byte, 0..12),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// All cookies of other names, as another reader sees them: trimmed, in order, blank ones left out.
fn others(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let all = fields(headers).join(&b';');
    let pieces = all.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = |piece: &[u8]| -> Option<Vec<u8>> {
        let at = piece.iter().position(|&byte| byte == b'=')?;
        Some(piece[..at].trim_ascii().to_vec())
    };
    pieces
        .filter(|piece| !piece.is_empty() && name(piece).as_deref() != Some(b"SID"))
        .map(<[u8]>::to_vec)
        .collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_fields_say(given in proptest::collection::vec(field_bytes(), 0..4)) {
        let before = headers(&given);
        let named = values(&before, "SID").count();
        let mut after = before.clone();
        prop_assert_eq!(take_out(&mut after, "SID"), named > 0);
        prop_assert_eq!(values(&after, "SID").count(), 0);
        prop_assert_eq!(others(&after), others(&before));
        if named == 0 {
            prop_assert_eq!(&after, &before);
        }
        prop_assert!(!take_out(&mut after, "SID"));

        let mut joined = before.clone();
        join(&mut joined);
        prop_assert!(fields(&joined).len() <= 1);
        prop_assert_eq!(
            values(&joined, "SID").collect::<Vec<_>>(),
            values(&before, "SID").collect::<Vec<_>>()
        );
        prop_assert_eq!(others(&joined), others(&before));

        let mut cut_out = before.clone();
        cut(&mut cut_out, "SID", |value| Some(0..value.len()));
        prop_assert_eq!(others(&cut_out), others(&before));
        prop_assert!(values(&cut_out, "SID").all(<[u8]>::is_empty));
        prop_assert_eq!(values(&cut_out, "SID").count(), named);
    }
}
