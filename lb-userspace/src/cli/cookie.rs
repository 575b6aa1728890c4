//! `cookie explain`: what a cookie says, in sentences.

use std::{
    fmt::Write as _,
    io::{self, Read as _},
};

use clap::{Args, Subcommand};

use super::{
    human::{duration, plural},
    status::state,
    table::printable,
};
use crate::api::wire::{
    Explained, ExplainedBackend, ExplainedCookie, ExplainedLimit, ExplainedRule, ExplainedSession,
};

/// What can be done with a cookie.
#[derive(Debug, Subcommand)]
pub enum CookieVerb {
    /// Say what a cookie holds, and what becomes of a request with it
    #[command(
        long_about = "\
Say what a cookie holds: listener and pool that it is for, backend, times, the
key that sealed it, and what a request with it would be found to be now. Or why
it does not open. Changes nothing.

VALUE is the cookie's value, NAME=VALUE, or whole `Cookie:` or `Set-Cookie:`
lines; of a backend's own cookie (cookie-rewrite) the value with the seal before
it. A `-` reads it from the standard input, where no list of processes shows it.",
        after_help = "\
Examples:
  sudo holdfast cookie explain holdAQIDBA
  sudo holdfast cookie explain SERVERID=holdAQIDBA
  sudo holdfast cookie explain --json -"
    )]
    Explain(ExplainArgs),
}

/// `cookie explain`'s arguments.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The cookie; several words are one line
    #[arg(value_name = "VALUE", required = true, allow_hyphen_values = true)]
    pub value: Vec<String>,
    /// Print the admin API's JSON
    #[arg(long)]
    pub json: bool,
}

/// As much is read of the standard input: the agent takes no more.
const INPUT_MAX: u64 = 60_000;

impl ExplainArgs {
    /// The words, or what comes in.
    pub(super) fn text(&self) -> io::Result<String> {
        if self.value != ["-"] {
            return Ok(self.value.join(" "));
        }
        let mut text = String::new();
        let _length = io::stdin().lock().take(INPUT_MAX).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A paragraph for each cookie.
pub(super) fn page(explained: &Explained) -> String {
    let mut paragraphs: Vec<String> = explained.cookies.iter().map(cookie).collect();
    let others = plural(explained.others, "other cookie");
    match (explained.others, paragraphs.is_empty()) {
        (0, true) => paragraphs.push("There is no cookie in it.\n".to_owned()),
        (0, false) => {}
        (_, true) => {
            paragraphs
                .push(format!("Not one is Holdfast's: {others}, whose names no rule here has.\n"));
        }
        (_, false) => paragraphs.push(format!("{others}: not Holdfast's.\n")),
    }
    paragraphs.join("\n")
}

fn cookie(cookie: &ExplainedCookie) -> String {
    let name = cookie.name.as_deref().unwrap_or("the cookie");
    match (&cookie.session, &cookie.error) {
        (Some(session), _) => opened(name, cookie, session),
        (None, error) => {
            let why = error.as_deref().unwrap_or("no reason given");
            printable(&format!("{name} does not open: {why}.")) + "\n"
        }
    }
}

/// What, and what of it.
type Lines = Vec<(&'static str, String)>;

fn opened(name: &str, cookie: &ExplainedCookie, session: &ExplainedSession) -> String {
    let before = if cookie.rewritten { ", before a backend's own value" } else { "" };
    let key = cookie.key.unwrap_or_default();
    let seals =
        if session.key_seals { "which seals now" } else { "which seals no more, or not yet" };
    let mut lines = vec![
        ("for", format!("listener {}, pool {}{before}", session.listener, session.pool)),
        ("backend", backend(session.backend.as_ref(), &session.pool)),
        ("session", session.id.clone()),
        ("began", format!("{}, {} ago", session.issued, duration(session.issued_ago_s))),
        ("renewed", format!("{}, {} ago", session.renewed, duration(session.renewed_ago_s))),
        ("key", format!("{key}, {seals}")),
    ];
    if session.rules.is_empty() {
        let none = "none: no rule there has a cookie of this name and kind".to_owned();
        lines.push(("verdict", none));
    }
    // Most often all rules make the same of it.
    let mut said: Vec<(Lines, Vec<String>)> = Vec::new();
    for rule in &session.rules {
        let place = format!("{}{}", rule.host.as_deref().unwrap_or("any host, path "), rule.path);
        match said.iter_mut().find(|(lines, _)| *lines == verdict(rule)) {
            Some((_, places)) => places.push(place),
            None => said.push((verdict(rule), vec![place])),
        }
    }
    for (verdict, places) in said {
        lines.push(("rule", places.join("; ")));
        lines.extend(verdict);
    }
    let mut text = printable(name) + ":\n";
    for (what, value) in lines {
        // Writing into memory does not fail.
        let _written = writeln!(text, "  {what:<8} {}", printable(&value));
    }
    text
}

fn backend(backend: Option<&ExplainedBackend>, pool: &str) -> String {
    let Some(backend) = backend else {
        return format!("one that pool {pool} does not have (any more), or has at another address");
    };
    let ExplainedBackend { name, state: now, generation, generation_now, same_life } = backend;
    let life = match same_life {
        Some(true) => "in the same life".to_owned(),
        Some(false) => format!(
            "but in its life {generation_now}: since the cookie, of life {generation}, was made it \
             has been down"
        ),
        None => "sealed by another node, or before this one lost its state; lives are counted \
                 apart"
            .to_owned(),
    };
    format!("{name}, {}, {life}", state(*now))
}

fn verdict(rule: &ExplainedRule) -> Lines {
    let means = match rule.verdict.as_str() {
        "hit" if rule.renews => "it stays on its backend; the answer brings the cookie anew",
        "hit" => "it stays on its backend",
        "expired" => "its time is over: a new session begins",
        "drained" => "its backend is being evacuated: it moves to another",
        "down" => "its backend is down or gone, or was since: it moves to another",
        "forged" => "a new session begins",
        _ => "",
    };
    let limit = |limit: Option<&ExplainedLimit>| match limit {
        None => "no bound".to_owned(),
        Some(ExplainedLimit { limit_s, ends, left_s: 0 }) => {
            format!("{}, over since {ends}", duration(*limit_s))
        }
        Some(ExplainedLimit { limit_s, ends, left_s }) => {
            format!("{}, until {ends}, in {}", duration(*limit_s), duration(*left_s))
        }
    };
    vec![
        ("idle", limit(rule.idle.as_ref())),
        ("in all", limit(rule.absolute.as_ref())),
        ("verdict", format!("{}: {means}", rule.verdict)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::sample_explained;

    #[test]
    fn a_page() {
        let got = page(&sample_explained());
        assert_eq!(got, include_str!("golden/cookie.txt"), "\n{got}");
    }

    #[test]
    fn nothing_and_others() {
        let check = |others, want: &str| {
            assert_eq!(page(&Explained { cookies: vec![], others }), want);
        };
        check(0, "There is no cookie in it.\n");
        check(2, "Not one is Holdfast's: 2 other cookies, whose names no rule here has.\n");
    }
}
