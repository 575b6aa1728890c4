//! Where a value stands in a file, for mistakes that only the machine can tell.

use std::{fmt::Display, fs, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Position, error::Lines};

/// A step towards a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To a table's key.
    Key(&'static str),
    /// To an array's item, from 0; a `[[table]]` is one.
    Item(usize),
}

/// `text` with the place in front that the steps lead to: `file:line:column: text`. For a value that
/// the file does not say, because its default is meant, it is the place of the table that it would
/// stand in, or `file: text` where that is not there either.
#[must_use]
pub fn placed(file: &Path, steps: &[Step], text: &impl Display) -> String {
    let file_name = file.display();
    match place(file, steps) {
        Some(Position { line, column }) => format!("{file_name}:{line}:{column}: {text}"),
        None => format!("{file_name}: {text}"),
    }
}

fn place(file: &Path, steps: &[Step]) -> Option<Position> {
    let text = fs::read_to_string(file).ok()?;
    let document = DeTable::parse(&text).ok()?;
    let (first, rest) = steps.split_first()?;
    let Step::Key(first) = *first else { return None };
    let mut found = key(document.get_ref(), first)?;
    for step in rest {
        let next = match (step, found.get_ref()) {
            (Step::Key(name), DeValue::Table(table)) => key(table, name),
            (Step::Item(index), DeValue::Array(items)) => items.get(*index),
            _ => None,
        };
        match next {
            Some(next) => found = next,
            None => break,
        }
    }
    Some(Lines::of(text.as_bytes()).position(found.span().start))
}

fn key<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::{
        Step::{Item, Key},
        *,
    };

    #[test]
    fn values_and_items_are_found() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("h.toml");
        let text = "# x\n[agent]\ninterfaces = [\"a\",\n  \"b\"]\n[[pool]]\nname = \"p\"\n\
                    backend = [{ name = \"x\" }, { name = \"y\" }]\n[[pool]]\nname = \"q\"\n  \
                    [[pool.backend]]\n  name = \"z\"\n";
        fs::write(&file, text).expect("written");
        let check = |steps: &[Step], want: &str| {
            let file_name = file.display();
            assert_eq!(placed(&file, steps, &"text"), format!("{file_name}:{want} text"));
        };
        let interfaces = Key("interfaces");
        check(&[Key("agent"), interfaces], "3:14:");
        check(&[Key("agent"), interfaces, Item(0)], "3:15:");
        check(&[Key("agent"), interfaces, Item(1)], "4:3:");
        let name =
            |pool, backend| [Key("pool"), Item(pool), Key("backend"), Item(backend), Key("name")];
        check(&name(0, 1), "7:37:");
        check(&name(1, 0), "11:10:");
        // The nearest thing around it that there is.
        check(&[Key("agent"), interfaces, Item(2)], "3:14:");
        check(&[Key("agent"), Key("bpffs")], "2:1:");
        check(&[Key("pool"), Item(1), Key("forward")], "8:1:");
        check(&[Key("limits"), Key("pins")], "");
        let none = Path::new("/none.toml");
        assert_eq!(placed(none, &[Key("agent")], &"text"), "/none.toml: text");
    }
}
