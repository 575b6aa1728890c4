//! The rows as a table of text.

use std::fmt::Write as _;

use super::{Form, Machine, Place, Row, Target, number};

const COLUMNS: usize = 9;

/// The table, what it was measured on, and how many rows are reached.
pub(super) fn text(form: &Form, machine: &Machine, rows: &[Row]) -> String {
    let mut lines = vec![head(form)];
    lines.extend(rows.iter().map(|row| cells(form, row)));
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("\n{machine}\n\n");
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            // Names to the left, numbers to the right.
            if (1..=6).contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(text, "{}", line.trim_end()).expect("memory");
    }
    let decides = form.decides.name();
    writeln!(text, "\n{} The {decides} decides.\n{}", form.footnote, summary(form, rows))
        .expect("memory");
    text.trim_end().to_owned()
}

fn head(form: &Form) -> [String; COLUMNS] {
    let [least, middle, most] = form.shown.map(Place::name);
    ["", "ours", "theirs", least, middle, most, "target", "reached", "against"].map(str::to_owned)
}

/// The last line.
fn summary(form: &Form, rows: &[Row]) -> String {
    let targets: Vec<bool> = rows.iter().filter_map(|row| form.reached(row)).collect();
    let reached = targets.iter().filter(|reached| **reached).count();
    format!("{reached} of {} rows reached", targets.len())
}

fn cells(form: &Form, row: &Row) -> [String; COLUMNS] {
    let with = |value: f64, unit: &str| format!("{} {unit}", number(value)).trim_end().to_owned();
    let [ours, theirs] = row
        .sides
        .map_or([const { String::new() }; 2], |(sides, unit)| sides.map(|value| with(value, unit)));
    let [least, middle, most] = form.shown.map(|place| with(row.spread.at(place), row.unit));
    let target = match row.target {
        Some(Target::AtMost(most)) => format!("≤ {}", with(most, row.unit)),
        Some(Target::AtLeast(least)) => format!("≥ {}", with(least, row.unit)),
        None => String::new(),
    };
    let reached = match form.reached(row) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let against = [row.against, row.note.as_str()].into_iter().filter(|part| !part.is_empty());
    [
        row.name.clone(),
        ours,
        theirs,
        least,
        middle,
        most,
        target,
        reached.to_owned(),
        against.collect::<Vec<_>>().join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{FORM, row},
        *,
    };

    #[test]
    fn rows_without_a_target_do_not_count() {
        let row = |target| row(&[2.0, 2.0, 2.0], target);
        let rows = [
            row(None),
            row(Some(Target::AtMost(2.0))),
            row(Some(Target::AtMost(1.5))),
            row(Some(Target::AtLeast(1.5))),
        ];
        assert_eq!(summary(&FORM, &rows), "2 of 3 rows reached");
    }

    #[test]
    fn the_table_names_what_decides() {
        let machine = Machine {
            date: "2026-01-01".to_owned(),
            kernel: "6.18".to_owned(),
            processor: "one".to_owned(),
        };
        let text = text(&FORM, &machine, &[row(&[0.5, 0.5, 0.5], Some(Target::AtMost(0.7)))]);
        for part in ["0.50", "≤ 0.70  yes", "a footnote. The lower quartile decides.", "31.5 ns"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
