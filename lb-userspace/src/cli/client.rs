//! Verbs for a running agent.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use super::{
    ClientVerb, SessionsArgs, SessionsVerb, backend,
    exit::{VerbError, report},
    human::plural,
    sessions, status,
    table::printable,
};
use crate::api::{client::Client, wire::Reloaded};

/// Carries out a verb against the agent on `socket`; output and errors go to the process's own.
///
/// Makes a runtime of its own, so it is not to be called within one.
#[must_use]
pub fn run(socket: &Path, verb: &ClientVerb) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(perform(socket, verb, &mut out, &mut err)),
        Err(error) => report(Err(VerbError::Output(error)), &mut err),
    }
}

/// Carries out a verb; what is to be read goes to `out`, what went wrong to `err`.
pub async fn perform(
    socket: &Path,
    verb: &ClientVerb,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let done = carry_out(&Client::new(socket), verb, out).await;
    report(done.and_then(|()| out.flush().map_err(VerbError::Output)), err)
}

async fn carry_out(
    client: &Client,
    verb: &ClientVerb,
    out: &mut dyn Write,
) -> Result<(), VerbError> {
    match verb {
        ClientVerb::Status { json: true } => out.write_all(&client.status_json().await?)?,
        ClientVerb::Status { json: false } => {
            out.write_all(status::page(&client.status().await?).as_bytes())?;
        }
        ClientVerb::Sessions(SessionsArgs {
            verb: Some(SessionsVerb::Flush { filter, all }),
            ..
        }) => sessions::flush(client, filter, *all, out).await?,
        ClientVerb::Sessions(args) => sessions::list(client, args, out).await?,
        ClientVerb::Backend(verb) => {
            let (name, intent) = verb.wanted();
            let set = client.set_intent(name, intent).await?;
            out.write_all(backend::sentence(&set).as_bytes())?;
        }
        ClientVerb::Reload => write_reloaded(&client.reload().await?, out)?,
    }
    Ok(())
}

fn write_reloaded(reloaded: &Reloaded, out: &mut dyn Write) -> io::Result<()> {
    let Reloaded { config, changes } = reloaded;
    let config = printable(config);
    if changes.is_empty() {
        return writeln!(out, "{config} was read again; nothing is different.");
    }
    writeln!(out, "{config} is in force, {}:", plural(changes.len() as u64, "change"))?;
    changes.iter().try_for_each(|change| writeln!(out, "  {}", printable(change)))
}
