//! curl, and what it says of answers.

use std::{
    ffi::OsStr,
    net::IpAddr,
    process::{Output, Stdio},
};

use super::answer::Answer;
use crate::netns::Namespace;

/// What ends a transfer in curl's output.
const END: char = '\x1e';

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The last answer; interim ones and redirects that were followed are before it.
    pub answer: Answer,
    /// Those.
    pub before: Vec<Answer>,
    /// `1.0`, `1.1`, `2`.
    pub version: String,
    /// Connections that were made for it.
    pub connections: u32,
}

/// Runs curl from a client's address, in its namespace.
///
/// # Panics
///
/// When there is no curl.
pub fn run(
    clients: &Namespace,
    from: IpAddr,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Output {
    let mut command = clients.command("curl");
    command.args(["--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", "15"]);
    command.args(["--interface", &from.to_string()]).args(arguments);
    command.stdin(Stdio::null()).output().expect("curl runs")
}

/// The transfers of one run of curl, in order.
///
/// # Panics
///
/// When one has no answer.
#[must_use]
#[track_caller]
pub fn transfers(
    clients: &Namespace,
    from: IpAddr,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Vec<Transfer> {
    let told = format!("{END}%{{http_version}} %{{num_connects}}{END}");
    let first = ["--include", "--write-out", &told].map(|text| OsStr::new(text).to_owned());
    let rest = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
    let all: Vec<_> = first.into_iter().chain(rest).collect();
    let output = run(clients, from, &all);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {all:?}: {error}");
    let text = String::from_utf8_lossy(&output.stdout);
    let parts: Vec<&str> = text.split(END).collect();
    let (pairs, _) = parts.as_chunks::<2>();
    pairs.iter().map(|[answers, told]| transfer(answers, told)).collect()
}

/// The only transfer of a run.
///
/// # Panics
///
/// As [`transfers`].
#[must_use]
#[track_caller]
pub fn get(
    clients: &Namespace,
    from: IpAddr,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Transfer {
    let mut all = transfers(clients, from, arguments);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn transfer(answers: &str, told: &str) -> Transfer {
    let mut rest = answers.as_bytes();
    let mut before = Vec::new();
    let mut answer = loop {
        let (answer, length) = Answer::head(rest).unwrap_or_else(|| panic!("no head: {answers}"));
        rest = &rest[length..];
        if !rest.starts_with(b"HTTP/") {
            break answer;
        }
        before.push(answer);
    };
    answer.body = rest.to_vec();
    let (version, connections) = told.split_once(' ').expect("two words");
    let connections = connections.parse().expect("a number");
    Transfer { answer, before, version: version.to_owned(), connections }
}
