use http::header::COOKIE;
use proptest::prelude::*;

use super::*;
use crate::l7::cookie::samples::cases;

const NOW_MS: u64 = 1_800_000_000_000;

fn seal() -> String {
    format!("hold{}", "A".repeat(SEAL_BYTES - 4))
}

fn headers<T: AsRef<[u8]>>(name: &http::HeaderName, fields: &[T]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(name, HeaderValue::from_bytes(field.as_ref()).expect("a field's value"));
    }
    headers
}

/// `~` in `want` is the seal and its dot.
fn check_set(given: &[&str], want: &[&str]) {
    let mut headers = headers(&SET_COOKIE, given);
    let changes = given != want;
    assert_eq!(rewrite(&mut headers, "SID", NOW_MS, seal), changes, "{given:?}");
    let got: Vec<_> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let want: Vec<_> =
        want.iter().map(|field| field.replace('~', &format!("{}.", seal()))).collect();
    let want: Vec<_> = want.iter().map(String::as_bytes).collect();
    assert_eq!(got, want, "{given:?}");
}

#[test]
fn c2_the_seal_goes_before_the_value() {
    check_set(&["SID=abc"], &["SID=~abc"]);
    check_set(&["SID=a.b=c; Path=/; HttpOnly"], &["SID=~a.b=c; Path=/; HttpOnly"]);
    check_set(&[" SID =  abc ;path = /x ;; X"], &[" SID =  ~abc ;path = /x ;; X"]);
    check_set(&["SID=\"a b\"; Secure"], &["SID=\"~a b\"; Secure"]);
    check_set(&["SID=\""], &["SID=\"~"]);
    check_set(
        &["xSID=a", "SIDx=a", "sid=a", "SID", "", "a=SID=b", "=SID"],
        &["xSID=a", "SIDx=a", "sid=a", "SID", "", "a=SID=b", "=SID"],
    );
    check_set(
        &["a=1", "SID=a", "b=2", "SID=b; Path=/x"],
        &["a=1", "SID=~a", "b=2", "SID=~b; Path=/x"],
    );
}

#[test]
fn a_deleted_cookie_stays_deleted() {
    let passes = |field: &str| check_set(&[field], &[field]);
    passes("SID=");
    passes("SID= ; Path=/");
    passes("SID=\"\"; Path=/");
    passes("SID=a; Max-Age=0");
    passes("SID=a;max-age = -1 ; Path=/");
    passes("SID=a; Max-Age=5; Max-Age=00");
    passes("SID=a; Max-Age=0; Max-Age=x");
    passes("SID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=soon");
    passes("SID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    passes("SID=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0; path=/");
    // The second it is now: 1,800,000,000.
    passes("SID=a; Expires=Fri, 15 Jan 2027 08:00:00 GMT");
    let sealed = |attributes: &str| {
        check_set(&[&format!("SID=a{attributes}")], &[&format!("SID=~a{attributes}")]);
    };
    sealed("; Expires=Fri, 15 Jan 2027 08:00:01 GMT");
    sealed("; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60");
    sealed("; Max-Age=0; Max-Age=60");
    sealed("; Max-Age=0; Max-Age=60; Max-Age=x");
    sealed("; Max-Age=");
    sealed("; Max-Age=-");
    sealed("; Max-Age=+0");
    sealed("; Expires=0");
    sealed("; x=Max-Age=0");
    sealed("; Max-Age=99999999999999999999999999");
}

#[test]
fn no_cookie_grows_beyond_what_browsers_take() {
    let value = |bytes| "x".repeat(bytes);
    let fits = 4096 - "SID".len() - SEAL_BYTES - 1;
    check_set(&[&format!("SID={} ;a=b", value(fits))], &[&format!("SID=~{} ;a=b", value(fits))]);
    check_set(&[&format!("SID={}", value(fits + 1))], &[&format!("SID={}", value(fits + 1))]);
}

#[test]
fn no_seal_is_made_in_vain() {
    let mut headers = headers(&SET_COOKIE, &["a=1", "SID="]);
    assert!(!rewrite(&mut headers, "SID", NOW_MS, || panic!("not needed")));
}

#[test]
fn c2_the_backend_gets_its_value_back() {
    let check = |given: &str, want: &str| {
        let mut headers = headers(&COOKIE, &[given.replace('~', &format!("{}.", seal()))]);
        assert_eq!(restore(&mut headers, "SID"), given != want, "{given}");
        assert_eq!(headers[COOKIE], want);
    };
    check("SID=~abc; a=1", "SID=abc; a=1");
    check("SID=~; a=1", "SID=; a=1");
    check("SID=~a.b.\"c\"; SID=~", "SID=a.b.\"c\"; SID=");
    check("SID=\"~a b\"", "SID=\"a b\"");
    check("SID=~\"a b\"", "SID=\"a b\"");
    check("SID=abc; xSID=x.y", "SID=abc; xSID=x.y");
    check("SID=\"", "SID=\"");
    // What looks like a seal to others: a JSON web token.
    let token = format!("SID=eyJ{}.payload.signature", "A".repeat(SEAL_BYTES - 3));
    check(&token, &token);
    let short = format!("SID={}", seal());
    check(&short, &short);
}

#[test]
fn a_value_that_looks_sealed_loses_one_seal_only() {
    let own = format!("{}.{}.x", seal(), seal());
    let mut set = headers(&SET_COOKIE, &[format!("SID={own}")]);
    assert!(rewrite(&mut set, "SID", NOW_MS, seal));
    let mut back = headers(&COOKIE, &[set[SET_COOKIE].as_bytes()]);
    assert!(restore(&mut back, "SID"));
    assert_eq!(back[COOKIE], format!("SID={own}"));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_value_comes_back(
        value in proptest::collection::vec(
            any::<u8>().prop_filter("ends a value, or is in none", |&byte| {
                byte != b';' && HeaderValue::from_bytes(&[byte]).is_ok()
            }),
            0..200,
        ),
    ) {
        // Browsers drop the spaces around a value.
        let value = value.trim_ascii();
        let mut set = headers(&SET_COOKIE, &[[b"SID=", value].concat()]);
        let sealed = rewrite(&mut set, "SID", NOW_MS, seal);
        prop_assert_eq!(sealed, !matches!(value, b"" | b"\"\""));
        let presented = set[SET_COOKIE].as_bytes().to_vec();
        let mut back = headers(&COOKIE, std::slice::from_ref(&presented));
        prop_assert_eq!(restore(&mut back, "SID"), sealed);
        prop_assert_eq!(back[COOKIE].as_bytes(), [b"SID=", value].concat());
        if sealed {
            let found = find(&presented[4..]).map(|sealed| sealed.seal.to_vec());
            prop_assert_eq!(found, Some(seal().into_bytes()));
        }
    }

    #[test]
    fn attributes_keep_every_byte(
        field in proptest::collection::vec(
            proptest::sample::select(b"SID=; \t\"a0-,:maxagexpires".to_vec()),
            0..60,
        ),
    ) {
        let mut set = headers(&SET_COOKIE, std::slice::from_ref(&field));
        let sealed = rewrite(&mut set, "SID", NOW_MS, seal);
        let mut got = set[SET_COOKIE].as_bytes().to_vec();
        if sealed {
            let dotted = format!("{}.", seal()).into_bytes();
            let at = got.windows(dotted.len()).position(|part| part == dotted).expect("sealed");
            got.drain(at..at + dotted.len());
        }
        prop_assert_eq!(got, field);
    }

    #[test]
    fn any_bytes_may_be_a_date(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = date::unix_seconds(&text);
    }
}
