//! The file as written: a cursor over TOML's tables that knows where everything stands.
//!
//! Owns key look-up: missing keys, unknown keys, keys that belong elsewhere. Never knows what a key
//! means; [`super::value`] reads single values, the sections' modules put them together.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::error::{Read, Report, Reported};

/// A value that was read, and what messages about it need.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    /// Byte offset.
    pub(super) at: usize,
    /// `listener "web": pool = "wbe"`.
    pub(super) subject: String,
}

impl<T> Found<T> {
    /// Reports a mistake about this value.
    pub(super) fn refuse(
        &self,
        report: &Report<'_>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Reported {
        report.refuse(self.at, self.subject.clone(), problem, allowed)
    }
}

/// One value in the file.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) toml: &'a DeValue<'a>,
    span: Range<usize>,
    /// What the table's own keys are said to belong to: `listener "web": `, or nothing.
    owner: String,
    /// The key with its tables: `persistence.timeout`.
    key: String,
}

impl<'a> Value<'a> {
    /// Byte offset.
    pub(super) fn at(&self) -> usize {
        self.span.start
    }

    /// How messages name it. Tables and arrays are not shown: they can be long.
    pub(super) fn subject(&self) -> String {
        let Self { owner, key, .. } = self;
        match self.toml {
            DeValue::Array(_) | DeValue::Table(_) => format!("{owner}{key}"),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                format!("{owner}{key} = {}", self.report.shown(self.span.clone()))
            }
        }
    }

    /// Reports a mistake about this value.
    pub(super) fn refuse(
        &self,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Reported {
        self.report.refuse(self.at(), self.subject(), problem, allowed)
    }

    /// Reports a value of the wrong type.
    pub(super) fn refuse_type(&self, expected: &str) -> Reported {
        let found = match self.toml {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time of day",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("expected {expected}, found {found}"), "")
    }

    /// Pairs what was read from this value with its place.
    pub(super) fn found<T>(&self, value: T) -> Found<T> {
        Found { value, at: self.at(), subject: self.subject() }
    }

    /// The elements of an array.
    pub(super) fn items(&self, expected: &str) -> Read<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.toml else { return Err(self.refuse_type(expected)) };
        Ok(array.iter().map(|item| self.child(item)).collect())
    }

    fn child(&self, item: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value { toml: item.get_ref(), span: item.span(), ..self.clone() }
    }

    /// The table that this value is: `[key]`, `key = { ... }` or `key.x = ...`.
    pub(super) fn table(&self) -> Read<Table<'a>> {
        let DeValue::Table(entries) = self.toml else { return Err(self.refuse_type("a table")) };
        Ok(Table {
            report: self.report,
            entries,
            at: self.at(),
            owner: self.owner.clone(),
            prefix: format!("{}.", self.key),
            asked: Vec::new(),
            elsewhere: Vec::new(),
        })
    }

    /// The tables of `[[key]]`, each named in messages by its `name` or its number.
    pub(super) fn tables(&self, kind: &str) -> Read<Vec<Read<Table<'a>>>> {
        let expected = format!("an array of tables ([[{}]])", self.key);
        let items = self.items(&expected)?;
        let named = |(index, item): (usize, Value<'a>)| {
            let table = item.table()?;
            let title = match table.entries.get("name").map(Spanned::get_ref) {
                Some(DeValue::String(name)) if name.chars().count() <= 63 => format!("{name:?}"),
                _ => format!("number {}", index + 1),
            };
            let owner = format!("{}{kind} {title}: ", self.owner);
            Ok(Table { owner, prefix: String::new(), ..table })
        };
        Ok(items.into_iter().enumerate().map(named).collect())
    }
}

/// One table in the file.
pub(super) struct Table<'a> {
    report: &'a Report<'a>,
    entries: &'a DeTable<'a>,
    at: usize,
    owner: String,
    /// `persistence.` in a table that is a key's value, nothing in an element of `[[...]]`.
    prefix: String,
    asked: Vec<&'static str>,
    /// Keys that this table would have under other circumstances, and which.
    elsewhere: Vec<(&'static str, String)>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(report: &'a Report<'a>, entries: &'a DeTable<'a>) -> Self {
        let (owner, prefix) = (String::new(), String::new());
        let (asked, elsewhere) = (Vec::new(), Vec::new());
        Self { report, entries, at: 0, owner, prefix, asked, elsewhere }
    }

    /// Reads the table with `read`, then reports each key that `read` did not ask for.
    pub(super) fn scan<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        for key in self.entries.keys() {
            if !self.asked.iter().any(|known| known == key.get_ref()) {
                self.refuse_key(key);
            }
        }
        value
    }

    /// Keys that are refused with `why` and not as unknown ones.
    pub(super) fn elsewhere(&mut self, keys: &[&'static str], why: &str) {
        self.elsewhere.extend(keys.iter().map(|&key| (key, why.to_owned())));
    }

    /// Keys that are not judged, since what they depend on was refused.
    pub(super) fn unjudged(&mut self, keys: &[&'static str]) {
        for key in keys {
            if !self.asked.contains(key) {
                self.asked.push(key);
            }
        }
    }

    fn refuse_key(&self, key: &Spanned<DeString<'_>>) {
        let name = key.get_ref().as_ref();
        let subject = format!("{}{}{}", self.owner, self.prefix, self.report.shown(key.span()));
        let problem = match self.elsewhere.iter().find(|(other, _)| *other == name) {
            Some((_, why)) => why.clone(),
            None => match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("unknown key; the nearest known one is \"{known}\""),
                None => "unknown key".to_owned(),
            },
        };
        self.report.refuse(key.span().start, subject, problem, self.asked.join(", "));
    }

    /// Where mistakes of its values go.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// What this table says about itself, as a whole.
    pub(super) fn itself(&self) -> Found<()> {
        let subject = format!("{}{}", self.owner, self.prefix);
        let subject = subject.trim_end_matches([':', '.', ' ']).to_owned();
        Found { value: (), at: self.at, subject }
    }

    /// Does the table have one of these keys?
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.entries.contains_key(*key))
    }

    /// The value of `key`, if the table has it.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let entry = self.entries.get(key)?;
        Some(Value {
            report: self.report,
            toml: entry.get_ref(),
            span: entry.span(),
            owner: self.owner.clone(),
            key: format!("{}{key}", self.prefix),
        })
    }

    /// Reads `key`, if the table has it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Read<T>,
    ) -> Read<Option<Found<T>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        Ok(Some(value.found(read(&value)?)))
    }

    /// Reads `key`, which is `default` where the table does not have it.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Read<T>,
    ) -> Read<T> {
        self.value(key).map_or(Ok(default), |value| read(&value))
    }

    /// Reads `key`, which the table must have; `allowed` says what it holds.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Value<'a>) -> Read<T>,
    ) -> Read<Found<T>> {
        let Some(value) = self.value(key) else { return Err(self.missing(key, allowed)) };
        Ok(value.found(read(&value)?))
    }

    /// Reports a key that is not there.
    pub(super) fn missing(&self, key: &str, allowed: &str) -> Reported {
        let subject = format!("{}{}{key}", self.owner, self.prefix);
        self.report.refuse(self.at, subject, "missing", allowed)
    }
}

/// The candidate that looks most like `word`; the first of several.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, word)| word)
}
