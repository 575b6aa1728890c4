//! `sessions` and `sessions flush`: pins, page by page.

use std::io::{self, Write};

use super::{
    FilterArgs, SessionsArgs,
    exit::VerbError,
    human::{duration, exact, plural},
    table::{
        Column::{self, Left, Right},
        render_part,
    },
};
use crate::api::{
    Filter, PAGE_MAX,
    client::Client,
    wire::{FlushRequest, Session, SessionsPage},
};

const COLUMNS: [Column; 6] =
    [Left("CLIENT"), Left("LISTENER"), Left("BACKEND"), Right("AGE"), Right("IDLE"), Right("LEFT")];

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            listener: self.listener.clone(),
            backend: self.backend.clone(),
            client: self.client,
        }
    }
}

/// Prints sessions as they come, so that a million of them take no memory here.
pub(super) async fn list(
    client: &Client,
    args: &SessionsArgs,
    out: &mut dyn Write,
) -> Result<(), VerbError> {
    let filter = args.filter.filter();
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut cursor: Option<String> = None;
    let mut printer = if args.json { Printer::json() } else { Printer::table() };
    loop {
        let limit = usize::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = client.sessions(&filter, limit, cursor.as_deref()).await?;
        printer.page(&page, out)?;
        left = left.saturating_sub(page.sessions.len() as u64);
        if page.next.is_none() || left == 0 {
            printer.end(&page, out)?;
            return Ok(());
        }
        cursor = page.next;
    }
}

/// Removes sessions and prints how many.
pub(super) async fn flush(
    client: &Client,
    filter: &FilterArgs,
    all: bool,
    out: &mut dyn Write,
) -> Result<(), VerbError> {
    let FilterArgs { listener, backend, client: prefix } = filter.clone();
    let flushed = client.flush(&FlushRequest { listener, backend, client: prefix, all }).await?;
    writeln!(out, "{} forgotten.", plural(flushed.removed, "session"))?;
    Ok(())
}

/// Prints pages as one table, or as one JSON document.
enum Printer {
    Table { widths: Vec<u16>, printed: u64 },
    Json { printed: u64 },
}

impl Printer {
    const fn table() -> Self {
        Self::Table { widths: Vec::new(), printed: 0 }
    }

    const fn json() -> Self {
        Self::Json { printed: 0 }
    }

    fn page(&mut self, page: &SessionsPage, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Table { widths, printed } => {
                let rows: Vec<Vec<String>> = page.sessions.iter().map(row).collect();
                if !rows.is_empty() {
                    let part = render_part(&COLUMNS, &rows, *printed == 0, widths);
                    out.write_all(part.as_bytes())?;
                }
                *printed += rows.len() as u64;
            }
            Self::Json { printed } => {
                for session in &page.sessions {
                    out.write_all(if *printed == 0 { b"{\"sessions\": [\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut *out, session)?;
                    *printed += 1;
                }
            }
        }
        // Who reads along should see a page when it is there.
        out.flush()
    }

    /// `last` is the last page that was printed.
    fn end(&self, last: &SessionsPage, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Table { printed: 0, .. } => writeln!(out, "No sessions."),
            Self::Table { printed, .. } if last.next.is_some() => {
                let first = exact(*printed);
                let counted = counted(last, *printed);
                writeln!(
                    out,
                    "The first {first}; there may be more{counted}. --all shows every one, --limit \
                     more."
                )
            }
            Self::Table { .. } => Ok(()),
            Self::Json { printed } => {
                if *printed == 0 {
                    out.write_all(b"{\"sessions\": [")?;
                }
                out.write_all(b"\n], \"next\": ")?;
                serde_json::to_writer(&mut *out, &last.next)?;
                out.write_all(b", \"held\": ")?;
                serde_json::to_writer(&mut *out, &last.held)?;
                out.write_all(b", \"counted_ms_ago\": ")?;
                serde_json::to_writer(&mut *out, &last.counted_ms_ago)?;
                out.write_all(b"}\n")
            }
        }?;
        out.flush()
    }
}

/// How many there were when somebody last counted, if that says more than what was printed.
fn counted(last: &SessionsPage, printed: u64) -> String {
    match (last.held, last.counted_ms_ago) {
        (Some(held), Some(ago)) if held > printed => {
            let ago = duration(ago / 1_000);
            format!(": {} pins were held when counted {ago} ago", exact(held))
        }
        _ => String::new(),
    }
}

fn row(session: &Session) -> Vec<String> {
    let listeners = if session.listeners == [session.scope.as_str()] {
        session.scope.clone()
    } else {
        format!("{} ({})", session.scope, session.listeners.join(", "))
    };
    vec![
        session.client.to_string(),
        listeners,
        session.backend.clone(),
        duration(session.age_s),
        duration(session.idle_s),
        duration(session.left_s),
    ]
}
