use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::l7::cookie::{
    pin::backend_identity,
    ring::Ring,
    samples::{cases, random},
    seal::seal,
};

const NOW_MS: u64 = 1_800_000_000_000;
const SCOPE: &[u8] = b"listener shop, host , path /";
const LIMITS: Limits = Limits { idle_s: 3600, absolute_s: 0 };
const WEB_1: &str = "web-1 10.0.0.11:8080";
const WEB_2: &str = "web-2 10.0.0.12:8080";
const EPOCH: u32 = 77;
const GENERATION: u32 = 5;
const SESSION: u64 = 99;

fn ring() -> Ring {
    Ring::new(NOW_MS / 1000 - 100, &mut random(1))
}

/// A pin on `web-1`, made and sealed now, by this node.
fn pin() -> Pin {
    Pin {
        backend: backend_identity(WEB_1),
        epoch: EPOCH,
        generation: GENERATION,
        session: SESSION,
        issued_ms: NOW_MS,
        renewed_ms: NOW_MS,
        idle_s: LIMITS.idle_s,
        absolute_s: LIMITS.absolute_s,
    }
}

fn web_1(standing: Standing) -> Life {
    Life { index: 3, epoch: EPOCH, generation: GENERATION, standing }
}

/// What a node does that knows `web-1` as `life`.
struct Node {
    sealer: Sealer,
    limits: Limits,
    life: Option<Life>,
}

impl Node {
    fn new(life: Option<Life>) -> Self {
        Self { sealer: Sealer::new(&ring()), limits: LIMITS, life }
    }

    fn in_service() -> Self {
        Self::new(Some(web_1(Standing::InService)))
    }

    fn seal(&self, pin: &Pin) -> String {
        seal(&self.sealer, SCOPE, pin, NOW_MS, &mut random(pin.session))
    }

    fn judge(&self, values: &[&str], now_ms: u64) -> Outcome {
        let rule = Rule { scope: SCOPE, sealer: &self.sealer, limits: self.limits };
        let known = |identity| self.life.filter(|_| identity == backend_identity(WEB_1));
        judge(&rule, values.iter().map(|value| value.as_bytes()), known, now_ms)
    }

    fn judge_pin(&self, pin: &Pin, now_ms: u64) -> Outcome {
        self.judge(&[&self.seal(pin)], now_ms)
    }
}

#[test]
fn p3_good_below_a_limit_gone_at_it() {
    let check = |sealed: (u32, u32), configured: (u32, u32), age_ms: u64, want| {
        let pin = Pin { idle_s: sealed.0, absolute_s: sealed.1, ..pin() };
        let limits = Limits { idle_s: configured.0, absolute_s: configured.1 };
        let node = Node { limits, ..Node::in_service() };
        let got = node.judge_pin(&pin, NOW_MS + age_ms);
        assert_eq!(got.verdict, want, "{sealed:?}, {configured:?}, age {age_ms} ms");
        assert_eq!(got.backend.is_some(), want == Verdict::Hit);
    };
    let boundary = |sealed, configured, limit_s: u64| {
        check(sealed, configured, 0, Verdict::Hit);
        check(sealed, configured, limit_s * 1000 - 1, Verdict::Hit);
        check(sealed, configured, limit_s * 1000, Verdict::Expired);
        check(sealed, configured, limit_s * 1000 + 1, Verdict::Expired);
    };
    for limit_s in [1, 60, 86_400] {
        let limit = u64::from(limit_s);
        boundary((limit_s, 0), (limit_s, 0), limit);
        boundary((0, limit_s), (0, limit_s), limit);
        // The shorter of what was sealed and what is configured now (P10).
        boundary((limit_s, 0), (limit_s + 1, 0), limit);
        boundary((limit_s + 1, 0), (limit_s, 0), limit);
        boundary((limit_s, 0), (0, 0), limit);
        boundary((0, 0), (limit_s, 0), limit);
        boundary((0, 0), (0, limit_s), limit);
        boundary((limit_s + 1, limit_s), (limit_s + 1, 0), limit);
    }
    check((0, 0), (0, 0), u64::MAX - NOW_MS, Verdict::Hit);
    check((u32::MAX, u32::MAX), (u32::MAX, u32::MAX), 1, Verdict::Hit);
}

#[test]
fn limits_count_from_their_own_beginnings() {
    let check = |issued_ms, renewed_ms, now_ms, want| {
        let pin = Pin { issued_ms, renewed_ms, idle_s: 60, absolute_s: 100, ..pin() };
        assert_eq!(Node::in_service().judge_pin(&pin, now_ms).verdict, want, "at {now_ms}");
    };
    let t = |s: u64| NOW_MS + s * 1000;
    check(t(0), t(50), t(99), Verdict::Hit);
    check(t(0), t(50), t(100), Verdict::Expired);
    check(t(20), t(30), t(89), Verdict::Hit);
    check(t(20), t(30), t(90), Verdict::Expired);
}

#[test]
fn a_clock_that_steps() {
    let check = |ahead_ms: u64, want: Verdict, renew| {
        let pin = Pin { issued_ms: NOW_MS + ahead_ms, renewed_ms: NOW_MS + ahead_ms, ..pin() };
        let got = Node::in_service().judge_pin(&pin, NOW_MS);
        assert_eq!((got.verdict, got.renew), (want, renew), "{ahead_ms} ms ahead");
        for pin in [Pin { issued_ms: NOW_MS, ..pin }, Pin { renewed_ms: NOW_MS, ..pin }] {
            assert_eq!(Node::in_service().judge_pin(&pin, NOW_MS).renew, renew, "one ahead");
        }
    };
    check(0, Verdict::Hit, false);
    check(1000, Verdict::Hit, false);
    check(1001, Verdict::Hit, true);
    check(10 * 86_400_000, Verdict::Hit, true);
    check(u64::MAX - NOW_MS, Verdict::Hit, true);
    // Set forward: a session of another day.
    let node = Node::in_service();
    assert_eq!(node.judge_pin(&pin(), NOW_MS + 86_400_000).verdict, Verdict::Expired);
    assert_eq!(node.judge_pin(&pin(), 0).verdict, Verdict::Hit, "set back to 1970");
    assert_eq!(node.judge_pin(&pin(), u64::MAX).verdict, Verdict::Expired);
}

#[test]
fn what_is_renewed_by_a_clock_that_was_set_back_begins_now() {
    let ahead = Pin { issued_ms: NOW_MS + 5_000_000, renewed_ms: NOW_MS + 5_000_000, ..pin() };
    let set = on_answer(&Node::in_service().judge_pin(&ahead, NOW_MS), StatusCode::OK, WEB_1);
    let set = set.expect("renewed");
    assert_eq!((set.issued_ms, set.renewed_ms), (NOW_MS, NOW_MS));
}

#[test]
fn standings() {
    let check = |life, want, backend| {
        let got = Node::new(life).judge_pin(&pin(), NOW_MS);
        assert_eq!((got.verdict, got.backend), (want, backend), "{life:?}");
        assert_eq!(got.session, Some(pin()), "the session goes on");
    };
    check(None, Verdict::Down, None);
    check(Some(web_1(Standing::InService)), Verdict::Hit, Some(3));
    check(Some(web_1(Standing::Draining)), Verdict::Hit, Some(3));
    check(Some(web_1(Standing::Evacuating)), Verdict::Drained, None);
    check(Some(web_1(Standing::Down)), Verdict::Down, None);
}

#[test]
fn generations_are_compared_within_an_epoch() {
    use Standing::{Down, Draining, Evacuating, InService};

    let check = |epoch, generation, standing, want, renew| {
        let pin = Pin { epoch, generation, ..pin() };
        let got = Node::new(Some(web_1(standing))).judge_pin(&pin, NOW_MS);
        assert_eq!((got.verdict, got.renew), (want, renew), "{epoch} {generation} {standing:?}");
    };
    check(EPOCH, GENERATION, InService, Verdict::Hit, false);
    check(EPOCH, GENERATION - 1, InService, Verdict::Down, false);
    check(EPOCH, GENERATION + 1, InService, Verdict::Down, false);
    check(EPOCH, GENERATION - 1, Draining, Verdict::Down, false);
    check(EPOCH, GENERATION - 1, Evacuating, Verdict::Down, false);
    for generation in [0, GENERATION - 1, GENERATION, GENERATION + 1] {
        check(EPOCH + 1, generation, InService, Verdict::Hit, true);
        check(EPOCH + 1, generation, Draining, Verdict::Hit, true);
        check(EPOCH + 1, generation, Evacuating, Verdict::Drained, false);
        check(EPOCH + 1, generation, Down, Verdict::Down, false);
    }
}

#[test]
fn c7_renewed_from_an_eighth_on() {
    let check = |limits: Limits, age_ms, want| {
        let pin = Pin { idle_s: limits.idle_s, absolute_s: limits.absolute_s, ..pin() };
        let node = Node { limits, ..Node::in_service() };
        let got = node.judge_pin(&pin, NOW_MS + age_ms);
        assert_eq!((got.verdict, got.renew), (Verdict::Hit, want), "{limits:?}, age {age_ms}");
    };
    let idle = |idle_s| Limits { idle_s, absolute_s: 0 };
    check(idle(3600), 449_999, false);
    check(idle(3600), 450_000, true);
    check(idle(3600), 450_001, true);
    check(idle(1), 124, false);
    check(idle(1), 125, true);
    check(Limits { idle_s: 80, absolute_s: 100 }, 9_999, false);
    check(Limits { idle_s: 80, absolute_s: 100 }, 10_000, true);
    check(Limits::NONE, 1_000_000_000_000, false);
}

#[test]
fn renewed_when_limits_changed() {
    let check = |limits: Limits, want| {
        let node = Node { limits, ..Node::in_service() };
        assert_eq!(node.judge_pin(&pin(), NOW_MS).renew, want, "{limits:?}");
    };
    check(LIMITS, false);
    check(Limits { idle_s: 3601, ..LIMITS }, true);
    check(Limits { idle_s: 3599, ..LIMITS }, true);
    check(Limits { absolute_s: 7200, ..LIMITS }, true);
}

#[test]
fn renewed_when_another_key_seals() {
    let mut ring = ring();
    let old = Node::in_service().seal(&pin());
    ring.rotate(NOW_MS / 1000, 60, &mut random(4));
    let node = Node { sealer: Sealer::new(&ring), ..Node::in_service() };
    for (now_ms, want) in [(NOW_MS + 59_999, false), (NOW_MS + 60_000, true)] {
        let got = node.judge(&[&old], now_ms);
        assert_eq!((got.verdict, got.renew), (Verdict::Hit, want), "at {now_ms}");
    }
}

#[test]
fn what_is_not_ours_is_forged() {
    let check = |value: &str| {
        let got = Node::in_service().judge(&[value], NOW_MS);
        assert_eq!(got, Outcome { verdict: Verdict::Forged, ..Outcome::NEW }, "{value}");
    };
    check("");
    check("web-1");
    check(&format!("{}.x", Node::in_service().seal(&pin())));
    let other = Sealer::new(&Ring::new(0, &mut random(8)));
    check(&seal(&other, SCOPE, &pin(), NOW_MS, &mut random(1)));
    let sealer = Sealer::new(&ring());
    check(&seal(&sealer, b"listener api, host , path /", &pin(), NOW_MS, &mut random(1)));
}

#[test]
fn c8_the_first_valid_counts_else_what_explains_most() {
    let node = Node::in_service();
    let later = NOW_MS + 3_600_000;
    let fresh = Pin { issued_ms: later, renewed_ms: later, ..pin() };
    let hit = node.seal(&fresh);
    let second = node.seal(&Pin { session: 2, ..fresh });
    let expired = node.seal(&pin());
    let down = node.seal(&Pin { generation: GENERATION + 1, ..fresh });
    let down_second = node.seal(&Pin { generation: GENERATION + 1, session: 2, ..fresh });
    let check = |values: &[&str], want, session| {
        let got = node.judge(values, later);
        assert_eq!((got.verdict, got.session.map(|pin| pin.session)), (want, session));
    };
    check(&[], Verdict::New, None);
    check(&["x"], Verdict::Forged, None);
    check(&["x", &expired], Verdict::Expired, None);
    check(&[&expired, "x"], Verdict::Expired, None);
    check(&["x", &down, &expired], Verdict::Down, Some(SESSION));
    check(&[&down, &down_second], Verdict::Down, Some(SESSION));
    check(&[&down_second, &down], Verdict::Down, Some(2));
    check(&["x", &expired, &down, &hit, &second], Verdict::Hit, Some(SESSION));
    check(&[&second, &hit], Verdict::Hit, Some(2));

    // drained goes before down: web-1 evacuates, and web-2 is gone.
    let node = Node::new(Some(web_1(Standing::Evacuating)));
    let gone = node.seal(&Pin { backend: backend_identity(WEB_2), ..fresh });
    for values in [[&hit, &gone], [&gone, &hit]] {
        let got = node.judge(&values.map(String::as_str), later);
        assert_eq!(got.verdict, Verdict::Drained);
    }
}

#[test]
fn only_so_many_are_tried() {
    let node = Node::in_service();
    let hit = node.seal(&pin());
    let check = |others: usize, want| {
        let mut values = vec!["x"; others];
        values.push(&hit);
        assert_eq!(node.judge(&values, NOW_MS).verdict, want, "behind {others} others");
    };
    check(TRIED - 1, Verdict::Hit);
    check(TRIED, Verdict::Forged);
}

#[test]
fn two_nodes_understand_one_another() {
    let ours = Node::in_service();
    let theirs = Node::new(Some(Life { index: 0, epoch: 1, ..web_1(Standing::InService) }));
    let got = theirs.judge(&[&ours.seal(&pin())], NOW_MS + 1);
    assert_eq!((got.verdict, got.backend, got.renew), (Verdict::Hit, Some(0), true));
}

fn on_answer(outcome: &Outcome, status: StatusCode, backend: &str) -> Option<Pin> {
    answered(outcome, status, backend, false)
}

fn answered(outcome: &Outcome, status: StatusCode, backend: &str, on_error: bool) -> Option<Pin> {
    let answer = Answer { status, insert_on_error: on_error };
    let chosen =
        Chosen { identity: backend_identity(backend), epoch: EPOCH, generation: GENERATION };
    outcome.on_answer(answer, chosen, LIMITS, NOW_MS, &mut |bytes: &mut [u8]| bytes.fill(1))
}

/// The id of a session that is made here.
const MADE: u64 = 0x0101_0101_0101_0101;

fn outcome(verdict: Verdict, renew: bool) -> Outcome {
    let goes_on = matches!(verdict, Verdict::Hit | Verdict::Down | Verdict::Drained);
    let earlier = Pin { issued_ms: NOW_MS - 7000, renewed_ms: NOW_MS - 5000, ..pin() };
    Outcome { verdict, backend: None, session: goes_on.then_some(earlier), renew }
}

#[test]
fn c4_which_answers_set_a_cookie() {
    let always = [200, 201, 204, 206, 101, 300, 301, 302, 303, 304, 307, 308];
    let errors = [400, 401, 403, 404, 429, 499, 500, 502, 503, 504, 599];
    let never = [100, 102, 103, 600, 999];
    let sayings = [
        (outcome(Verdict::New, false), WEB_1),
        (outcome(Verdict::Forged, false), WEB_1),
        (outcome(Verdict::Expired, false), WEB_1),
        (outcome(Verdict::Down, false), WEB_2),
        (outcome(Verdict::Drained, false), WEB_2),
        (outcome(Verdict::Hit, true), WEB_1),
        (outcome(Verdict::Hit, false), WEB_2),
    ];
    let check = |status: u16, on_error, want: bool| {
        let status = StatusCode::from_u16(status).expect("a status");
        for (outcome, backend) in &sayings {
            let got = answered(outcome, status, backend, on_error);
            assert_eq!(got.is_some(), want, "{status} {:?} {on_error}", outcome.verdict);
        }
        // Nothing to say.
        assert_eq!(answered(&outcome(Verdict::Hit, false), status, WEB_1, on_error), None);
    };
    for on_error in [false, true] {
        for status in always {
            check(status, on_error, true);
        }
        for status in errors {
            check(status, on_error, on_error);
        }
        for status in never {
            check(status, on_error, false);
        }
    }
}

#[test]
fn c5_a_redirect_moves_no_session() {
    for status in [301, 302, 303, 307, 308] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(on_answer(&outcome(Verdict::Hit, false), status, WEB_1), None);
        let renewed = on_answer(&outcome(Verdict::Hit, true), status, WEB_1).expect("renewed");
        assert_eq!((renewed.backend, renewed.session), (pin().backend, SESSION));
    }
}

#[test]
fn c10_a_session_that_moves_keeps_its_id_and_its_beginning() {
    let check = |outcome: Outcome, backend, session, issued_ms| {
        let want = Pin { backend: backend_identity(backend), session, issued_ms, ..pin() };
        assert_eq!(on_answer(&outcome, StatusCode::OK, backend), Some(want), "{outcome:?}");
    };
    check(outcome(Verdict::New, false), WEB_1, MADE, NOW_MS);
    check(outcome(Verdict::Forged, false), WEB_2, MADE, NOW_MS);
    check(outcome(Verdict::Expired, false), WEB_1, MADE, NOW_MS);
    check(outcome(Verdict::Hit, true), WEB_1, SESSION, NOW_MS - 7000);
    check(outcome(Verdict::Down, false), WEB_2, SESSION, NOW_MS - 7000);
    check(outcome(Verdict::Drained, false), WEB_2, SESSION, NOW_MS - 7000);
    // Its backend did not accept a connection, and another one answered.
    check(outcome(Verdict::Hit, false), WEB_2, SESSION, NOW_MS - 7000);
    // The same backend in a new life.
    check(outcome(Verdict::Down, false), WEB_1, SESSION, NOW_MS - 7000);
}

#[test]
fn what_an_answer_sets_is_a_hit_with_the_next_request() {
    let node = Node::in_service();
    for verdict in Verdict::ALL {
        let set = on_answer(&outcome(verdict, true), StatusCode::OK, WEB_1).expect("set");
        let got = node.judge(&[&node.seal(&set)], NOW_MS);
        assert_eq!((got.verdict, got.renew), (Verdict::Hit, false), "{verdict:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_is_presented(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..130), 0..5),
        now_ms: u64,
    ) {
        let node = Node::in_service();
        let rule = Rule { scope: SCOPE, sealer: &node.sealer, limits: LIMITS };
        let got = judge(&rule, values.iter().map(Vec::as_slice), |_| node.life, now_ms);
        let want = if values.is_empty() { Verdict::New } else { Verdict::Forged };
        prop_assert_eq!(got, Outcome { verdict: want, ..Outcome::NEW });
    }

    #[test]
    fn whatever_is_sealed(
        times in any::<(u64, u64, u32, u32)>(),
        lives in any::<(u32, u32)>(),
        now_ms: u64,
    ) {
        let (issued_ms, renewed_ms, idle_s, absolute_s) = times;
        let (epoch, generation) = lives;
        let pin = Pin { epoch, generation, issued_ms, renewed_ms, idle_s, absolute_s, ..pin() };
        let got = Node::in_service().judge_pin(&pin, now_ms);
        prop_assert_eq!(got.backend.is_some(), got.verdict == Verdict::Hit);
        prop_assert_eq!(got.session.is_some(), got.verdict != Verdict::Expired);
        if let Some(set) = on_answer(&got, StatusCode::OK, WEB_1) {
            let next = Node::in_service().judge_pin(&set, NOW_MS);
            prop_assert_eq!((next.verdict, next.renew), (Verdict::Hit, false));
        }
    }
}
