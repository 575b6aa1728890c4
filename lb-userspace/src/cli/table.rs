//! Tables for a terminal: no lines, columns apart by two spaces, nothing at a line's end.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, Width};

/// A column's heading and side.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Text.
    Left(&'static str),
    /// A number.
    Right(&'static str),
}

/// Rows under headings, ending in a newline.
pub(super) fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    render_part(columns, rows, true, &mut Vec::new())
}

/// The same for a table in parts: `widths` carries the columns' widths from part to part, so
/// that later parts line up with the first unless their content is wider. Headings on demand.
pub(super) fn render_part(
    columns: &[Column],
    rows: &[Vec<String>],
    headings: bool,
    widths: &mut Vec<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if headings {
        table.set_header(columns.iter().map(|column| column.cell(column.heading())));
    }
    for row in rows {
        table.add_row(columns.iter().zip(row).map(|(column, text)| column.cell(&printable(text))));
    }
    if table.row_count() == 0 && !headings {
        return String::new();
    }
    let content = table.column_max_content_widths();
    widths.resize(columns.len(), 0);
    for ((width, content), column) in widths.iter_mut().zip(content).zip(table.column_iter_mut()) {
        *width = content.max(*width);
        column.set_padding((0, 2));
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width + 2)));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// `text` without what a terminal would act on. It comes from the agent, and there from
/// backends' answers.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Column {
    const fn heading(&self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }

    fn cell(&self, text: &str) -> Cell {
        Cell::new(text).set_alignment(match self {
            Self::Left(_) => CellAlignment::Left,
            Self::Right(_) => CellAlignment::Right,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::Left("NAME"), Column::Right("N"), Column::Left("WHY")];

    fn row(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(["a", "1", ""]), row(["long-name", "1,000", "x y"])];
        assert_eq!(
            render(&COLUMNS, &rows),
            "NAME           N  WHY\n\
             a              1\n\
             long-name  1,000  x y\n"
        );
    }

    #[test]
    fn later_parts_line_up_with_the_first() {
        let mut widths = Vec::new();
        let first = render_part(&COLUMNS, &[row(["long-name", "1,000", "x"])], true, &mut widths);
        let second = render_part(&COLUMNS, &[row(["a", "1", "y"])], false, &mut widths);
        assert_eq!(first, "NAME           N  WHY\nlong-name  1,000  x\n");
        assert_eq!(second, "a              1  y\n");
        assert_eq!(render_part(&COLUMNS, &[], false, &mut widths), "");
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
