//! Server, client and command line together, on a socket of their own, against a writer that
//! answers from a table.

use std::path::{Path, PathBuf};

use clap::Parser;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    Command, CommandError, Filter, Prefix, Server, SessionsQuery, encode_cursor,
    wire::{self, Intent},
};
use crate::cli::{self, Cli, Verb};

mod requests;
mod verbs;

/// A served socket, with a writer behind it that holds a few pins.
struct Agent {
    directory: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Agent {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let server = Server::bind(&directory.path().join("admin.sock")).expect("bind");
        let (commands, requests) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(writer(requests));
        let task = tokio::spawn(async move {
            server
                .serve(commands, async {
                    stopped.await.ok();
                })
                .await;
        });
        Self { directory, stop, served: task }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Carries out a command line: exit status, output, errors.
    async fn run(&self, line: &str) -> (String, String, String) {
        run_on(&self.socket(), line).await
    }
}

async fn run_on(socket: &Path, line: &str) -> (String, String, String) {
    let words = std::iter::once("holdfast").chain(line.split_whitespace());
    let Verb::Client(verb) = Cli::try_parse_from(words).expect(line).verb else {
        panic!("{line} asks no agent");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::client::perform(socket, &verb, &mut out, &mut err).await;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (format!("{code:?}"), text(out), text(err))
}

fn code(code: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(code))
}

/// Pins of 25 clients, the odd ones on `web-1`, the even ones on `web-2`.
fn pins() -> Vec<wire::Session> {
    (1..=25_u8)
        .map(|host| wire::Session {
            client: Prefix::host([10, 0, 0, host].into()),
            scope: "web".to_owned(),
            listeners: vec!["web".to_owned()],
            backend: format!("web-{}", 2 - host % 2),
            age_s: 100 + u64::from(host),
            idle_s: 60,
            left_s: 1_740,
        })
        .collect()
}

fn matches(filter: &Filter, pin: &wire::Session) -> bool {
    filter.listener.as_ref().is_none_or(|name| pin.listeners.contains(name))
        && filter.backend.as_ref().is_none_or(|name| pin.backend == *name)
        && filter.client.is_none_or(|client| client.overlaps(&pin.client))
}

fn known(filter: &Filter) -> Result<(), CommandError> {
    match &filter.backend {
        Some(name) if !["web-1", "web-2"].contains(&name.as_str()) => {
            Err(CommandError::not_found("backend", name, ["web-1", "web-2"]))
        }
        _ => Ok(()),
    }
}

/// Looks at no more than seven pins a page, as a real scan looks at no more than a batch.
fn page(pins: &[wire::Session], query: &SessionsQuery) -> Result<wire::SessionsPage, CommandError> {
    known(&query.filter)?;
    let start = query.position.first().copied().map_or(0, usize::from);
    let end = pins.len().min(start + query.limit.min(7));
    let sessions = pins[start..end].iter().filter(|pin| matches(&query.filter, pin));
    let next = u8::try_from(end).ok().filter(|_| end < pins.len());
    Ok(wire::SessionsPage {
        sessions: sessions.cloned().collect(),
        next: next.map(|position| encode_cursor(&[position])),
        held: Some(pins.len() as u64),
        counted_ms_ago: Some(3_400),
    })
}

fn backend(intent: Intent) -> wire::Backend {
    let mut backend = cli::sample_status().backends.swap_remove(0);
    backend.intent = intent;
    backend.state = match intent {
        Intent::Ready => wire::BackendState::Ready,
        Intent::Drain => wire::BackendState::Draining,
        Intent::Evacuate => wire::BackendState::Evacuating,
        Intent::Down => wire::BackendState::Down,
    };
    backend
}

/// One that seals, and one that will after a time.
fn keys(after_s: u64) -> wire::Keys {
    let key = |id, seals_in_s: Option<u64>| wire::Key {
        id,
        seals_from: "2026-01-02T03:04:05Z".to_owned(),
        seals_in_s,
        seals: seals_in_s.is_none(),
    };
    wire::Keys { file: "keys.json".to_owned(), keys: vec![key(1, None), key(2, Some(after_s))] }
}

async fn writer(mut requests: mpsc::Receiver<Command>) {
    let mut pins = pins();
    let mut intent = Intent::Ready;
    let mut reloads = 0;
    while let Some(command) = requests.recv().await {
        match command {
            Command::Status(reply) => reply.send(Ok(cli::sample_status())).ok(),
            Command::Sessions { query, reply } => reply.send(page(&pins, &query)).ok(),
            Command::Flush { filter, reply } => {
                let before = pins.len();
                let done = known(&filter).map(|()| {
                    pins.retain(|pin| !matches(&filter, pin));
                    wire::Flushed { removed: (before - pins.len()) as u64 }
                });
                reply.send(done).ok()
            }
            Command::SetIntent { backend: name, intent: wanted, reply } if name == "web-1" => {
                let previous = std::mem::replace(&mut intent, wanted);
                reply
                    .send(Ok(wire::IntentSet {
                        previous,
                        backend: backend(wanted),
                        http: None,
                        counted_ms_ago: Some(1_400),
                    }))
                    .ok()
            }
            Command::SetIntent { backend, reply, .. } => {
                reply.send(Err(CommandError::not_found("backend", &backend, ["web-1"]))).ok()
            }
            Command::Keys(reply) => reply.send(Ok(keys(0))).ok(),
            Command::RotateKeys { after_s, reply } => {
                let keys = keys(after_s);
                let key = keys.keys[1].clone();
                reply.send(Ok(wire::Rotated { key, dropped: 0, keys })).ok()
            }
            Command::ExplainCookie { value, reply } => {
                let name = Some(value);
                let error = Some("it is no seal".to_owned());
                let cookie = wire::ExplainedCookie {
                    name,
                    rewritten: false,
                    key: None,
                    error,
                    session: None,
                };
                reply.send(Ok(wire::Explained { cookies: vec![cookie], others: 0 })).ok()
            }
            Command::ReplaceSidecar(reply) => {
                reply.send(Ok(wire::Replaced { pid: Some(4711), drain_s: 30 })).ok()
            }
            Command::Reload(reply) => {
                reloads += 1;
                let reloaded = |changes: &[&str]| wire::Reloaded {
                    config: "holdfast.toml".to_owned(),
                    changes: changes.iter().map(|&change| change.to_owned()).collect(),
                };
                let errors = || vec!["holdfast.toml:3: a\n  | ^".to_owned(), "b".to_owned()];
                reply
                    .send(match reloads {
                        1 => Ok(reloaded(&["listener web: timeout 30 min, was 5 min"])),
                        2 => Ok(reloaded(&[])),
                        3 => Err(CommandError::Refused(errors())),
                        _ => Err(CommandError::Internal("write VIPS: no space".to_owned())),
                    })
                    .ok()
            }
        };
    }
}
