//! The sidecar's fence: what it cannot do any more once it serves strangers.
//!
//! Owns the order: capabilities and user first, then what only an unprivileged process may give up.

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

/// What was given up.
#[derive(Debug)]
pub struct Fenced {
    user: String,
    landlock: bool,
}

impl std::fmt::Display for Fenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = if self.landlock {
            "no files (Landlock)"
        } else {
            "this kernel has no Landlock: files as the user's"
        };
        write!(f, "user {}, no capabilities, no new privileges, {landlock}", self.user)
    }
}

/// Becomes `user`, for good, without capabilities, and without a way to files. To be called before
/// there is a second thread.
pub fn enter(user: &str) -> anyhow::Result<Fenced> {
    let unprivileged = !Uid::effective().is_root();
    if !unprivileged {
        let found = User::from_name(user).context("user")?;
        let found = found.with_context(|| format!("there is no user {user}"))?;
        if found.uid.is_root() {
            bail!("the sidecar does not run as root");
        }
        become_user(found.uid, found.gid).with_context(|| format!("cannot become {user}"))?;
    }
    no_new_privileges().context("no new privileges")?;
    let landlock = no_files().context("landlock")?;
    let user = if unprivileged { Uid::effective().to_string() } else { user.to_owned() };
    Ok(Fenced { user, landlock })
}

fn become_user(user: Uid, group: Gid) -> nix::Result<()> {
    // A program that is executed later could have what stays in the bounding set. Those that the
    // kernel does not know come last.
    for capability in 0..64 {
        if !drop_bounding(capability) {
            break;
        }
    }
    setgroups(&[])?;
    setresgid(group, group, group)?;
    // With all three user ids changed from root's, the kernel clears all capabilities
    // (capabilities(7), "Effect of user ID changes").
    setresuid(user, user, user)
}

/// False: the kernel knows no capability of that number.
fn drop_bounding(capability: libc::c_ulong) -> bool {
    // SAFETY: it takes numbers.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 }
}

fn no_new_privileges() -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()
}

/// From here on, where the kernel has Landlock: no file can be opened, made or executed, no port
/// taken, no process outside be signalled.
fn no_files() -> anyhow::Result<bool> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, RulesetStatus, Scope,
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
