use proptest::prelude::*;

use super::*;
use crate::l7::cookie::samples::{cases, random};

const NOW_MS: u64 = 1_800_000_000_000;
const SCOPE: &[u8] = b"listener shop, host shop.example, path /";
const PIN: Pin = Pin {
    backend: 1,
    epoch: 2,
    generation: 3,
    session: 4,
    issued_ms: NOW_MS,
    renewed_ms: NOW_MS,
    idle_s: 5,
    absolute_s: 6,
};

fn ring() -> Ring {
    Ring::new(NOW_MS / 1000, &mut random(1))
}

fn sealed(sealer: &Sealer) -> String {
    seal(sealer, SCOPE, &PIN, NOW_MS, &mut random(2))
}

#[test]
fn two_nodes_with_one_ring() {
    let ring = ring();
    let theirs = Ring::from_json(&ring.to_json().expect("json")).expect("valid");
    let text = sealed(&Sealer::new(&ring));
    assert_eq!(
        open(&Sealer::new(&theirs), SCOPE, text.as_bytes()),
        Ok(Opened { pin: PIN, key: ring.keys()[0].id })
    );
}

#[test]
fn the_form() {
    let text = sealed(&Sealer::new(&ring()));
    assert_eq!(key_id(text.as_bytes()), Some(ring().keys()[0].id));
    assert_eq!(key_id(&text.as_bytes()[1..]), None);
    assert_eq!(text.len(), SEAL_BYTES);
    assert_eq!(SEAL_BYTES, 112);
    assert!(has_form(text.as_bytes()));
    // A cookie's value needs no quotes for any of these (RFC 6265, 4.1.1).
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
}

#[test]
fn the_form_does_not_change() {
    let id = [0x10, 0x20, 0x30, 0x40];
    let mut bytes = [&id[..], &[7; 32]].into_iter();
    let ring = Ring::new(0, &mut |out: &mut [u8]| {
        out.copy_from_slice(bytes.next().expect("an id and a secret"));
    });
    let text = seal(&Sealer::new(&ring), SCOPE, &PIN, NOW_MS, &mut |out: &mut [u8]| out.fill(9));
    // Made with another implementation.
    assert_eq!(text, GOLDEN);
}

const GOLDEN: &str = "holdECAwQAkJCQkJCQkJCQkJCcRiAS5MR4FnbqscQ-A3pYVdFE3595d3\
    tsXEPXMQo4674PTZpMsuf4h8wupQjY4pdNySc7sj_vBGFGZJHXiDXxu6";

#[test]
fn nothing_repeats() {
    let sealer = Sealer::new(&ring());
    let random = &mut random(2);
    let first = seal(&sealer, SCOPE, &PIN, NOW_MS, random);
    assert_ne!(first, seal(&sealer, SCOPE, &PIN, NOW_MS, random));
}

#[test]
fn other_scopes_do_not_open_it() {
    let sealer = Sealer::new(&ring());
    let text = sealed(&sealer);
    for scope in [&b""[..], b"listener shop, host shop.example, path /x", &SCOPE[1..]] {
        assert_eq!(open(&sealer, scope, text.as_bytes()), Err(OpenError::Forged));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let sealer = Sealer::new(&ring());
    let raw = URL_SAFE_NO_PAD.decode(&sealed(&sealer)[MARK.len()..]).expect("base64url");
    for (byte, bit) in (0..raw.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut raw = raw.clone();
        raw[byte] ^= 1 << bit;
        let text = format!("hold{}", URL_SAFE_NO_PAD.encode(raw));
        let want = if byte < ID_BYTES { OpenError::UnknownKey } else { OpenError::Forged };
        assert_eq!(open(&sealer, SCOPE, text.as_bytes()), Err(want), "byte {byte}, bit {bit}");
    }
}

#[test]
fn every_changed_character_is_refused() {
    let sealer = Sealer::new(&ring());
    let text = sealed(&sealer).into_bytes();
    for (at, byte) in (0..text.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
        let mut changed = text.clone();
        changed[at] = byte;
        assert_eq!(open(&sealer, SCOPE, &changed).is_ok(), changed == text, "{byte} at {at}");
    }
}

#[test]
fn other_text_is_no_seal() {
    let sealer = Sealer::new(&ring());
    let text = sealed(&sealer);
    for other in [
        "",
        "hold",
        "web-1",
        &text[..SEAL_BYTES - 1],
        &text[1..],
        &format!("{text}A"),
        &format!("{text}="),
        &format!("HOLD{}", &text[4..]),
        &format!("\"{}\"", &text[..SEAL_BYTES - 2]),
        &format!("{}+", &text[..SEAL_BYTES - 1]),
        &format!("{}=", &text[..SEAL_BYTES - 1]),
        &format!("{}.", &text[..SEAL_BYTES - 1]),
    ] {
        assert_eq!(open(&sealer, SCOPE, other.as_bytes()), Err(OpenError::NotASeal), "{other}");
        assert!(!has_form(other.as_bytes()), "{other}");
    }
}

#[test]
fn another_version_is_refused() {
    let sealer = Sealer::new(&ring());
    let key = &sealer.keys[0];
    let mut pin = PIN.to_bytes();
    pin[0] += 1;
    let nonce = [0; NONCE_BYTES];
    let tag = key
        .cipher
        .encrypt_inout_detached(&Nonce::from(nonce), SCOPE, pin.as_mut_slice().into())
        .expect("sealed");
    let raw = [&key.id.to_le_bytes()[..], &nonce, &pin, &tag].concat();
    let text = format!("hold{}", URL_SAFE_NO_PAD.encode(raw));
    assert_eq!(open(&sealer, SCOPE, text.as_bytes()), Err(OpenError::Forged));
}

#[test]
fn keys_turn_without_losing_a_session() {
    let random = &mut random(5);
    let mut ring = ring();
    let now_s = NOW_MS / 1000;
    let old = sealed(&Sealer::new(&ring));
    ring.rotate(now_s, 600, random);
    let both = Sealer::new(&ring);
    let [first, second] = [ring.keys()[0].id, ring.keys()[1].id];
    let key_of =
        |sealer: &Sealer, text: &str| open(sealer, SCOPE, text.as_bytes()).map(|it| it.key);
    assert_eq!(key_of(&both, &old), Ok(first));
    let mut new = String::new();
    for (now_ms, want) in [(NOW_MS + 599_999, first), (NOW_MS + 600_000, second)] {
        assert_eq!(both.sealing(now_ms), want);
        new = seal(&both, SCOPE, &PIN, now_ms, random);
        assert_eq!(key_of(&both, &new), Ok(want));
    }
    assert_eq!(ring.drop_old(now_s + 600 + 3601, 3600), 1);
    let later = Sealer::new(&ring);
    assert_eq!(key_of(&later, &old), Err(OpenError::UnknownKey));
    assert_eq!(key_of(&later, &new), Ok(second));
}

fn pins() -> impl Strategy<Value = Pin> {
    let words = any::<(u64, u32, u32, u64, u64, u64, u32, u32)>();
    words.prop_map(
        |(backend, epoch, generation, session, issued_ms, renewed_ms, idle_s, absolute_s)| Pin {
            backend,
            epoch,
            generation,
            session,
            issued_ms,
            renewed_ms,
            idle_s,
            absolute_s,
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_sealed_opens(
        pin in pins(),
        scope in proptest::collection::vec(any::<u8>(), 0..80),
        seed: u64,
        now_ms: u64,
    ) {
        let sealer = Sealer::new(&ring());
        let text = seal(&sealer, &scope, &pin, now_ms, &mut random(seed));
        prop_assert_eq!(open(&sealer, &scope, text.as_bytes()).map(|opened| opened.pin), Ok(pin));
        prop_assert_eq!(Pin::from_bytes(&pin.to_bytes()), Some(pin));
    }

    #[test]
    fn nothing_else_opens(
        raw in proptest::collection::vec(any::<u8>(), RAW_BYTES),
        text in proptest::collection::vec(any::<u8>(), 0..2 * SEAL_BYTES),
    ) {
        let ring = ring();
        let sealer = Sealer::new(&ring);
        prop_assert!(open(&sealer, SCOPE, &text).is_err());
        let mut raw = raw;
        raw[..ID_BYTES].copy_from_slice(&ring.keys()[0].id.to_le_bytes());
        let text = format!("hold{}", URL_SAFE_NO_PAD.encode(raw));
        prop_assert_eq!(open(&sealer, SCOPE, text.as_bytes()), Err(OpenError::Forged));
    }
}
