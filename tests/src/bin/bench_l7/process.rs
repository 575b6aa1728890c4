//! What processes use: CPU time and memory.

use std::{fs, time::Duration};

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// A process and what it started.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(children(parent));
        next += 1;
    }
    all
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        // It may have ended meanwhile.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parent_of(&stat) == Some(parent)
    };
    pids.filter(is_child).collect()
}

/// From a process's `stat` (proc(5)): the fourth field, and the second, a name in brackets, may have
/// anything in it.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// What all their threads have had of the CPU, also those that have ended.
pub(crate) fn cpu_time(pids: &[u32]) -> Duration {
    let of = |pid: &u32| {
        let pid = Pid::from_raw(i32::try_from(*pid).expect("a process id"));
        let clock = clock_getcpuclockid(pid).unwrap_or_else(|e| panic!("process {pid}: {e}"));
        let time = clock_gettime(clock).unwrap_or_else(|e| panic!("process {pid}: {e}"));
        Duration::from(time)
    };
    pids.iter().map(of).sum()
}

/// Their memory, what is shared in parts (PSS), in KiB.
pub(crate) fn memory_kib(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        pss_kib(&text).unwrap_or_else(|| panic!("{path}: {text}"))
    };
    pids.iter().map(of).sum()
}

fn pss_kib(rollup: &str) -> Option<u64> {
    let value = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        for (stat, want) in [
            ("12 (nginx) S 7 12 12 0", Some(7)),
            ("12 (a) b (c) R 8 12", Some(8)),
            ("12 (gone", None),
            ("", None),
        ] {
            assert_eq!(parent_of(stat), want, "{stat}");
        }
    }

    #[test]
    fn what_smaps_says() {
        let rollup =
            "55-7f ---p 0 00:00 0 [rollup]\nRss:  9000 kB\nPss:   4711 kB\nPss_Anon: 3 kB\n";
        assert_eq!(pss_kib(rollup), Some(4711));
        assert_eq!(pss_kib("Rss: 1 kB\n"), None);
    }

    #[test]
    fn of_this_process() {
        let this = std::process::id();
        assert_eq!(family(this).first(), Some(&this));
        assert!(cpu_time(&[this]) > Duration::ZERO);
        assert!(memory_kib(&[this]) > 0);
    }
}
