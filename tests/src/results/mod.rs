//! Results of benchmarks: what is made of measured values, and how people and programs read it.
//!
//! It measures nothing.

mod json;
mod machine;
mod stats;
mod svg;
mod table;

use std::path::PathBuf;

use anyhow::bail;

pub use machine::Machine;
pub use stats::{Place, Spread, Target};

/// Which rows, and where they go: options of a benchmark's.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the plot there
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

impl Options {
    /// What a row's name has to contain.
    #[must_use]
    pub fn only(&self) -> &str {
        self.only.as_deref().unwrap_or_default()
    }
}

/// A result.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// What it is compared with.
    pub against: &'static str,
    /// Of the spread: empty for a ratio.
    pub unit: &'static str,
    /// Where the values of all rounds lie.
    pub spread: Spread,
    /// Typical values of both sides, and their unit.
    pub sides: Option<([f64; 2], &'static str)>,
    /// What is to be reached, if anything is.
    pub target: Option<Target>,
    /// What must be known to read it.
    pub note: String,
}

/// What the rows of one benchmark have in common.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Of the plot.
    pub title: &'static str,
    /// Below the table.
    pub footnote: &'static str,
    /// What is shown of a spread, from low to high.
    pub shown: [Place; 3],
    /// By which of these a row is reached or not.
    pub decides: Place,
}

impl Form {
    /// Is the row's target reached? `None`: it has none.
    #[must_use]
    pub fn reached(&self, row: &Row) -> Option<bool> {
        row.target.map(|target| target.reached(row.spread.at(self.decides)))
    }

    /// Writes the rows to the files that are named, and returns them as a table of text.
    pub fn tell(&self, rows: &[Row], options: &Options) -> anyhow::Result<String> {
        if rows.is_empty() {
            bail!("no row has a name with `{}` in it", options.only());
        }
        let machine = Machine::this();
        if let Some(path) = &options.json {
            json::write(path, self, rows)?;
        }
        if let Some(path) = &options.svg {
            svg::write(path, self, &machine, rows)?;
        }
        Ok(table::text(self, &machine, rows))
    }
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the benchmark of layer 4 has it.
    pub(super) const FORM: Form = Form {
        title: "a title",
        footnote: "a footnote.",
        shown: [Place::Minimum, Place::LowerQuartile, Place::Median],
        decides: Place::LowerQuartile,
    };

    pub(super) fn row(values: &[f64], target: Option<Target>) -> Row {
        Row {
            name: "a row".to_owned(),
            against: "nothing",
            unit: "",
            spread: Spread::of(values).expect("values"),
            sides: Some(([31.5, 90.0], "ns")),
            target,
            note: String::new(),
        }
    }

    #[test]
    fn numbers() {
        assert_eq!([0.345, 9.5, 41.26, 338.4].map(number), ["0.34", "9.50", "41.3", "338"]);
    }

    #[test]
    fn what_decides() {
        let row = row(&[1.0, 2.0, 3.0], Some(Target::AtMost(1.6)));
        assert_eq!(FORM.reached(&row), Some(true), "the lower quartile is 1.5");
        assert_eq!(Form { decides: Place::Median, ..FORM }.reached(&row), Some(false));
        assert_eq!(FORM.reached(&Row { target: None, ..row }), None);
    }
}
