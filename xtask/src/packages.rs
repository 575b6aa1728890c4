//! Installs Debian packages: it starts no service, and leaves none enabled, that was not there.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::workspace::run;

/// Installs `$@`. A package that brings a service starts it when it is installed, unless
/// policy-rc.d forbids it; where there is none, one stands there for as long as apt-get runs. The
/// shell's trap takes it away also when a signal ends this. A policy that exists is the
/// administrator's and stays.
const INSTALL: &str = r#"
set -e
present() { command -v "$1" > /dev/null; }
new=
for service in nginx haproxy; do present "$service" || new="$new $service"; done
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
# dpkg has no quiet mode; what goes wrong is on standard error.
apt-get -qq install --yes --no-install-recommends "$@" > /dev/null
for service in $new; do
    if present "$service"; then
        update-rc.d "$service" disable
        service "$service" stop > /dev/null 2>&1 || :
    fi
done
"#;

/// Whether packages can be installed here, by this user.
pub(crate) fn may_install() -> bool {
    is_root()
        && Path::new("/usr/bin/apt-get").is_file()
        && Path::new("/etc/debian_version").exists()
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Installs packages, from lists that are fetched anew.
pub(crate) fn install(names: &[&str]) -> anyhow::Result<()> {
    let mut update = Command::new("apt-get");
    update.args(["-qq", "update"]).stdin(Stdio::null());
    run(&mut update, "apt-get update")?;
    let mut install = Command::new("sh");
    install.args(["-c", INSTALL, "sh"]).args(names).stdin(Stdio::null());
    install.env("DEBIAN_FRONTEND", "noninteractive");
    // A PATH without these makes dpkg refuse.
    install.env("PATH", crate::toolchain::with_first("/usr/sbin:/usr/bin:/sbin:/bin"));
    run(&mut install, "apt-get install").with_context(|| format!("packages {}", names.join(" ")))
}
