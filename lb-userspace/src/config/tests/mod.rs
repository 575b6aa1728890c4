//! Whole configurations: what is accepted, and the exact words about what is not.

mod accepted;
mod damaged;
mod http;
mod persistence;
mod tables;
mod together;
mod tunnel;
mod values;

use std::path::Path;

use super::{Config, ConfigErrors, parse};

/// The example at the root of the repository.
const EXAMPLE: &str = include_str!("../../../../holdfast.example.toml");

/// The smallest configuration, which the cases change; they name its lines.
const BASE: &str = r#"[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
[[pool.backend]]
name = "web-1"
address = "10.0.0.11:8080"
[[listener]]
name = "site"
protocol = "tcp"
address = "203.0.113.10:80"
pool = "web"
"#;

fn parsed(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, Path::new("h.toml"))
}

/// [`BASE`] with `from` replaced by `to`; an empty `from` appends.
fn changed(from: &str, to: &str) -> String {
    changed_in(BASE, from, to)
}

fn changed_in(base: &str, from: &str, to: &str) -> String {
    if from.is_empty() {
        return format!("{base}{to}");
    }
    assert_eq!(base.matches(from).count(), 1, "{from:?} stands once in the base");
    base.replace(from, to)
}

fn accepted(from: &str, to: &str) -> Config {
    accepted_in(BASE, from, to)
}

fn accepted_in(base: &str, from: &str, to: &str) -> Config {
    match parsed(&changed_in(base, from, to)) {
        Ok(config) => config,
        Err(errors) => panic!("{to:?} refused: {errors}"),
    }
}

/// A change to a base and all that is said about it, each line without the file's name.
type Case = (&'static str, &'static str, &'static str);

fn check(cases: &[Case]) {
    check_in(BASE, cases);
}

fn check_in(base: &str, cases: &[Case]) {
    let mut failed = String::new();
    for &(from, to, expected) in cases {
        let said = match parsed(&changed_in(base, from, to)) {
            Ok(_) => "accepted".to_owned(),
            Err(errors) => errors.to_string().replace("h.toml:", ""),
        };
        if said != expected {
            failed +=
                &["case ", to, "\n  expected ", expected, "\n  said     ", &said, "\n"].concat();
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
