//! The command line: what can be said, and what is printed.
//!
//! Owns the verbs' shape and all output for people. `run`, `check` and `detach` are carried out
//! by the agent's own modules; the other verbs ask a running agent through `api::client`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

mod backend;
pub mod check;
pub mod client;
mod cookie;
pub mod decap;
mod exit;
mod human;
mod keys;
mod persistence;
mod pool;
#[cfg(test)]
mod samples;
mod sessions;
mod sidecar;
mod status;
mod table;

pub use cookie::{CookieVerb, ExplainArgs};
pub use exit::{FAILED, OK, WRONG};
pub use keys::{KeysVerb, RotateArgs};
#[cfg(test)]
pub(crate) use samples::sample_status;
pub use sidecar::{ServeHttpArgs, SidecarVerb};

use crate::api::DEFAULT_SOCKET;

/// `holdfast ...`.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about = "A load balancer that holds sessions fast: clients pinned to backends in XDP",
    after_help = "\
Examples:
  holdfast check --config holdfast.toml         is the file in order, what would be done
  sudo holdfast run --config holdfast.toml      balance, in the foreground
  sudo holdfast status                          listeners, backends, drops
  sudo holdfast sessions --client 192.0.2.7     where is this client pinned
  sudo holdfast sessions flush --backend web-1  let its clients be pinned anew
  sudo holdfast backend drain web-1             no new clients for web-1
  sudo holdfast backend ready web-1             back in service
  sudo holdfast cookie explain SERVERID=holdAQ  whose session is it, and for how long
  sudo holdfast keys rotate                     another key for cookies
  sudo holdfast reload                          read the configuration again
  sudo holdfast detach --config holdfast.toml   take everything off again

Traffic goes on when the agent stops; `run` takes over what is there, `detach` ends it.

Exit status: 0 done; 1 failed; 2 wrong configuration or usage."
)]
pub struct Cli {
    /// The running agent's admin socket
    #[arg(
        long,
        global = true,
        display_order = 1000,
        value_name = "PATH",
        env = "HOLDFAST_SOCKET",
        hide_env_values = true,
        default_value = DEFAULT_SOCKET
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What `holdfast` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the agent in the foreground
    #[command(
        long_about = "\
Run the agent in the foreground, for systemd or a terminal.

Loads the program onto the interfaces, or takes over the one that is there
without losing a packet; then follows backends' health, neighbours and the
operator until SIGINT or SIGTERM. Traffic goes on after that: `detach` ends it.
SIGHUP reloads the configuration.",
        after_help = "Example:\n  sudo holdfast run --config /etc/holdfast.toml"
    )]
    Run(ConfigFile),
    /// Check a configuration and print what would be done
    #[command(
        long_about = "\
Check a configuration and print what would be done: listeners, pools, backends,
and what the limits cost in memory. Changes nothing. A wrong file is answered
with file, line, what is wrong and what is allowed, and exit status 2.

Without root it looks at all but what only root may see of this machine, and
says in a line what that was; exit status 0 then means that nothing is wrong
with the rest. `run` looks at everything before it changes anything.",
        after_help = "Example:\n  holdfast check --config holdfast.toml"
    )]
    Check(CheckArgs),
    /// The agent's own: serve layer 7 for it
    #[command(hide = true)]
    ServeHttp(ServeHttpArgs),
    /// A verb for a running agent.
    #[command(flatten)]
    Client(ClientVerb),
    /// Take the program and the listeners' addresses off the interfaces and end all sessions
    #[command(
        long_about = "\
Take the program and the listeners' addresses off the interfaces and remove all
that the kernel holds, also for another version of Holdfast: every session is
forgotten, connections through the balancer break. The state directory stays, so
`run` begins again with the same seed, and backends that were drained or taken
down stay so. Refused while an agent runs.",
        after_help = "Example:\n  sudo holdfast detach --config /etc/holdfast.toml"
    )]
    Detach(ConfigFile),
    /// On a backend: take packets out of tunnels
    #[command(
        long_about = "\
On a backend of a pool with `forward = \"tunnel\"`: take packets out of tunnels.

Puts an XDP program on the interface, which stays there without this command
until it is taken off or the machine is restarted. It takes packets to the
addresses named by --vip out of IPIP and GUE (variant 1), passes all others on
as they are, and counts both. Called again, it puts new rules in the place of
the old ones; no packet meets none. The machine needs the addresses of --vip,
on its loopback and not answered in ARP.",
        after_help = "\
Examples:
  sudo holdfast decap --interface eth0 --address 10.1.0.11 --vip 203.0.113.11
  sudo holdfast decap --interface eth0 --address 10.1.0.11 --vip 203.0.113.11 --from 10.255.0.0/16
  sudo holdfast decap --interface eth0 --show
  sudo holdfast decap --interface eth0 --off"
    )]
    Decap(decap::DecapArgs),
}

/// `--config FILE`.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `check`'s arguments.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Verbs that ask a running agent.
#[derive(Debug, Subcommand)]
pub enum ClientVerb {
    /// Show listeners, backends, tables and drops
    #[command(after_help = "\
Examples:
  sudo holdfast status
  sudo holdfast status --json | jq '.backends[] | {name, state, pins}'

STATE is what becomes of new clients and pins, by the operator's intent, health and the way to the
backend together. A backend that no packet can reach is down; where no other of its pool serves, its
clients keep their pins, and PINS and FLOWS count on.
Counters begin when a listener or backend was first configured, and outlive the agent.
Those of http and https listeners begin when the agent does. Their SESSIONS were seen within their
idle time; ~ since they are counted without a list, give or take 7 %.")]
    Status {
        /// Print the admin API's JSON
        #[arg(long)]
        json: bool,
    },
    /// List or flush sessions: which client is pinned to which backend
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Examples:
  sudo holdfast sessions
  sudo holdfast sessions --client 192.0.2.0/24 --listener web
  sudo holdfast sessions --backend web-1 --all --json
  sudo holdfast sessions flush --client 192.0.2.7

IDLE counts from the last refresh; after LEFT the session is void unless refreshed before."
    )]
    Sessions(SessionsArgs),
    /// Take a backend out of service or back in
    #[command(
        subcommand,
        long_about = "\
Take a backend out of service or back in. What is said here is kept across
restarts of the agent, apart from the backend's health: a backend gets clients
when both agree.",
        after_help = "Example:\n  sudo holdfast backend drain web-1"
    )]
    Backend(BackendVerb),
    /// Keys that cookies are sealed with: list them, or add one
    #[command(
        subcommand,
        long_about = "\
Keys that cookies of http and https listeners are sealed with. They are in the
state directory, in keys.json, which is secret: nodes with the same file take one
another's cookies.",
        after_help = "Example:\n  sudo holdfast keys list"
    )]
    Keys(KeysVerb),
    /// What a cookie says
    #[command(
        subcommand,
        after_help = "Example:\n  sudo holdfast cookie explain SERVERID=holdAQIDBA"
    )]
    Cookie(CookieVerb),
    /// The process that serves http and https listeners
    #[command(subcommand, after_help = "Example:\n  sudo holdfast sidecar replace")]
    Sidecar(SidecarVerb),
    /// Make the agent read its configuration again
    #[command(
        long_about = "\
Make the agent read its configuration again; SIGHUP does the same. All or
nothing: a wrong file changes nothing, its errors are printed, exit status 2.",
        after_help = "Example:\n  sudo holdfast reload"
    )]
    Reload,
}

/// `sessions` with or without `flush`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// What else to do with sessions.
    #[command(subcommand)]
    pub verb: Option<SessionsVerb>,
    /// Which sessions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Every one, however many
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Print JSON, as the admin API's `GET /v1/sessions`
    #[arg(long)]
    pub json: bool,
}

/// What else can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsVerb {
    /// Forget sessions; running connections stay where they are
    #[command(
        group = ArgGroup::new("which")
            .args(["listener", "backend", "client", "all"])
            .required(true)
            .multiple(true),
        long_about = "\
Forget sessions, so that their clients' next connections are pinned anew: by the
hash, so to the same backend again unless weights, the pool or a backend's state
have changed. Running connections stay where they are.",
        after_help = "\
Examples:
  sudo holdfast sessions flush --client 192.0.2.7
  sudo holdfast sessions flush --listener web --backend web-1
  sudo holdfast sessions flush --all"
    )]
    Flush {
        /// Which sessions.
        #[command(flatten)]
        filter: FilterArgs,
        /// Every one
        #[arg(long, conflicts_with_all = ["listener", "backend", "client"])]
        all: bool,
    },
}

/// Which sessions; every condition given must hold.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only of this listener, or the group that it is in
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub listener: Option<String>,
    /// Only to this backend
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub backend: Option<String>,
    /// Only of this client, or of clients in this prefix
    #[arg(long, value_name = "ADDR[/LEN]")]
    pub client: Option<crate::api::Prefix>,
}

/// What an operator can want of a backend.
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// No new clients; pinned clients and running connections go on
    #[command(after_help = "Example:\n  sudo holdfast backend drain web-1")]
    Drain(BackendName),
    /// No new connections; running ones go on
    #[command(after_help = "Example:\n  sudo holdfast backend evacuate web-1")]
    Evacuate(BackendName),
    /// Out of service at once: its sessions are void for good
    #[command(after_help = "Example:\n  sudo holdfast backend down web-1")]
    Down(BackendName),
    /// Back in service, if its health check agrees
    #[command(after_help = "Example:\n  sudo holdfast backend ready web-1")]
    Ready(BackendName),
}

/// A backend's name.
#[derive(Debug, Args)]
pub struct BackendName {
    /// The backend, as named in the configuration
    #[arg(value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: String,
}

#[cfg(test)]
mod tests;
