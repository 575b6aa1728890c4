//! What the demo prints: headings, claims, tables. Colours only on a terminal.

use std::{
    collections::BTreeMap,
    env,
    io::{IsTerminal as _, stdout},
    net::IpAddr,
};

use tests::clients::Answers;

const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";

fn paint(code: &str, text: &str) -> String {
    if stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A heading.
pub(crate) fn heading(number: u32, text: &str) {
    println!("\n{}\n", paint(BOLD, &format!("{number}. {text}")));
}

/// A paragraph or a line.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Something that is quoted: a file, a command's output.
pub(crate) fn quote(text: &str) {
    for line in text.lines() {
        println!("    {}", paint(DIM, line));
    }
}

/// A command that is run.
pub(crate) fn command(line: &str) {
    println!("  {} {}", paint(DIM, "$"), paint(BOLD, line));
}

/// Whether a claim held.
pub(crate) fn claim(text: &str, held: bool) {
    let mark = if held { paint(GREEN, "yes") } else { paint(RED, "NO ") };
    println!("  {mark}  {text}");
}

/// Clients, their backends and how many requests each answered, two clients a line; who was on
/// another backend before is marked.
pub(crate) fn table(answers: &[(IpAddr, Answers)], before: &BTreeMap<IpAddr, String>) {
    let cell = |(client, answers): &(IpAddr, Answers)| {
        let names: Vec<&str> =
            answers.keys().map(|name| if name.is_empty() { "no answer" } else { name }).collect();
        let counts: Vec<String> = answers.values().map(ToString::to_string).collect();
        let now = names.join(", ");
        let moved = before.get(client).is_some_and(|before| *before != now);
        let note = if moved { format!("was {}", before[client]) } else { String::new() };
        let text = format!("{client:<16} {now:<9} {:>5}  {note:<9}", counts.join("+"));
        if moved { paint(YELLOW, &text) } else { text }
    };
    let head = format!("{:<16} {:<9} {:>5}  {:<9}", "CLIENT", "BACKEND", "COUNT", "");
    println!("    {}", paint(BOLD, format!("{head}   {head}").trim_end()));
    let half = answers.len().div_ceil(2);
    let (left, right) = answers.split_at(half);
    for (row, one) in left.iter().enumerate() {
        let other = right.get(row).map(cell).unwrap_or_default();
        println!("    {}   {other}", cell(one));
    }
    let mut sums = BTreeMap::<&str, (u32, u32)>::new();
    for (_, answers) in answers {
        for (name, count) in answers {
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + 1, sum.1 + count);
        }
    }
    let sums: Vec<String> = sums
        .iter()
        .map(|(name, (clients, requests))| {
            let name = if name.is_empty() { "no answer" } else { name };
            format!("{name}: {clients} clients, {requests} requests")
        })
        .collect();
    println!("    {}\n", paint(DIM, &sums.join("; ")));
}
