//! Verbs for a running agent.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use super::{
    ClientVerb, CookieVerb, KeysVerb, SessionsArgs, SessionsVerb, SidecarVerb, backend, cookie,
    exit::{VerbError, report},
    human::plural,
    keys, sessions, sidecar, status,
    table::printable,
};
use crate::api::{
    client::Client,
    wire::{Reloaded, RotateRequest},
};

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
        ClientVerb::Keys(KeysVerb::List { json: true }) => {
            out.write_all(&client.keys_json().await?)?;
        }
        ClientVerb::Keys(KeysVerb::List { json: false }) => {
            out.write_all(keys::list(&client.keys().await?).as_bytes())?;
        }
        ClientVerb::Keys(KeysVerb::Rotate(args)) => {
            let request = RotateRequest { after_s: args.after.as_secs() };
            out.write_all(keys::rotated(&client.rotate_keys(&request).await?).as_bytes())?;
        }
        ClientVerb::Cookie(CookieVerb::Explain(args)) => {
            let text = args.text().map_err(VerbError::Input)?;
            if args.json {
                out.write_all(&client.explain_cookie_json(&text).await?)?;
            } else {
                out.write_all(cookie::page(&client.explain_cookie(&text).await?).as_bytes())?;
            }
        }
        ClientVerb::Sidecar(SidecarVerb::Replace) => {
            out.write_all(sidecar::replaced(&client.replace_sidecar().await?).as_bytes())?;
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
