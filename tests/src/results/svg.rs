//! The rows as a plot: ratios on a logarithmic scale, from the least to the most that is shown, a dot
//! at what decides, and what is to be reached.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use super::{Form, Machine, Place, Row, Target, number};

const WIDTH: f64 = 1040.0;
/// Where the scale begins and ends.
const LEFT: f64 = 410.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 70.0;
const LINE: f64 = 26.0;

/// Writes it.
pub(super) fn write(
    path: &Path,
    form: &Form,
    machine: &Machine,
    rows: &[Row],
) -> anyhow::Result<()> {
    fs::write(path, plot(form, machine, rows)).with_context(|| path.display().to_string())
}

fn plot(form: &Form, machine: &Machine, rows: &[Row]) -> String {
    let scale = Scale::of(form, rows);
    let bottom = TOP + LINE * f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    let height = bottom + 56.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut out, (16.0, 24.0), "font-size=\"16\"", form.title);
    text(&mut out, (16.0, 44.0), "fill=\"#555\"", &machine.to_string());
    for exponent in scale.low..=scale.high {
        let value = 10_f64.powi(exponent);
        let x = scale.place(value);
        let style = if exponent == 0 { "#888" } else { "#ddd" };
        line(&mut out, (x, TOP - 10.0), (x, bottom), style, 1.0);
        text(
            &mut out,
            (x, bottom + 18.0),
            "text-anchor=\"middle\" fill=\"#555\"",
            &format!("{value}"),
        );
    }
    let mut y = TOP + 4.0;
    for row in rows {
        draw(&mut out, form, &scale, row, y);
        y += LINE;
    }
    let [from, _, to] = form.shown.map(Place::name);
    let dot = form.decides.name();
    let legend = format!("line: {from} to {to}; dot: {dot}; bar: to be reached");
    text(&mut out, (16.0, bottom + 42.0), "fill=\"#555\" font-size=\"11\"", &legend);
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, form: &Form, scale: &Scale, row: &Row, y: f64) {
    let color = match form.reached(row) {
        Some(true) => "#1a7f37",
        Some(false) => "#cf222e",
        None => "#57606a",
    };
    text(out, (16.0, y + 4.0), "", &row.name);
    let said = format!("{} {}", number(row.spread.at(form.decides)), row.unit);
    let said = match row.target {
        Some(Target::AtMost(most)) => format!("{} ≤ {}", said.trim_end(), number(most)),
        Some(Target::AtLeast(least)) => format!("{} ≥ {}", said.trim_end(), number(least)),
        None => said,
    };
    text(out, (RIGHT + 16.0, y + 4.0), &format!("fill=\"{color}\""), said.trim_end());
    // Only ratios share the scale.
    if !row.unit.is_empty() {
        return;
    }
    let [from, _, to] = form.shown;
    let [from, dot, to] = [from, form.decides, to].map(|at| scale.place(row.spread.at(at)));
    line(out, (from, y), (to, y), color, 3.0);
    writeln!(out, "<circle cx=\"{dot:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"{color}\"/>")
        .expect("memory");
    if let Some(Target::AtMost(target) | Target::AtLeast(target)) = row.target {
        let x = scale.place(target);
        line(out, (x, y - 9.0), (x, y + 9.0), "#0969da", 3.0);
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), color: &str, width: f64) {
    writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\" \
         stroke-width=\"{width}\"/>",
        from.0, from.1, to.0, to.1
    )
    .expect("memory");
}

fn text(out: &mut String, at: (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" {style}>{words}</text>", at.0, at.1)
        .expect("memory");
}

/// Powers of ten, from the first to the last.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    /// One that all ratios and targets fit in.
    fn of(form: &Form, rows: &[Row]) -> Self {
        let mut scale = Self { low: -1, high: 1 };
        let [least, _, most] = form.shown;
        for row in rows.iter().filter(|row| row.unit.is_empty()) {
            while row.spread.at(least) < 10_f64.powi(scale.low) && scale.low > -6 {
                scale.low -= 1;
            }
            while row.spread.at(most) > 10_f64.powi(scale.high) && scale.high < 6 {
                scale.high += 1;
            }
        }
        scale
    }

    fn place(&self, value: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let share = (value.max(f64::MIN_POSITIVE).log10() - low) / (high - low);
        LEFT + (RIGHT - LEFT) * share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_the_scale() {
        let scale = Scale { low: -1, high: 1 };
        let check = |value: f64, want: f64| {
            assert!((scale.place(value) - want).abs() < 1e-9, "{value}: {}", scale.place(value));
        };
        check(0.1, LEFT);
        check(1.0, f64::midpoint(LEFT, RIGHT));
        check(10.0, RIGHT);
        // Off the scale: at its end.
        check(0.0, LEFT);
        check(1000.0, RIGHT);
    }
}
