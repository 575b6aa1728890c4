//! Runs a program where instructions are counted, beside IPVS: Debian's kernel has it as modules.

use std::{fs::File, path::Path};

use anyhow::{Context as _, bail};

use super::{
    cache, ended,
    kernel::{Kernel, unpacked},
    machine::{self, Work},
    quoted, script,
};
use crate::{
    setup::{self, Need},
    workspace::Workspace,
};

/// The newest kernel of Debian 12.
const KERNEL: &str = "6.12";
/// What sets IPVS up, and its libraries.
const IPVSADM: [&str; 4] = ["ipvsadm", "libnl-3-200", "libnl-genl-3-200", "libpopt0"];

/// Runs it; what it prints goes to that file.
pub(crate) fn run(workspace: &Workspace, command: &[String], output: &Path) -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("guests are x86-64 machines, which cannot run what is built here");
    }
    setup::ensure(&[Need::Guest])?;
    let cache = cache(workspace)?;
    let kernel = Kernel::find(KERNEL, &cache)?;
    let (mut programs, mut libraries) = (Vec::new(), Vec::new());
    for package in IPVSADM {
        let folder = unpacked(package, &cache)?;
        programs.push(folder.join("sbin").display().to_string());
        libraries.extend(
            ["lib", "usr/lib"]
                .map(|place| folder.join(place).join("x86_64-linux-gnu").display().to_string()),
        );
    }
    println!("bench: counting instructions on {}", kernel.release);
    let work = format!(
        "export PATH=$PATH:{} LD_LIBRARY_PATH={}\n{}",
        quoted([programs.join(":")]),
        quoted([libraries.join(":")]),
        quoted(command)
    );
    let command = script(workspace, &work);
    let file = File::create(output).with_context(|| output.display().to_string())?;
    let modules = ["veth", "ip_vs", "ip_vs_mh"];
    let work = Work { command: &command, modules: &modules, counted: true, output: Some(file) };
    let status = machine::run(&kernel, work)?;
    ended(&kernel, status).with_context(|| {
        let said = std::fs::read(output).unwrap_or_default();
        format!("it said:\n{}", String::from_utf8_lossy(&said))
    })
}
