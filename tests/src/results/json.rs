//! The rows as JSON.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Form, Row, Target};

/// Writes an array of rows.
pub(super) fn write(path: &Path, form: &Form, rows: &[Row]) -> anyhow::Result<()> {
    let rows: Vec<Value> = rows.iter().map(|row| value(form, row)).collect();
    let text = serde_json::to_string_pretty(&rows).context("rows as JSON")?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

/// Rounded: what is below a thousandth is noise.
fn value(form: &Form, row: &Row) -> Value {
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
        "upper_quartile": rounded(row.spread.upper_quartile),
        "bound": bound,
        "target": target,
        "reached": form.reached(row),
        "ours": side(0),
        "theirs": side(1),
        "sides_unit": row.sides.map(|(_, unit)| unit),
        "note": row.note,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{FORM, row},
        *,
    };

    #[test]
    fn what_a_row_says() {
        let row = row(&[0.1, 0.6, 2.0 / 3.0, 1.0, 9.0], Some(Target::AtMost(0.6)));
        let got = value(&FORM, &row);
        for (key, want) in [
            ("name", json!("a row")),
            ("minimum", json!(0.1)),
            ("lower_quartile", json!(0.6)),
            ("median", json!(0.667)),
            ("upper_quartile", json!(1.0)),
            ("target", json!(0.6)),
            ("reached", json!(true)),
        ] {
            assert_eq!(got.get(key), Some(&want), "{key}");
        }
        let information = value(&FORM, &Row { target: None, ..row });
        assert_eq!(information.get("reached"), Some(&Value::Null));
    }
}
