//! From a file or a text to a configuration.
//!
//! Owns the order: bytes, TOML, sections, rules between them. Nothing here knows a key's meaning.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use toml::de::DeTable;

use super::{
    Config, ConfigErrors, agent, check,
    error::{Lines, Read, Report},
    flood,
    http::sidecar,
    listener, pool,
    raw::Table,
};

/// A full configuration (65,535 backends and listeners) has less than half of it; more is some
/// other file.
const LARGEST_BYTES: u64 = 64 << 20;

/// Reads and checks a configuration file. Refuses with every mistake that is in it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let bytes = read(path).map_err(|error| {
        ConfigErrors::unreadable(path, None, format!("cannot be read: {error}"))
    })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, path),
        Err(error) => {
            let position = Lines::of(&bytes).position(error.valid_up_to());
            Err(ConfigErrors::unreadable(path, Some(position), "not UTF-8 text"))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB"));
    }
    Ok(bytes)
}

/// Checks a configuration's text; `file` is what messages call it.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
    let report = Report::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    // What is left of a broken text would only give mistakes that are none. And one slip is often
    // several to the parser: its first word about a line is the one to hear.
    let mut last_line = None;
    let mut broken = None;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let line = report.line(span.start);
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let shown = report.shown(span.clone());
        let problem = match shown.as_str() {
            "" => error.message().to_owned(),
            shown => format!("{}, at `{shown}`", error.message()),
        };
        broken = Some(report.refuse(span.start, "not TOML", problem, ""));
    }
    let config = match broken {
        Some(reported) => Err(reported),
        None => check::check(draft(&report, document.get_ref()), &report),
    };
    report.conclude(config)
}

fn draft<'a>(report: &'a Report<'a>, document: &'a DeTable<'a>) -> check::Draft {
    Table::root(report, document).scan(|root| check::Draft {
        agent: agent::agent(root),
        limits: agent::limits(root),
        flood: flood::flood(root),
        sidecar: sidecar::sidecar(root),
        pools: all(root, "pool", "at least one [[pool]]", pool::pool),
        listeners: all(root, "listener", "at least one [[listener]]", listener::listener),
    })
}

/// Reads every `[[key]]`, of which there must be one.
fn all<'a, T>(
    root: &mut Table<'a>,
    key: &'static str,
    allowed: &str,
    read: impl Fn(Table<'a>) -> T,
) -> Vec<Read<T>> {
    let Some(value) = root.value(key) else { return vec![Err(root.missing(key, allowed))] };
    match value.tables(key) {
        Err(reported) => vec![Err(reported)],
        Ok(tables) if tables.is_empty() => vec![Err(value.refuse("empty", allowed))],
        Ok(tables) => tables.into_iter().map(|table| table.map(&read)).collect(),
    }
}
