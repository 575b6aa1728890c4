//! What only the machine can refuse: interfaces, privileges, kernel features, the BPF file system,
//! port ranges.
//!
//! Looks only; changes nothing. A configuration that passes here can be run by this process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use lb_common::nat::{FIRST_PORT, LAST_PORT};
use nix::{
    net::if_::if_nameindex,
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use crate::config::{Config, Forward, place};

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `agent.interfaces` names one that is not there.
    #[error("agent.interfaces: there is no interface `{name}`; this machine has {}", .present.join(", "))]
    NoInterface {
        /// As configured.
        name: String,
        /// Those that are there, without the loopback.
        present: Vec<String>,
    },
    /// The process lacks capabilities.
    #[error(
        "no permission: this process lacks {}; run it as root or give it these capabilities",
        .missing.join(", ")
    )]
    Permission {
        /// Names as in capabilities(7).
        missing: Vec<&'static str>,
    },
    /// The kernel cannot do something that is needed.
    #[error("the kernel ({release}) has no {feature}; Linux {since} and later do")]
    Kernel {
        /// What `uname -r` says.
        release: String,
        /// In words.
        feature: &'static str,
        /// First version that has it.
        since: &'static str,
    },
    /// A look at the machine failed.
    #[error("cannot find out {what}: {error}")]
    Unknown {
        /// What was to be found out.
        what: String,
        /// The error.
        error: String,
    },
    /// `agent.bpffs` is not in a BPF file system.
    #[error(
        "agent.bpffs: {path} is not in a BPF file system; mount one with `{command}`",
        path = .path.display()
    )]
    NoBpffs {
        /// As configured.
        path: PathBuf,
        /// What mounts one in the right place.
        command: String,
    },
    /// The machine's own connections could take the ports of translated flows.
    #[error(
        "pool.forward: `nat` gives flows the ports {FIRST_PORT} to {LAST_PORT}, but this machine's \
         own connections take theirs from {low} to {high}; keep them apart with \
         `sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"`"
    )]
    LocalPorts {
        /// First of `net.ipv4.ip_local_port_range`.
        low: u16,
        /// Last of it.
        high: u16,
    },
}

impl Problem {
    /// Is it only that this process may not, so that another might?
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        matches!(self, Self::Permission { .. })
    }

    /// The problem, with its place in the configuration file where it has one there.
    #[must_use]
    pub fn describe(&self, file: &Path) -> String {
        let place = match self {
            Self::NoInterface { name, .. } => place(file, "agent", "interfaces", Some(name)),
            Self::NoBpffs { .. } => place(file, "agent", "bpffs", None),
            Self::Permission { .. }
            | Self::Kernel { .. }
            | Self::Unknown { .. }
            | Self::LocalPorts { .. } => None,
        };
        match place {
            Some(place) => format!("{}:{}:{}: {self}", file.display(), place.line, place.column),
            None => self.to_string(),
        }
    }
}

/// Everything that keeps this process from running `config` on this machine. Takes a few
/// milliseconds. What takes privileges to find out is left out where [`Problem::Permission`] is
/// in the answer.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    match interfaces() {
        Ok(present) => problems.extend(missing_interfaces(&config.agent.interfaces, &present)),
        Err(error) => problems.push(unknown("which interfaces there are", &error)),
    }
    match fs::read_to_string("/proc/self/status") {
        Ok(status) => {
            let missing = missing_capabilities(&status);
            if missing.is_empty() {
                problems.extend(kernel());
            } else {
                problems.push(Problem::Permission { missing });
            }
        }
        Err(error) => problems.push(unknown("this process's capabilities", &error)),
    }
    problems.extend(bpffs(&config.agent.bpffs));
    if config.pools.iter().any(|pool| pool.forward == Forward::Nat) {
        const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
        match fs::read_to_string(RANGE) {
            Ok(range) => problems.extend(local_ports(&range)),
            Err(error) => problems.push(unknown(RANGE, &error)),
        }
    }
    problems
}

fn unknown(what: &str, error: &dyn std::error::Error) -> Problem {
    Problem::Unknown { what: what.to_owned(), error: error.to_string() }
}

fn interfaces() -> Result<Vec<String>, nix::Error> {
    let all = if_nameindex()?;
    Ok(all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect())
}

fn missing_interfaces(wanted: &[String], present: &[String]) -> Vec<Problem> {
    let missing = wanted.iter().filter(|name| !present.contains(name));
    let others = present.iter().filter(|name| *name != "lo");
    missing
        .map(|name| Problem::NoInterface {
            name: name.clone(),
            present: others.clone().cloned().collect(),
        })
        .collect()
}

/// Capabilities that the agent needs, by bit (linux/capability.h). Without `CAP_PERFMON` the
/// verifier walks speculative paths too, and refuses pointer arithmetic that is otherwise fine.
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// `CAP_SYS_ADMIN` includes `CAP_PERFMON` and `CAP_BPF`.
const SYS_ADMIN: u32 = 21;

/// `status`: text of /proc/self/status.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = field.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let has = |bit: u32| effective >> bit & 1 == 1;
    CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| !(has(*bit) || (*bit > SYS_ADMIN && has(SYS_ADMIN))))
        .map(|(_, name)| name)
        .collect()
}

/// Where the kernel describes its types, which iterators need.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Features that the kernel can only be asked for by its version.
const BY_VERSION: [(&str, (u32, u32), &str); 3] = [
    ("batch operations on BPF maps", (5, 6), "5.6"),
    ("BPF links for XDP programs", (5, 9), "5.9"),
    ("compare and exchange in BPF programs", (5, 12), "5.12"),
];

fn kernel() -> Vec<Problem> {
    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    let release = match fs::read_to_string(RELEASE) {
        Ok(release) => release.trim().to_owned(),
        Err(error) => return vec![unknown("the kernel's version", &error)],
    };
    let mut problems = old_kernel(&release);
    let mut probe =
        |feature: &'static str, since: &'static str, found: Result<bool, String>| match found {
            Ok(true) => {}
            Ok(false) => {
                problems.push(Problem::Kernel { release: release.clone(), feature, since });
            }
            Err(error) => {
                let what = format!("whether the kernel has {feature}");
                problems.push(Problem::Unknown { what, error });
            }
        };
    let found = is_program_supported(ProgramType::Xdp);
    probe("XDP programs", "4.8", found.map_err(|error| chain(&error)));
    let found = is_map_supported(MapType::LruHash);
    probe("LRU hash maps", "4.10", found.map_err(|error| chain(&error)));
    let found = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
    probe("description of its types (CONFIG_DEBUG_INFO_BTF)", "5.4", Ok(Path::new(BTF).exists()));
    probe("coarse clock for BPF programs", "5.11", found.map_err(|error| chain(&error)));
    problems
}

/// An error with its causes: aya's say what failed, and the cause why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn old_kernel(release: &str) -> Vec<Problem> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        let error = format!("`{release}` does not begin with a number, a dot and a number");
        return vec![Problem::Unknown { what: "the kernel's version".into(), error }];
    };
    BY_VERSION
        .into_iter()
        .filter(|(_, since, _)| (major, minor) < *since)
        .map(|(feature, _, since)| Problem::Kernel { release: release.to_owned(), feature, since })
        .collect()
}

fn bpffs(path: &Path) -> Option<Problem> {
    // The instance's own directory is made at its first start.
    let there = path.ancestors().find(|one| one.exists())?;
    match statfs(there) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => None,
        Ok(_) => {
            let at = path.parent().unwrap_or(path);
            let mount = format!("mount -t bpf bpf {}", at.display());
            let command =
                if at.exists() { mount } else { format!("mkdir -p {} && {mount}", at.display()) };
            Some(Problem::NoBpffs { path: path.to_owned(), command })
        }
        Err(error) => {
            let what = format!("what file system {} is in", path.display());
            Some(unknown(&what, &io::Error::from(error)))
        }
    }
}

/// `range`: text of `net.ipv4.ip_local_port_range`, which holds for IPv6 too.
fn local_ports(range: &str) -> Option<Problem> {
    let mut numbers = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (numbers.next(), numbers.next()) else {
        let error = format!("`{}` is not two ports", range.trim());
        return Some(Problem::Unknown { what: "net.ipv4.ip_local_port_range".into(), error });
    };
    (low <= LAST_PORT && high >= FIRST_PORT).then_some(Problem::LocalPorts { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_by_name() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let present = names(&["lo", "eth0", "eth1"]);
        assert_eq!(missing_interfaces(&names(&["eth1", "eth0"]), &present), []);
        let problems = missing_interfaces(&names(&["eth0", "eth9"]), &present);
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["agent.interfaces: there is no interface `eth9`; this machine has eth0, eth1"]
        );
        assert!(interfaces().expect("a list").contains(&"lo".to_owned()));
    }

    #[test]
    fn capabilities() {
        let check = |effective: &str, want: &[&str]| {
            let status = format!("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\n");
            assert_eq!(missing_capabilities(&status), want, "{effective}");
        };
        let all = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"];
        check("000001ffffffffff", &[]);
        check("000000c000003000", &[]);
        check("0000008000003000", &["CAP_PERFMON"]);
        check("0000004000001000", &["CAP_NET_RAW", "CAP_BPF"]);
        check("0000000000203000", &[]);
        check("0000000000200000", &["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        check("0000000000000000", &all);
        assert_eq!(missing_capabilities(""), all);
        let problem = Problem::Permission { missing: vec!["CAP_NET_RAW", "CAP_BPF"] };
        assert!(problem.is_permission());
        assert_eq!(
            problem.to_string(),
            "no permission: this process lacks CAP_NET_RAW, CAP_BPF; run it as root or give it \
             these capabilities"
        );
    }

    #[test]
    fn kernels() {
        let check = |release: &str, want: &[&str]| {
            let got: Vec<_> = old_kernel(release).iter().map(ToString::to_string).collect();
            assert_eq!(got, want);
        };
        let swap = "no compare and exchange in BPF programs; Linux 5.12 and later do";
        check("6.1.0-18-amd64", &[]);
        check("5.12.0", &[]);
        check("5.12-rc1", &[]);
        check("5.11.22-generic", &[&format!("the kernel (5.11.22-generic) has {swap}")]);
        check(
            "5.8.1",
            &[
                "the kernel (5.8.1) has no BPF links for XDP programs; Linux 5.9 and later do",
                &format!("the kernel (5.8.1) has {swap}"),
            ],
        );
        assert_eq!(old_kernel("4.19.0").len(), 3);
        check(
            "linux",
            &["cannot find out the kernel's version: `linux` does not begin with a number, a dot \
               and a number"],
        );
    }

    #[test]
    fn this_kernel() {
        let status = fs::read_to_string("/proc/self/status").expect("status");
        assert_eq!(missing_capabilities(&status), [""; 0], "run as root: it asks the kernel");
        // Tests of the data path run on this kernel too, so it has to have it all.
        assert_eq!(kernel(), []);
    }

    #[test]
    fn file_systems() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().display();
        let check = |path: &str, command: &str| {
            let path = directory.path().join(path);
            let want = Problem::NoBpffs { path: path.clone(), command: command.into() };
            assert_eq!(bpffs(&path), Some(want));
        };
        check("holdfast", &format!("mount -t bpf bpf {at}"));
        check("bpf/holdfast", &format!("mkdir -p {at}/bpf && mount -t bpf bpf {at}/bpf"));
        let problem = bpffs(&directory.path().join("holdfast")).expect("a problem");
        assert_eq!(
            problem.to_string(),
            format!(
                "agent.bpffs: {at}/holdfast is not in a BPF file system; mount one with `mount \
                 -t bpf bpf {at}`"
            )
        );
    }

    #[test]
    fn port_ranges() {
        let check = |range: &str, want: Option<(u16, u16)>| {
            let want = want.map(|(low, high)| Problem::LocalPorts { low, high });
            assert_eq!(local_ports(range), want, "{range}");
        };
        check("32768\t60999\n", None);
        check("32767\t60999\n", Some((32767, 60999)));
        check("1024\t65535\n", Some((1024, 65535)));
        check("100\t1023\n", None);
        check("100\t1024\n", Some((100, 1024)));
        let problem = local_ports("1024 65535").expect("a problem");
        assert_eq!(
            problem.to_string(),
            "pool.forward: `nat` gives flows the ports 1024 to 32767, but this machine's own \
             connections take theirs from 1024 to 65535; keep them apart with `sysctl -w \
             net.ipv4.ip_local_port_range=\"32768 60999\"`"
        );
        assert!(matches!(local_ports("x"), Some(Problem::Unknown { .. })));
    }
}
