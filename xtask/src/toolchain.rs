//! Which compiler, cargo and linker build the XDP program.
//!
//! Two ways are known: the system's own Rust with a precompiled `core` for BPF (Debian packages
//! one), and rustup's nightly, which builds `core` from `rust-src`. Both need `bpf-linker`.
//! This module looks and never installs: that is `setup`'s.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::workspace::{Workspace, program};

/// The target's triple: BPF in the host's byte order.
pub(crate) const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

const SYSTEM_CARGO: &str = "/usr/bin/cargo";
const SYSTEM_CLIPPY: &str = "/usr/bin/cargo-clippy";
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// A Rust compiler that can build for BPF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compiler {
    /// `/usr/bin/rustc`, with `core` for BPF in its library folder.
    System,
    /// rustup's nightly, with the source of `core`.
    Nightly,
}

impl Compiler {
    /// The one to use. The system's comes first: it is a release, so it changes less.
    pub(crate) fn find() -> Option<Self> {
        [Self::System, Self::Nightly].into_iter().find(|compiler| compiler.is_there())
    }

    fn is_there(self) -> bool {
        match self {
            Self::System => {
                Path::new(SYSTEM_CARGO).is_file()
                    && says(Command::new(SYSTEM_RUSTC).arg("-V"))
                        .is_some_and(|version| is_new_enough(&version))
                    && says(Command::new(SYSTEM_RUSTC).args([
                        "--print",
                        "target-libdir",
                        "--target",
                        TARGET,
                    ]))
                    .is_some_and(|folder| has_core(Path::new(folder.trim())))
            }
            Self::Nightly => {
                says(nightly("rustc").args(["--print", "sysroot"])).is_some_and(|sysroot| {
                    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
                })
            }
        }
    }

    /// Whether it has a clippy of its own version; another version's cannot read its `core`.
    pub(crate) fn has_clippy(self) -> bool {
        match self {
            Self::System => [SYSTEM_CLIPPY, "/usr/bin/clippy-driver"]
                .iter()
                .all(|file| Path::new(file).is_file()),
            Self::Nightly => says(nightly("cargo").args(["clippy", "-V"])).is_some(),
        }
    }

    /// Its cargo with this verb for a crate of XDP programs, in a target directory of its own: the
    /// host's flags and lock are not BPF's.
    pub(crate) fn cargo(
        self,
        workspace: &Workspace,
        linker: &Path,
        verb: &str,
        package: &str,
    ) -> Command {
        let mut command = match self {
            // By its path: cargo would take another toolchain's clippy from its own folder.
            Self::System if verb == "clippy" => Command::new(SYSTEM_CLIPPY),
            Self::System => Command::new(SYSTEM_CARGO),
            Self::Nightly => nightly("cargo"),
        };
        for (name, _) in env::vars_os() {
            if leaks(&name) {
                command.env_remove(name);
            }
        }
        command.current_dir(workspace.root());
        command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker));
        command.args([verb, "--package", package, "--bin", package, "--release"]);
        command.args(["--target", TARGET, "--target-dir"]).arg(build_folder(workspace));
        match self {
            Self::System => {
                command.env("CARGO", SYSTEM_CARGO).env("RUSTC", SYSTEM_RUSTC);
                // The crates that use unstable features, and no other; `1` would mean all.
                command.env("RUSTC_BOOTSTRAP", "aya_ebpf,lb_ebpf,bench_ebpf");
            }
            Self::Nightly => {
                command.args(["-Z", "build-std=core"]);
            }
        }
        command
    }
}

/// Cargo's target directory for the XDP program.
pub(crate) fn build_folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("bpf-build")
}

/// Where `bpf-linker` is.
pub(crate) fn linker() -> Option<PathBuf> {
    program("bpf-linker")
}

/// This process's PATH with a folder put first.
pub(crate) fn with_first(folder: &str) -> std::ffi::OsString {
    let mut path = std::ffi::OsString::from(folder);
    if let Some(rest) = env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// Whether a variable of this process must not reach another toolchain's cargo: `cargo run` and
/// rustup name their own toolchain in the environment, and the host's flags are not BPF's.
pub(crate) fn leaks(name: &OsStr) -> bool {
    const KEPT: [&str; 5] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    let name = name.to_string_lossy();
    let cargos = name == "CARGO" || name.starts_with("CARGO_") || name.starts_with("RUSTC");
    let others =
        ["RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT", "LD_LIBRARY_PATH"];
    (cargos || others.contains(&name.as_ref())) && !KEPT.iter().any(|kept| name.starts_with(kept))
}

fn rustflags(linker: &Path) -> String {
    [
        // aya-ebpf's choice of register layouts; it knows the host's by Rust's own name.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
        // The third instruction set has atomics that return a value, compare and exchange among
        // them, and 32-bit arithmetic: kernels from 5.12 on run it.
        "-Ctarget-cpu=v3".to_owned(),
        // Headers are read in words, not byte by byte: kernels let a program do that in packets and
        // maps where the machine can (`HAVE_EFFICIENT_UNALIGNED_ACCESS`: x86-64, arm64).
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
    ]
    .join("\x1f")
}

fn nightly(tool: &str) -> Command {
    let mut command = Command::new(program("rustup").unwrap_or_else(|| "rustup".into()));
    // Looking for a toolchain must not download one.
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", tool]);
    command
}

/// What a command prints, if it succeeds.
fn says(command: &mut Command) -> Option<String> {
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH").stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Whether `rustc -V` names at least the workspace's minimum version.
fn is_new_enough(version: &str) -> bool {
    let wanted = numbers(env!("CARGO_PKG_RUST_VERSION"));
    version.split(' ').nth(1).and_then(numbers).zip(wanted).is_some_and(|(it, least)| it >= least)
}

/// Major and minor version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

fn has_core(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"libcore-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_compiler_is_not_taken() {
        let cases = [
            ("rustc 1.94.1 (e408947bf 2026-03-25)", false),
            ("rustc 1.95.0 (59807616e 2026-04-14)", true),
            ("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", true),
            ("rustc 2.0.0-nightly (ac68faa20 2030-05-25)", true),
            ("rustc 1.100.0", true),
            ("rustc", false),
            ("", false),
        ];
        for (version, wanted) in cases {
            assert_eq!(is_new_enough(version), wanted, "{version}");
        }
    }

    #[test]
    fn another_cargos_settings_do_not_leak() {
        let cases = [
            ("CARGO", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_TARGET_DIR", true),
            ("CARGO_BUILD_RUSTFLAGS", true),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", true),
            ("RUSTC", true),
            ("RUSTC_WRAPPER", true),
            ("RUSTFLAGS", true),
            ("RUSTUP_TOOLCHAIN", true),
            ("LD_LIBRARY_PATH", true),
            ("CARGO_HOME", false),
            ("CARGO_NET_OFFLINE", false),
            ("CARGO_HTTP_PROXY", false),
            ("CARGO_REGISTRIES_MINE_INDEX", false),
            ("CARGO_TERM_COLOR", false),
            ("RUSTUP_HOME", false),
            ("PATH", false),
            ("HOME", false),
        ];
        for (name, wanted) in cases {
            assert_eq!(leaks(OsStr::new(name)), wanted, "{name}");
        }
    }
}
