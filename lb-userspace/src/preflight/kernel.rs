//! Capabilities of this process, and features of the kernel.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use super::{Problem, unknown};

/// Capabilities that the agent needs, by bit (linux/capability.h). Without `CAP_PERFMON` the
/// verifier walks speculative paths too, and refuses pointer arithmetic that is otherwise fine.
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// `CAP_SYS_ADMIN` includes `CAP_PERFMON` and `CAP_BPF`.
const SYS_ADMIN: u32 = 21;

/// `status`: text of /proc/self/status.
pub(super) fn missing_capabilities(status: &str) -> Vec<&'static str> {
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

/// The features that the kernel lacks.
pub(super) fn kernel() -> Vec<Problem> {
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
    probe("description of its types (CONFIG_DEBUG_INFO_BTF)", "5.4", Ok(Path::new(BTF).exists()));
    let found = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
