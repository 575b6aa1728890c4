//! Where the sources and the build's output are, and how cargo is called for the host's crates.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The directories of one checkout.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo where this checkout builds to, so that its settings hold here too.
    pub(crate) fn find() -> anyhow::Result<Self> {
        // What `cargo run` says first: a shared target directory may hold another checkout's xtask.
        let here = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = here.parent().context("xtask is not in a workspace")?.to_owned();
        let mut metadata = cargo_in(&root, "metadata");
        metadata.args(["--no-deps", "--format-version=1"]);
        let output = metadata.output().with_context(|| format!("cannot run {metadata:?}"))?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let value: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let target = value
            .get("target_directory")
            .and_then(serde_json::Value::as_str)
            .context("cargo metadata names no target directory")?;
        Ok(Self { target: PathBuf::from(target), root })
    }

    /// The checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Cargo with this verb, in the checkout, with the compiler that runs xtask.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        cargo_in(&self.root, verb)
    }
}

fn cargo_in(root: &Path, verb: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).arg(verb);
    // `cargo run` describes xtask in these; a build script that watches one would run again.
    for (name, _) in env::vars_os() {
        if describes_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn describes_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Runs a command to its end; its failure is an error that says `what` failed.
pub(crate) fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// Where a program is: on the PATH, with cargo's installed binaries, or where root's tools are.
/// The last two are not on every PATH, `sudo`'s for one.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
