//! The emulated machine: what it starts with, and how a command's end is told.
//!
//! Emulated, not virtualised: it runs where there is no KVM, and in the same way everywhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{
    archive::Archive,
    kernel::{Kernel, unpack},
};
use crate::workspace::program;

/// What runs the guest.
pub(crate) const EMULATOR: &str = "qemu-system-x86_64";
const INIT: &str = include_str!("init.sh");
/// What `init.sh` and the kernel call.
const APPLETS: [&str; 9] =
    ["sh", "mount", "mkdir", "insmod", "cat", "stty", "chroot", "poweroff", "modprobe"];
/// To see the host's files; the kernel asks for all others by itself.
const EARLY: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
/// What the kernel does not ask for by itself: the device that is named /dev/net/tun before its
/// module is there, only where udev runs.
const WANTED: [&str; 1] = ["tun"];
/// MiB; of address space, most of it is never touched.
const MEMORY: &str = "3072";

/// What a guest is to do.
pub(crate) struct Work<'a> {
    /// A shell's command.
    pub(crate) command: &'a str,
    /// Modules to load before it.
    pub(crate) modules: &'a [&'a str],
    /// One CPU, on which every instruction takes a nanosecond of the guest's time.
    pub(crate) counted: bool,
    /// Where its output goes; `None`: to standard output.
    pub(crate) output: Option<fs::File>,
}

/// Runs a command on a kernel, as root, with the host's files as they are seen by this user; what
/// it writes to them stays in the guest. Returns its exit status.
pub(crate) fn run(kernel: &Kernel, work: Work<'_>) -> anyhow::Result<i32> {
    let file = |name: &str| kernel.folder.join(name);
    let (root, console, status) = (file("initrd"), file("console"), file("status"));
    fs::write(&root, first_root(kernel, &work)?).with_context(|| root.display().to_string())?;
    for old in [&console, &status] {
        fs::write(old, "").with_context(|| old.display().to_string())?;
    }
    let mut emulator = emulator(kernel, work.counted, [&root, &console, &status])?;
    if let Some(output) = work.output {
        emulator.stdout(output);
    }
    let ended = emulator.status().with_context(|| format!("cannot run {EMULATOR}"))?;
    let text = fs::read_to_string(&status).with_context(|| status.display().to_string())?;
    match text.trim().parse() {
        Ok(status) if ended.success() => Ok(status),
        _ => {
            let said = fs::read(&console).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let end = said.lines().rev().take(20).collect::<Vec<_>>();
            let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
            bail!("the guest ended without a word on the command ({ended}); its console:\n{end}")
        }
    }
}

fn emulator(
    kernel: &Kernel,
    counted: bool,
    [root, console, status]: [&Path; 3],
) -> anyhow::Result<Command> {
    let emulator = program(EMULATOR).with_context(|| format!("there is no {EMULATOR}"))?;
    let mut command = Command::new(emulator);
    command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
    command.args(["-M", "q35", "-m", MEMORY]);
    if counted {
        // Without the instructions that do as much work as they are told, and count as one.
        command.args(["-accel", "tcg,thread=single", "-cpu", "max,-erms,-fsrm"]);
        command.args(["-smp", "1", "-icount", "shift=0"]);
    } else {
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
    }
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(root);
    // A panic restarts, which ends the emulator.
    let zeroing = if counted { " init_on_alloc=0" } else { "" };
    command.arg("-append");
    command.arg(format!("console=ttyS0 loglevel=4 panic=-1 mitigations=off{zeroing}"));
    command.arg("-serial").arg(to_file(console)?);
    command.args(["-serial", "stdio"]);
    command.arg("-serial").arg(to_file(status)?);
    command.args([
        "-virtfs",
        "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
    ]);
    command.stdin(Stdio::null());
    Ok(command)
}

fn to_file(path: &Path) -> anyhow::Result<String> {
    let path = path.to_str().context("a folder whose name is no text")?;
    // A comma would begin an option.
    Ok(format!("file:{}", path.replace(',', ",,")))
}

/// The root file system that the kernel starts with.
fn first_root(kernel: &Kernel, work: &Work<'_>) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::new();
    for folder in ["bin", "sbin", "dev", "proc", "sys", "early", "host", "layer", "root", "lib"] {
        archive.folder(folder)?;
    }
    archive.folder("lib/modules")?;
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    archive.file("bin/busybox", &read(&kernel.busybox)?)?;
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    // Where the kernel looks for it.
    archive.link("sbin/modprobe", "../bin/busybox")?;

    let mut order: Vec<PathBuf> = Vec::new();
    for name in EARLY {
        for file in kernel.module(name)? {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    let mut names = String::new();
    for (number, file) in order.iter().enumerate() {
        // A module is called by what is in it, not by its file.
        let name = format!("{number}.ko");
        archive.file(&format!("early/{name}"), &unpack(&read(file)?)?)?;
        names.push_str(&name);
        names.push('\n');
    }
    archive.file("early/order", names.as_bytes())?;
    let modules = kernel.modules.to_str().context("a folder whose name is no text")?;
    archive.file("modules", modules.as_bytes())?;
    archive.file("command", work.command.as_bytes())?;
    let wanted = WANTED.iter().chain(work.modules).map(|module| format!("{module}\n"));
    archive.file("wanted", wanted.collect::<String>().as_bytes())?;
    archive.file("init", INIT.as_bytes())?;
    archive.end()
}
