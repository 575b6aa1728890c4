//! `sidecar replace`, and what the agent starts its sidecar with.

use clap::{Args, Subcommand};

use super::human::duration;
use crate::api::wire::Replaced;

/// What the agent starts its sidecar with.
#[derive(Debug, Args)]
pub struct ServeHttpArgs {
    /// Whom it becomes
    #[arg(long)]
    pub user: String,
}

/// What can be done with the sidecar.
#[derive(Debug, Subcommand)]
pub enum SidecarVerb {
    /// Let another process take its place without losing a connection
    #[command(
        long_about = "\
Let another process take the sidecar's place. It takes new connections as soon as
it serves, from the same sockets; the one before finishes what it has, for as
long as `sidecar.drain` says. What was counted goes on.",
        after_help = "Example:\n  sudo holdfast sidecar replace"
    )]
    Replace,
}

/// What becomes of the one before.
pub(super) fn replaced(replaced: &Replaced) -> String {
    match replaced {
        Replaced { pid: None, .. } => "None runs at the moment; another is started.\n".to_owned(),
        Replaced { pid: Some(pid), drain_s: 0 } => {
            format!("Another takes the place of process {pid}, which ends then.\n")
        }
        Replaced { pid: Some(pid), drain_s } => format!(
            "Another takes the place of process {pid}, which then has {} to finish what it has.\n",
            duration(*drain_s)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let check =
            |pid, drain_s, want: &str| assert_eq!(replaced(&Replaced { pid, drain_s }), want);
        check(None, 30, "None runs at the moment; another is started.\n");
        check(Some(7), 0, "Another takes the place of process 7, which ends then.\n");
        check(
            Some(7),
            90,
            "Another takes the place of process 7, which then has 1 min 30 s to finish what it has.\n",
        );
    }
}
