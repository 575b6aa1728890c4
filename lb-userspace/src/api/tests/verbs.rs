//! Command lines, and what they print.

use clap::Parser;

use super::{Agent, code, pins, run_on};
use crate::{
    api::wire,
    cli::{self, Cli, Verb},
};

#[tokio::test]
async fn verbs_and_what_they_print() {
    let agent = Agent::start();
    let check = async |line: &str, want_code: u8, want_out: &str, want_err: &str| {
        let (got_code, out, err) = agent.run(line).await;
        assert_eq!((out.as_str(), err.as_str()), (want_out, want_err), "{line}");
        assert_eq!(got_code, code(want_code), "{line}");
    };
    check(
        "sessions --client 10.0.0.9",
        0,
        "\
CLIENT    LISTENER  BACKEND         AGE   IDLE    LEFT
10.0.0.9  web       web-1    1 min 49 s  1 min  29 min\n",
        "",
    )
    .await;
    check("sessions --client 10.0.1.0/24", 0, "No sessions.\n", "").await;
    check(
        "sessions --backend web-9",
        2,
        "",
        "error: no backend is named `web-9`; did you mean `web-1`?\n",
    )
    .await;
    check(
        "sessions --limit 1 --json",
        0,
        "\
{\"sessions\": [
{\"client\":\"10.0.0.1\",\"scope\":\"web\",\"listeners\":[\"web\"],\"backend\":\"web-1\",\
\"age_s\":101,\"idle_s\":60,\"left_s\":1740}
], \"next\": \"01\", \"held\": 25, \"counted_ms_ago\": 3400}\n",
        "",
    )
    .await;
    check("sessions flush --client 10.0.0.0/28", 0, "15 sessions forgotten.\n", "").await;
    check("sessions flush --backend web-1", 0, "5 sessions forgotten.\n", "").await;
    check("sessions flush --all", 0, "5 sessions forgotten.\n", "").await;
    check(
        "sessions --all --json",
        0,
        "{\"sessions\": [\n], \"next\": null, \"held\": 0, \"counted_ms_ago\": 3400}\n",
        "",
    )
    .await;
    check(
        "backend drain web-1",
        0,
        "web-1 is draining: no new clients; 1,234 pins and 1 open flow go \
          on until they end or expire.\n",
        "",
    )
    .await;
    check(
        "backend drain web-1",
        0,
        "web-1 is draining, as it was wanted before (drain): no new \
          clients; 1,234 pins and 1 open flow go on until they end or expire.\n",
        "",
    )
    .await;
    check(
        "backend evacuate web-1",
        0,
        "web-1 is evacuating: no new connections; left to run \
          until they end: 1 open flow.\n",
        "",
    )
    .await;
    check("backend down web-1", 0, "web-1 is down: it gets no connections.\n", "").await;
    check("backend ready web-1", 0, "web-1 is ready.\n", "").await;
    check(
        "backend ready web/1?",
        2,
        "",
        "error: no backend is named `web/1?`; did you mean `web-1`?\n",
    )
    .await;
    check(
        "reload",
        0,
        "holdfast.toml is in force, 1 change:\n  listener web: timeout 30 min, \
          was 5 min\n",
        "",
    )
    .await;
    check("reload", 0, "holdfast.toml was read again; nothing is different.\n", "").await;
    check(
        "reload",
        2,
        "",
        "error: the configuration is refused; nothing has changed\n  \
          holdfast.toml:3: a\n    | ^\n  b\n",
    )
    .await;
    check("reload", 1, "", "error: write VIPS: no space\n").await;
}

#[tokio::test]
async fn verbs_of_layer_7() {
    let agent = Agent::start();
    let check = async |line: &str, want_code: u8, want_out: &str, want_err: &str| {
        let (got_code, out, err) = agent.run(line).await;
        assert_eq!((out.as_str(), err.as_str()), (want_out, want_err), "{line}");
        assert_eq!(got_code, code(want_code), "{line}");
    };
    check(
        "keys list",
        0,
        "\
KEY  SEALS FROM            NOW
  1  2026-01-02T03:04:05Z  seals and opens
  2  2026-01-02T03:04:05Z  opens; seals in 0 s
in keys.json\n",
        "",
    )
    .await;
    let copy = "Where other nodes serve the same cookies: copy keys.json to them before, and reload \
                them.\n";
    let rotated =
        |time: &str| format!("Key 2 seals from 2026-01-02T03:04:05Z on, in {time}. {copy}");
    check("keys rotate", 0, &rotated("1 min"), "").await;
    check("keys rotate --after 2h", 0, &rotated("2 h"), "").await;
    check("cookie explain Cookie: a=b", 0, "Cookie: a=b does not open: it is no seal.\n", "").await;
    check(
        "sidecar replace",
        0,
        "Another takes the place of process 4711, which then has 30 s to finish what it has.\n",
        "",
    )
    .await;
}

#[tokio::test]
async fn pages_are_put_together() {
    let agent = Agent::start();
    let lines = async |line: &str| -> Vec<String> {
        let (status, out, err) = agent.run(line).await;
        assert_eq!((status, err), (code(0), String::new()), "{line}");
        out.lines().map(str::to_owned).collect()
    };
    let all = lines("sessions --all").await;
    assert_eq!(all.len(), 26);
    assert!(all[25].starts_with("10.0.0.25  web"), "{}", all[25]);
    assert_eq!(lines("sessions").await, all);
    // Filtered pages are short, and not the last for that.
    assert_eq!(lines("sessions --backend web-2").await.len(), 13);
    let some = lines("sessions --limit 10").await;
    assert_eq!(some.len(), 12);
    assert_eq!(
        some[11],
        "The first 10; there may be more: 25 pins were held when counted 3 s ago. --all shows every one, --limit more."
    );
    let (_, out, _) = agent.run("sessions --all --json").await;
    let page: wire::SessionsPage = serde_json::from_str(&out).expect("one document");
    assert_eq!((page.sessions, page.next), (pins(), None));
}

#[tokio::test]
async fn status_is_the_same_in_json() {
    let agent = Agent::start();
    let (_, out, _) = agent.run("status --json").await;
    let status: wire::Status = serde_json::from_str(&out).expect("status");
    assert_eq!(status, cli::sample_status());
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_failure() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let agent = Agent::start();
    for line in ["status", "status --json", "sessions", "sessions --json", "reload"] {
        let words = std::iter::once("holdfast").chain(line.split_whitespace());
        let Verb::Client(verb) = Cli::try_parse_from(words).expect(line).verb else {
            panic!("{line} asks no agent");
        };
        let mut err = Vec::new();
        let got = cli::client::perform(&agent.socket(), &verb, &mut Gone, &mut err).await;
        assert_eq!((format!("{got:?}"), err.len()), (code(0), 0), "{line}");
    }
}

#[tokio::test]
async fn no_agent_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("admin.sock");
    let check = async || {
        let (status, out, err) = run_on(&socket, "status").await;
        assert_eq!((status, out), (code(1), String::new()));
        assert!(err.contains(&socket.display().to_string()), "{err}");
        assert!(err.contains("`holdfast run --config FILE`"), "{err}");
    };
    check().await;
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a listener that is gone"));
    check().await;
}
