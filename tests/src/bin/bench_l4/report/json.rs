//! The rows as JSON.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{rows::Row, stats::Target};

/// Writes an array of rows.
pub(crate) fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let rows: Vec<Value> = rows.iter().map(value).collect();
    let text = serde_json::to_string_pretty(&rows).context("rows as JSON")?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

/// Rounded: what is below a thousandth is noise.
fn value(row: &Row) -> Value {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let (bound, target) = match row.target {
        Some(Target::AtMost(most)) => (json!("at most"), json!(most)),
        Some(Target::AtLeast(least)) => (json!("at least"), json!(least)),
        None => (Value::Null, Value::Null),
    };
    let side = |index: usize| {
        row.sides
            .and_then(|(sides, _)| sides.get(index).copied())
            .map_or(Value::Null, |value| json!(rounded(value)))
    };
    json!({
        "name": row.name,
        "against": row.against,
        "unit": if row.unit.is_empty() { "ratio" } else { row.unit },
        "minimum": rounded(row.spread.minimum),
        "lower_quartile": rounded(row.spread.lower_quartile),
        "median": rounded(row.spread.median),
        "bound": bound,
        "target": target,
        "reached": row.reached(),
        "ours": side(0),
        "theirs": side(1),
        "sides_unit": row.sides.map(|(_, unit)| unit),
        "note": row.note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Spread;

    #[test]
    fn what_a_row_says() {
        let row = Row {
            name: "a row".to_owned(),
            against: "nothing",
            unit: "",
            spread: Spread { minimum: 0.1, lower_quartile: 0.35, median: 2.0 / 3.0 },
            sides: Some(([31.5, 90.0], "ns")),
            target: Some(Target::AtMost(0.35)),
            note: String::new(),
        };
        let got = value(&row);
        for (key, want) in [
            ("name", json!("a row")),
            ("minimum", json!(0.1)),
            ("lower_quartile", json!(0.35)),
            ("median", json!(0.667)),
            ("target", json!(0.35)),
            ("reached", json!(true)),
        ] {
            assert_eq!(got.get(key), Some(&want), "{key}");
        }
        let information = value(&Row { target: None, ..row });
        assert_eq!(information.get("reached"), Some(&Value::Null));
    }
}
