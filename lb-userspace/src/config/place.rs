//! Where a value stands in a file, for mistakes that only the machine can tell.

use std::{fs, path::Path};

use toml::de::{DeTable, DeValue};

use super::{Position, error::Lines};

/// The place of `key` in `[table]`, or in its array that of `item`; `None` where the file does not
/// say it: its default is meant then.
#[must_use]
pub fn place(file: &Path, table: &str, key: &str, item: Option<&str>) -> Option<Position> {
    let text = fs::read_to_string(file).ok()?;
    let document = DeTable::parse(&text).ok()?;
    let table = find(document.get_ref(), table)?;
    let DeValue::Table(table) = table.get_ref() else { return None };
    let value = find(table, key)?;
    let mut span = value.span();
    if let (Some(item), DeValue::Array(items)) = (item, value.get_ref()) {
        let found = items.iter().find(
            |candidate| matches!(candidate.get_ref(), DeValue::String(text) if *text == item),
        );
        span = found.map_or(span, toml::Spanned::span);
    }
    Some(Lines::of(text.as_bytes()).position(span.start))
}

fn find<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a toml::Spanned<DeValue<'i>>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_items_are_found() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("h.toml");
        fs::write(&file, "# x\n[agent]\ninterfaces = [\"a\",\n  \"b\"]\n").expect("written");
        let check = |key: &str, item: Option<&str>, want: Option<(usize, usize)>| {
            let found = place(&file, "agent", key, item).map(|place| (place.line, place.column));
            assert_eq!(found, want, "{key} {item:?}");
        };
        check("interfaces", None, Some((3, 14)));
        check("interfaces", Some("b"), Some((4, 3)));
        check("interfaces", Some("c"), Some((3, 14)));
        check("bpffs", None, None);
        assert_eq!(place(&file, "limits", "pins", None), None);
        assert_eq!(place(Path::new("/none"), "agent", "bpffs", None), None);
    }
}
