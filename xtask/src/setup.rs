//! `setup`: finds what building, checking and testing need, and installs what is missing.
//!
//! It installs only as root on Debian and what is like it, or with rustup what rustup manages;
//! elsewhere it says in one message what to install. It prints nothing when nothing is missing.

use std::process::{Command, Stdio};

use anyhow::{anyhow, bail};

use crate::{
    guest::EMULATOR,
    packages,
    toolchain::{self, Compiler},
    workspace::{program, run as run_command},
};

/// One thing that a verb needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// A compiler for BPF and `bpf-linker`.
    Bpf,
    /// That compiler's clippy.
    BpfClippy,
    /// rustfmt and clippy for the host's crates.
    HostLints,
    /// Programs that the tests on real traffic, and the demo, run.
    Traffic,
    /// A browser, which tests of layer 7 drive.
    Browser,
    /// What layer 4 is compared with. No verb but `bench` needs it.
    Bench,
    /// What layer 7 is compared with, and what makes its load. No verb but `bench` needs it.
    Proxies,
    /// What starts other kernels. No verb but `guest` needs it.
    Guest,
}

const ALL: [Need; 5] = [Need::Bpf, Need::BpfClippy, Need::HostLints, Need::Traffic, Need::Browser];

/// Debian's compiler for BPF, and its cargo.
const COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// What `bpf-linker` is built with: the LLVM that this compiler has too.
const LINKER: [&str; 4] = ["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev"];
const LLVM: &str = "/usr/lib/llvm-22";
const LINKER_VERSION: &str = "0.13.0";
/// Programs, and the packages that bring them.
const TRAFFIC: [(&str, &str); 5] = [
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("openssl", "openssl"),
];
const BROWSER: [(&str, &str); 2] = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];
const BENCH: [(&str, &str); 3] = [("ip", "iproute2"), ("ethtool", "ethtool"), ("nft", "nftables")];
const PROXIES: [(&str, &str); 9] = [
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("ab", "apache2-utils"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
];
const GUEST: [(&str, &str); 3] =
    [(EMULATOR, "qemu-system-x86"), ("xz", "xz-utils"), ("zstd", "zstd")];

/// The verb: everything that any other verb needs, but for `bench` and `guest`.
pub(crate) fn run() -> anyhow::Result<()> {
    ensure(&ALL)
}

/// Installs what is missing of these, or says what to install.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = Missing::of(needs);
    if missing == Missing::default() {
        return Ok(());
    }
    if !missing.rustup_components.is_empty() {
        println!("setup: installing with rustup: {}", missing.rustup_components.join(" "));
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add"]).args(&missing.rustup_components);
        run_command(&mut rustup, "rustup component add")?;
    }
    if !missing.packages.is_empty() {
        if !packages::may_install() {
            bail!("{}", missing.advice());
        }
        println!("setup: installing with apt-get: {}", missing.packages.join(" "));
        packages::install(&missing.packages)
            .map_err(|error| anyhow!("{error:#}\n{}", missing.advice()))?;
    }
    if missing.linker {
        println!("setup: building bpf-linker {LINKER_VERSION} (once; about a minute)");
        install_linker().map_err(|error| anyhow!("{error:#}\n{}", linker_by_hand()))?;
    }
    let still = Missing::of(needs);
    if still != Missing::default() {
        bail!("after the installation this is still missing: {}\n{}", still.list(), still.advice());
    }
    Ok(())
}

/// What is not there.
#[derive(Default, PartialEq, Eq, Debug)]
struct Missing {
    packages: Vec<&'static str>,
    linker: bool,
    rustup_components: Vec<&'static str>,
}

impl Missing {
    fn of(needs: &[Need]) -> Self {
        let mut missing = Self::default();
        let needed = |need| needs.contains(&need);
        let compiler = if needed(Need::Bpf) || needed(Need::BpfClippy) {
            missing.look_for_bpf()
        } else {
            None
        };
        if needed(Need::BpfClippy) && !compiler.is_some_and(Compiler::has_clippy) {
            missing.package("rust-web-clippy");
        }
        if needed(Need::HostLints) {
            missing.look_for_host_lints();
        }
        if needed(Need::Traffic) {
            missing.look_for_programs(&TRAFFIC);
        }
        if needed(Need::Browser) {
            missing.look_for_programs(&BROWSER);
        }
        if needed(Need::Bench) {
            missing.look_for_programs(&BENCH);
        }
        if needed(Need::Proxies) {
            missing.look_for_programs(&PROXIES);
        }
        if needed(Need::Guest) {
            missing.look_for_programs(&GUEST);
        }
        missing
    }

    /// Programs, and the packages that bring them.
    fn look_for_programs(&mut self, wanted: &[(&str, &'static str)]) {
        for (name, package) in wanted {
            if program(name).is_none() {
                self.package(package);
            }
        }
    }

    fn look_for_bpf(&mut self) -> Option<Compiler> {
        let compiler = Compiler::find();
        if compiler.is_none() {
            self.packages_of(&COMPILER);
        }
        if toolchain::linker().is_none() {
            self.linker = true;
            self.packages_of(&LINKER);
            // It is built with Debian's compiler, whose LLVM is the one to be linked.
            if compiler != Some(Compiler::System) {
                self.packages_of(&COMPILER);
            }
        }
        compiler
    }

    fn look_for_host_lints(&mut self) {
        let tools = [("fmt", "rustfmt", "rustfmt-web"), ("clippy", "clippy", "rust-web-clippy")];
        for (verb, component, package) in tools {
            let mut version = Command::new("cargo");
            version.args([verb, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
            if version.status().is_ok_and(|status| status.success()) {
                continue;
            }
            if program("rustup").is_some() {
                self.rustup_components.push(component);
            } else {
                self.package(package);
            }
        }
    }

    fn package(&mut self, name: &'static str) {
        if !self.packages.contains(&name) {
            self.packages.push(name);
        }
    }

    fn packages_of(&mut self, names: &[&'static str]) {
        for name in names {
            self.package(name);
        }
    }

    fn list(&self) -> String {
        let linker = self.linker.then_some("bpf-linker");
        let all = self.packages.iter().chain(&self.rustup_components).copied().chain(linker);
        all.collect::<Vec<_>>().join(", ")
    }

    /// The one message for a machine where this user may not install, or that is no Debian.
    fn advice(&self) -> String {
        let mut lines = vec![format!("missing: {}", self.list())];
        if !self.packages.is_empty() {
            lines.push(format!(
                "on Debian 12, as root: run `cargo xtask setup`, or `apt-get install {}`",
                self.packages.join(" ")
            ));
        }
        if self.linker {
            lines.push(linker_by_hand());
        }
        let bpf = self.linker || self.packages.iter().any(|package| COMPILER.contains(package));
        if bpf {
            lines.push(
                "elsewhere: `rustup toolchain install nightly --component rust-src,clippy` and \
                 `cargo install bpf-linker`, built with the LLVM of that nightly"
                    .to_owned(),
            );
        }
        lines.join("\n")
    }
}

/// Builds `bpf-linker` into cargo's usual folder for binaries: it outlives `cargo clean`, and
/// every checkout finds it.
fn install_linker() -> anyhow::Result<()> {
    let mut cargo = Command::new("/usr/bin/cargo");
    for (name, _) in std::env::vars_os() {
        if toolchain::leaks(&name) {
            cargo.env_remove(name);
        }
    }
    cargo.args(linker_arguments()).stdin(Stdio::null());
    cargo.env("RUSTC", "/usr/bin/rustc").env("LLVM_PREFIX", LLVM);
    // The link of bpf-linker itself asks the first llvm-config that it meets.
    cargo.env("PATH", toolchain::with_first(&format!("{LLVM}/bin")));
    run_command(&mut cargo, "cargo install bpf-linker")
}

fn linker_by_hand() -> String {
    format!(
        "bpf-linker by hand: PATH={LLVM}/bin:$PATH LLVM_PREFIX={LLVM} RUSTC=/usr/bin/rustc \
         /usr/bin/cargo {}",
        linker_arguments().join(" ")
    )
}

fn linker_arguments() -> [&'static str; 9] {
    [
        "install",
        "bpf-linker",
        "--quiet",
        "--locked",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
        "--features",
        "llvm-22",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_all_that_is_missing() {
        let mut missing = Missing { linker: true, ..Missing::default() };
        missing.package("llvm-22-dev");
        missing.package("curl");
        missing.package("curl");
        let advice = missing.advice();
        for wanted in ["llvm-22-dev curl`", "cargo install bpf-linker --quiet --locked", "nightly"]
        {
            assert!(advice.contains(wanted), "{wanted} is not in: {advice}");
        }
    }

    #[test]
    fn a_missing_program_is_no_reason_to_name_a_compiler() {
        let mut missing = Missing::default();
        missing.package("ethtool");
        assert!(!missing.advice().contains("nightly"), "{}", missing.advice());
    }
}
