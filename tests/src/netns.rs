//! Network namespaces: made, entered by threads and by processes.
//!
//! A process enters by setns of the network namespace alone. `ip netns exec` would mount another
//! `/sys` as well, and hide what is mounted under it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::cleanup;

const FOLDER: &str = "/run/netns";

/// A named network namespace. Dropping it leaves it there: `cleanup` takes a whole lab down.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with its loopback up.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        run(Command::new("ip").args(["netns", "add", name]));
        let namespace = Self { name: name.to_owned() };
        // Before there is an interface: addresses are usable at once.
        for set in ["default", "all"] {
            namespace.sysctl(&format!("ipv6/conf/{set}/accept_dad"), "0");
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(&self.name)
    }

    /// A command whose process will be in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread that is in it. Sockets that are made there stay in it.
    ///
    /// # Panics
    ///
    /// When it cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            self.enter();
            work()
        };
        thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Puts the calling thread into it, for good.
    ///
    /// # Panics
    ///
    /// When it cannot be entered.
    pub fn enter(&self) {
        let path = self.path();
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        setns(file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|e| panic!("enter {}: {e}", self.name));
    }

    /// Runs `ip` in it and returns what it prints; `arguments` are separated by spaces.
    ///
    /// # Panics
    ///
    /// When `ip` fails.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "most calls are for what they do")]
    pub fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Runs many `ip` commands in it, a line each.
    ///
    /// # Panics
    ///
    /// When one fails.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        let _gate = cleanup::gate();
        let mut command = Command::new("ip");
        command
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("ip runs");
        let mut input = child.stdin.take().expect("ip's input");
        input.write_all(lines.as_bytes()).expect("ip reads");
        drop(input);
        let output = child.wait_with_output().expect("ip ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip -n {} -batch: {error}\n{lines}", self.name);
    }

    /// Sets `/proc/sys/net/KEY` in it; slashes in the key.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.run(|| {
            // What the file shows goes by the thread's namespace.
            fs::write(format!("/proc/sys/net/{key}"), value)
                .unwrap_or_else(|e| panic!("net/{key} = {value}: {e}"));
        });
    }

    /// Sets an interface in it up for XDP: whole packets with whole checksums are sent, since what
    /// hardware would fill in later is not there when XDP reads; and receiving is by NAPI (which
    /// GRO turns on), since only so takes a veth what XDP sends from its other end. The interface
    /// and its peer have to be up: else the peer is not told that it may be redirected to.
    ///
    /// # Panics
    ///
    /// When `ethtool` fails.
    pub fn ready_for_xdp(&self, interface: &str) {
        let off = ["tx", "txvlan", "rxvlan", "tx-vlan-stag-hw-insert", "rx-vlan-stag-hw-parse"];
        let settings = off.iter().flat_map(|feature| [*feature, "off"]).chain(["gro", "on"]);
        run(self.command("ethtool").args(["-K", interface]).args(settings));
    }

    /// Turns GRO of an interface in it off.
    ///
    /// # Panics
    ///
    /// When `ethtool` fails.
    pub fn gro_off(&self, interface: &str) {
        run(self.command("ethtool").args(["-K", interface, "gro", "off"]));
    }
}

/// The names of the namespaces that begin so.
#[must_use]
pub fn named(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Deletes a namespace by name; its interfaces go when the last process has left it.
pub(crate) fn delete(name: &str) {
    let status = Command::new("ip").args(["netns", "del", name]).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("cannot delete the network namespace {name}");
    }
}

/// Runs a command to its end and returns what it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let _gate = cleanup::gate();
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
