//! Sizes in bytes: how they are written.

use toml::de::DeValue;

use super::{error::Read, raw::Value, value::parsed};

/// Which sizes a key takes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// In bytes.
    pub(super) min: u64,
    /// In bytes.
    pub(super) max: u64,
    /// What 0 means, where it means something although it is below `min`.
    pub(super) zero: Option<&'static str>,
}

/// What can stand behind the digits, largest first, and the bits that it moves them by.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

const NO_SIZE: &str = "not a size such as \"32KiB\", with KiB, MiB, GiB or TiB";

impl Sizes {
    fn allow(&self, bytes: u64) -> bool {
        (bytes == 0 && self.zero.is_some()) || (self.min..=self.max).contains(&bytes)
    }

    fn allowed(&self) -> String {
        let range = format!("{} to {}", shown(self.min), shown(self.max));
        range + &self.zero.map_or(String::new(), |meaning| format!("; 0: {meaning}"))
    }
}

impl Value<'_> {
    /// A size: `"32KiB"`, or bytes as an integer.
    pub(super) fn size(&self, sizes: &Sizes) -> Read<u64> {
        let bytes = match self.toml {
            DeValue::Integer(bytes) => parsed(bytes),
            DeValue::String(text) => match written(text) {
                Some(bytes) => Some(bytes),
                None => return Err(self.refuse(NO_SIZE, sizes.allowed())),
            },
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                let expected = "a size such as \"32KiB\", or an integer of bytes";
                return Err(self.refuse_type(expected));
            }
        };
        bytes
            .and_then(|bytes| u64::try_from(bytes).ok())
            .filter(|&bytes| sizes.allow(bytes))
            .ok_or_else(|| self.refuse("out of range", sizes.allowed()))
    }
}

/// `"32KiB"`; a number that is too large for any range is the largest there is.
fn written(text: &str) -> Option<i128> {
    let (digits, bits) =
        UNITS.iter().find_map(|&(unit, bits)| Some((text.strip_suffix(unit)?, bits)))?;
    let digits = digits.strip_suffix(' ').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = digits.parse().unwrap_or(i128::MAX);
    Some(number.saturating_mul(1 << bits))
}

/// As a person writes it, which [`Value::size`] reads back.
fn shown(bytes: u64) -> String {
    let whole = |bits: u32| bytes > 0 && bytes.trailing_zeros() >= bits;
    match UNITS.iter().find(|(_, bits)| whole(*bits)) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}
