use super::*;
use crate::l7::cookie::samples::random;

const DAY: u64 = 86_400;

fn ids(ring: &Ring) -> Vec<u32> {
    ring.keys().iter().map(|key| key.id).collect()
}

/// Keys 1, 2, ... that seal from these times.
fn ring(seals_from_s: &[u64]) -> Ring {
    let key =
        |(id, &seals_from_s)| Key { id, secret: Zeroizing::new([7; SECRET_BYTES]), seals_from_s };
    Ring { keys: (1..).zip(seals_from_s).map(key).collect() }
}

#[test]
fn a_new_ring_seals_at_once() {
    let ring = Ring::new(1000, &mut random(1));
    assert_eq!(ring.keys().len(), 1);
    assert_eq!(ring.sealing(1000), &ring.keys()[0]);
    assert_ne!(*ring.keys()[0].secret, [0; SECRET_BYTES]);
}

#[test]
fn a_key_that_is_added_seals_later() {
    let random = &mut random(1);
    let mut ring = Ring::new(1000, random);
    ring.rotate(2000, 600, random);
    let [old, new] = ring.keys() else { panic!("two keys") };
    assert_ne!(old.secret, new.secret);
    for (now_s, want) in [(0, old), (1000, old), (2599, old), (2600, new), (2601, new)] {
        assert_eq!(ring.sealing(now_s), want, "at {now_s}");
    }
}

#[test]
fn ids_are_unique_and_not_zero() {
    let mut draws = [0_u32, 5, 5, 0, 5, 6].into_iter();
    let mut random = |bytes: &mut [u8]| match <&mut [u8; 4]>::try_from(&mut *bytes) {
        Ok(id) => *id = draws.next().expect("no more ids are drawn").to_le_bytes(),
        Err(_) => bytes.fill(1),
    };
    let mut ring = Ring::new(0, &mut random);
    ring.rotate(1, 0, &mut random);
    assert_eq!(ids(&ring), [5, 6]);
}

#[test]
fn the_newest_whose_time_has_come_seals() {
    let check = |times: &[u64], now_s, want| {
        assert_eq!(ring(times).sealing(now_s).id, want, "{times:?} at {now_s}");
    };
    check(&[10], 5, 1);
    check(&[10, 20, 30], 9, 1);
    check(&[10, 20, 30], 10, 1);
    check(&[10, 20, 30], 20, 2);
    check(&[10, 20, 30], 29, 2);
    check(&[10, 20, 30], u64::MAX, 3);
    check(&[10, 10], 10, 2);
}

#[test]
fn keys_go_when_nothing_of_theirs_can_be_valid() {
    let check = |times: &[u64], now_s, longest_s, want: &[u32]| {
        let mut ring = ring(times);
        let before = ring.keys().len();
        let dropped = ring.drop_old(now_s, longest_s);
        assert_eq!(ids(&ring), want, "{times:?} at {now_s}");
        assert_eq!(dropped, before - want.len());
    };
    check(&[0], 100 * DAY, DAY, &[1]);
    check(&[0, 10 * DAY], 9 * DAY, DAY, &[1, 2]);
    check(&[0, 10 * DAY], 11 * DAY - 1, DAY, &[1, 2]);
    check(&[0, 10 * DAY], 11 * DAY, DAY, &[1, 2]);
    check(&[0, 10 * DAY], 11 * DAY + 1, DAY, &[2]);
    check(&[0, 10, 20, 30], 26, 5, &[3, 4]);
    check(&[0, 10, 20, 30], 1000, 5, &[4]);
    check(&[0, 10], 1000, u64::MAX, &[1, 2]);
    check(&[10, 20], 0, 0, &[1, 2]);
}

#[test]
fn json_comes_back() {
    let random = &mut random(3);
    let mut ring = Ring::new(1000, random);
    ring.rotate(2000, 600, random);
    let json = ring.to_json().expect("json");
    assert_eq!(Ring::from_json(&json), Ok(ring));
}

#[test]
fn json_does_not_change() {
    let secret = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let first = format!(r#"{{"id":1,"secret":"{secret}","seals_from":10}}"#);
    let second = format!(r#"{{"id":2,"secret":"{secret}","seals_from":20}}"#);
    let want = format!(r#"{{"keys":[{first},{second}]}}"#);
    let ring = ring(&[10, 20]);
    assert_eq!(ring.to_json().expect("json").as_slice(), want.as_bytes());
    assert_eq!(Ring::from_json(want.as_bytes()), Ok(ring));
}

#[test]
fn order_in_the_file_does_not_matter() {
    let key =
        |id, from| format!(r#"{{"id":{id},"secret":"{}","seals_from":{from}}}"#, "A".repeat(43));
    let json = format!(r#"{{"keys":[{},{},{}]}}"#, key(9, 30), key(4, 10), key(2, 30));
    let ring = Ring::from_json(json.as_bytes()).expect("valid");
    assert_eq!(ids(&ring), [4, 2, 9]);
}

#[test]
fn a_damaged_ring_is_refused() {
    let key =
        |id: &str, secret: &str| format!(r#"{{"id":{id},"secret":"{secret}","seals_from":10}}"#);
    let good = "A".repeat(43);
    let check = |json: &str, want: &str| {
        let error = Ring::from_json(json.as_bytes()).expect_err(json).to_string();
        assert_eq!(error, want, "{json}");
    };
    check("", "the key ring is damaged at line 1, column 0");
    check("{\n\"keys\": 5}", "the key ring is damaged at line 2, column 9");
    check(r#"{"keys":[]}"#, "the key ring has no key");
    let keys = |keys: &str| format!(r#"{{"keys":[{keys}]}}"#);
    check(&keys(&key("0", &good)), "the key ring has a key with the id 0");
    check(
        &keys(&[key("7", &good), key("8", &good), key("7", &good)].join(",")),
        "the key ring has two keys with the id 7",
    );
    for secret in ["", "A", &"A".repeat(42), &"A".repeat(44), &format!("{}/", "A".repeat(42))] {
        check(
            &keys(&key("7", secret)),
            "the secret of key 7 in the key ring is not 32 bytes in base64url",
        );
    }
    let error = Ring::from_json(keys(&key("\"SECRET\"", "SECRET")).as_bytes()).expect_err("no id");
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    let json = ring(&[10, 20]).to_json().expect("json");
    for length in 0..json.len() {
        assert!(Ring::from_json(&json[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn debug_hides_secrets() {
    let shown = format!("{:?}", ring(&[10]));
    assert_eq!(shown, "Ring { keys: [Key { id: 1, seals_from_s: 10, .. }] }");
}
