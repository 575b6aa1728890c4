//! `guest`: runs tests, or any command, on another kernel, in an emulated machine.
//!
//! The guest sees this machine's files, so what was built here runs there; its changes to them are
//! gone when it ends. No part of `test`: emulation takes its time.

mod archive;
pub(crate) mod count;
mod kernel;
mod machine;

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context as _, bail};

pub(crate) use self::machine::EMULATOR;
use self::{kernel::Kernel, machine::Work};
use crate::{
    setup::{self, Need},
    test::{self, Layer},
    toolchain,
    workspace::Workspace,
};

/// Runs a command on the newest kernel of version `wanted`, or on the one in a folder; without a
/// command: the tests of `layer` whose names contain `only`.
pub(crate) fn run(
    workspace: &Workspace,
    wanted: &str,
    layer: Layer,
    only: Option<&str>,
    command: &[String],
) -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("guests are x86-64 machines, which cannot run what is built here");
    }
    setup::ensure(&[Need::Guest])?;
    let work = if command.is_empty() { tests(workspace, layer, only)? } else { quoted(command) };
    let kernel = Kernel::find(wanted, &cache(workspace)?)?;
    println!("=== {} ===", kernel.release);
    let command = script(workspace, &work);
    let work = Work { command: &command, modules: &[], counted: false, output: None };
    ended(&kernel, machine::run(&kernel, work)?)
}

/// Where packages are unpacked.
fn cache(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let cache = workspace.target().join("guest");
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    Ok(cache)
}

/// A shell's command that does the work as it would be done here.
fn script(workspace: &Workspace, work: &str) -> String {
    let here = workspace.root().to_string_lossy();
    let path = toolchain::with_first("/usr/sbin:/usr/bin:/sbin:/bin");
    let path = path.to_string_lossy();
    format!("cd {}\nexport HOME=/root PATH={}\n{work}", quoted([here]), quoted([path]))
}

fn ended(kernel: &Kernel, status: i32) -> anyhow::Result<()> {
    match status {
        0 => Ok(()),
        status => bail!("exit status {status} on {}", kernel.release),
    }
}

/// A shell's command that runs the tests of a layer, all of them whatever fails.
fn tests(workspace: &Workspace, layer: Layer, only: Option<&str>) -> anyhow::Result<String> {
    let mut cargo = test::prepare(workspace, layer)?;
    let built: Vec<String> = cargo
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?, value?.to_string_lossy())))
        .filter(|(name, _)| name.starts_with("HOLDFAST_"))
        .map(|(name, path)| format!("export {name}={}", quoted([path.as_ref()])))
        .collect();
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo test")?;
    if !output.status.success() {
        bail!("cargo test --no-run failed ({})", output.status);
    }
    let programs = programs(&String::from_utf8_lossy(&output.stdout));
    if programs.is_empty() {
        bail!("cargo test built no tests");
    }
    let mut lines = built;
    lines.push("failed=0".to_owned());
    for program in &programs {
        let all = [program.as_str()].into_iter().chain(test::arguments(layer, only));
        lines.push(format!("{} || failed=1", quoted(all)));
    }
    lines.push("exit $failed".to_owned());
    Ok(lines.join("\n"))
}

/// The tests' programs, by cargo's messages; it builds others with them.
fn programs(messages: &str) -> Vec<String> {
    let program = |line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = value.pointer("/profile/test")?.as_bool()?;
        let path = value.get("executable")?.as_str()?;
        is_test.then(|| path.to_owned())
    };
    messages.lines().filter_map(program).collect()
}

/// Words as a shell reads them.
fn quoted<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let quote = |word: W| format!("'{}'", word.as_ref().replace('\'', r"'\''"));
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted(["a b", "it's"]), r"'a b' 'it'\''s'");
        let word = "$HOME `x` \\ \" ' ";
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted([word]))])
            .output()
            .expect("sh");
        assert_eq!(String::from_utf8_lossy(&output.stdout), word);
    }

    #[test]
    fn programs_by_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/demo"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/packet_a-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(programs(messages), ["/t/packet_a-1"]);
    }
}
