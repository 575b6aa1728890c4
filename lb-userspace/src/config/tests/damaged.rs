//! Damaged files: an answer, never a crash.

use super::{EXAMPLE, parsed};

/// An answer is a configuration or at least one mistake, each on one line within the file.
fn answered(text: &str) {
    let Err(errors) = parsed(text) else { return };
    let lines = text.lines().count() + 1;
    assert!(!errors.as_slice().is_empty(), "{text:?}");
    for error in errors.as_slice() {
        let position = error.position.expect("a text has positions");
        assert!((1..=lines).contains(&position.line) && position.column > 0, "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
}

/// The example without its comments, so that most of the damage hits something.
fn example() -> String {
    let lines = EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn every_prefix() {
    let example = example();
    for end in (0..=example.len()).filter(|&end| example.is_char_boundary(end)) {
        answered(&example[..end]);
    }
}

#[test]
fn every_byte_missing() {
    assert!(EXAMPLE.is_ascii(), "else bytes are not characters");
    let example = example();
    for at in 0..example.len() {
        answered(&[&example[..at], &example[at + 1..]].concat());
    }
}

#[test]
fn every_byte_replaced() {
    let example = example();
    for at in 0..example.len() {
        // Three of nine at each place: all of them take too long.
        for step in 0..3 {
            let byte =
                ["\"", "[", "0", "=", "\n", "\u{7f}", "\u{202e}", "{", "-"][(at + 3 * step) % 9];
            answered(&[&example[..at], byte, &example[at + 1..]].concat());
        }
    }
}

#[test]
fn every_line_missing_or_twice() {
    let example = example();
    let lines: Vec<&str> = example.lines().collect();
    for at in 0..lines.len() {
        let without = [&lines[..at], &lines[at + 1..]].concat().join("\n");
        answered(&without);
        let twice = [&lines[..=at], &lines[at..]].concat().join("\n");
        answered(&twice);
    }
}

#[test]
fn absurd_nesting() {
    for opening in ["[", "{a=", "a.", "[[a"] {
        answered(&format!("x = {}", opening.repeat(100_000)));
        answered(&opening.repeat(100_000));
    }
}
