//! The rows as a table of text.

use std::fmt::Write as _;

use super::{Machine, number};
use crate::{rows::Row, stats::Target};

const HEAD: [&str; 9] =
    ["", "ours", "theirs", "minimum", "lower quartile", "median", "target", "reached", "against"];

/// The table, what it was measured on, and how many rows are reached.
pub(crate) fn text(machine: &Machine, rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text =
        format!("\n{}, Linux {}, {}\n\n", machine.date, machine.kernel, machine.processor);
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
    writeln!(
        text,
        "\nRatios of costs are net of the empty program; the lower quartile decides.\n{}",
        summary(rows)
    )
    .expect("memory");
    text.trim_end().to_owned()
}

/// The last line.
fn summary(rows: &[Row]) -> String {
    let targets: Vec<bool> = rows.iter().filter_map(Row::reached).collect();
    let reached = targets.iter().filter(|reached| **reached).count();
    format!("{reached} of {} rows reached", targets.len())
}

fn cells(row: &Row) -> [String; 9] {
    let with = |value: f64, unit: &str| format!("{} {unit}", number(value)).trim_end().to_owned();
    let [ours, theirs] = row
        .sides
        .map_or([const { String::new() }; 2], |(sides, unit)| sides.map(|value| with(value, unit)));
    let target = match row.target {
        Some(Target::AtMost(most)) => format!("≤ {}", with(most, row.unit)),
        Some(Target::AtLeast(least)) => format!("≥ {}", with(least, row.unit)),
        None => String::new(),
    };
    let reached = match row.reached() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let against = [row.against, row.note.as_str()].into_iter().filter(|part| !part.is_empty());
    [
        row.name.clone(),
        ours,
        theirs,
        with(row.spread.minimum, row.unit),
        with(row.spread.lower_quartile, row.unit),
        with(row.spread.median, row.unit),
        target,
        reached.to_owned(),
        against.collect::<Vec<_>>().join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Spread;

    #[test]
    fn rows_without_a_target_do_not_count() {
        let row = |target| Row {
            name: String::new(),
            against: "",
            unit: "",
            spread: Spread { minimum: 1.0, lower_quartile: 2.0, median: 3.0 },
            sides: None,
            target,
            note: String::new(),
        };
        let rows = [
            row(None),
            row(Some(Target::AtMost(2.0))),
            row(Some(Target::AtMost(1.5))),
            row(Some(Target::AtLeast(1.5))),
        ];
        assert_eq!(summary(&rows), "2 of 3 rows reached");
    }
}
