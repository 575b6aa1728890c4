//! Single values: each reader says what it expected, what it found and what is allowed.
//!
//! Owns types, ranges and spellings. Never looks at a second value.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::{DeInteger, DeValue};

use super::{error::Read, raw::Value};

/// What a name may be made of; allowed-text of names and groups.
pub(super) const NAME: &str = "1 to 63 characters of A-Z a-z 0-9 . _ -";

/// Which times a key takes.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) min: Duration,
    pub(super) max: Duration,
    /// Refuse parts of a second.
    pub(super) whole_seconds: bool,
    /// What 0 means, where it means something although it is below `min`.
    pub(super) zero: Option<&'static str>,
}

impl Times {
    /// From `min` to `max`, both allowed, in any resolution.
    pub(super) const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max, whole_seconds: false, zero: None }
    }

    fn allow(&self, time: Duration) -> bool {
        (time.is_zero() && self.zero.is_some())
            || ((self.min..=self.max).contains(&time)
                && !(self.whole_seconds && time.subsec_nanos() != 0))
    }

    /// The allowed-text.
    pub(super) fn allowed(&self) -> String {
        let range = format!("{} to {}", shown_time(self.min), shown_time(self.max));
        let whole = if self.whole_seconds {
            format!(" ({} seconds), in whole seconds", self.max.as_secs())
        } else {
            String::new()
        };
        let zero = self.zero.map_or(String::new(), |meaning| format!("; 0: {meaning}"));
        range + &whole + &zero
    }
}

/// As a person writes it, which [`Value::time`] reads back.
fn shown_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

impl<'a> Value<'a> {
    /// A string; `expected` names its kind.
    pub(super) fn text(&self, expected: &str) -> Read<&'a str> {
        match self.toml {
            DeValue::String(text) => Ok(text),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => Err(self.refuse_type(expected)),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Read<bool> {
        self.toml.as_bool().ok_or_else(|| self.refuse_type("true or false"))
    }

    /// An integer in `range`.
    pub(super) fn number<T>(&self, range: RangeInclusive<T>) -> Read<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let (min, max) = (range.start(), range.end());
        let DeValue::Integer(integer) = self.toml else {
            return Err(self.refuse_type(&format!("an integer from {min} to {max}")));
        };
        parsed(integer)
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.refuse("out of range", format!("{min} to {max}")))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Read<T> {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let text = self.text(&format!("one of {}", quoted.join(", ")))?;
        if let Some(&(_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(meaning);
        }
        Err(self.refuse("unknown", quoted.join(", ")))
    }

    /// A time: `"1h30m"`, or whole seconds as an integer.
    pub(super) fn time(&self, times: &Times) -> Read<Duration> {
        let expected = "a time such as \"30m\", or an integer of seconds";
        let time = match self.toml {
            // Above u64's seconds is above every range.
            DeValue::Integer(seconds) => parsed(seconds)
                .filter(|&seconds| seconds >= 0)
                .map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))),
            DeValue::String(text) => match humantime::parse_duration(text) {
                Ok(time) => Some(time),
                Err(humantime::DurationError::NumberOverflow) => None,
                Err(error) => {
                    let problem = format!("not a time: {error}");
                    return Err(self.refuse(problem, times.allowed()));
                }
            },
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return Err(self.refuse_type(expected)),
        };
        match time {
            Some(time) if times.allow(time) => Ok(time),
            Some(time) if (times.min..=times.max).contains(&time) => {
                Err(self.refuse("not in whole seconds", times.allowed()))
            }
            Some(_) | None => Err(self.refuse("out of range", times.allowed())),
        }
    }

    /// A name of a pool, backend, listener or group.
    pub(super) fn name(&self) -> Read<String> {
        let name = self.text("a name")?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=63).contains(&name.len()) && name.bytes().all(known) {
            return Ok(name.to_owned());
        }
        Err(self.refuse("not a name", NAME))
    }

    /// An absolute path that ends in a name and goes nowhere up, of at most `longest` bytes.
    pub(super) fn path(&self, longest: usize) -> Read<PathBuf> {
        let text = self.text("a path")?;
        let path = PathBuf::from(text);
        let goes_up = path.components().any(|part| part == std::path::Component::ParentDir);
        let problem = if !path.is_absolute() {
            "not an absolute path"
        } else if goes_up || path.file_name().is_none() || text.contains('\0') {
            "not a plain path"
        } else if text.len() > longest {
            "too long"
        } else {
            return Ok(path);
        };
        Err(self.refuse(
            problem,
            format!("a path that starts with /, not / alone, without .., at most {longest} bytes"),
        ))
    }
}

/// The number, unless it is beyond `i128` and so beyond every range.
pub(super) fn parsed(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}
