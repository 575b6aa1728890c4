//! The paths of `[agent]`: socket, state directory, and the instance's directory in bpffs.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Component, Path},
};

use nix::{
    sys::statfs::{
        BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType,
        PROC_SUPER_MAGIC, SECURITYFS_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, statfs,
    },
    unistd::{AccessFlags, eaccess},
};

use super::{Problem, unknown};
use crate::{agent::instance::State, config::Agent, loader};

/// File systems of the kernel's own, in which no file can be made.
const WITHOUT_FILES: [FsType; 8] = [
    BPF_FS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    PROC_SUPER_MAGIC,
    SECURITYFS_MAGIC,
    SYSFS_MAGIC,
    TRACEFS_MAGIC,
];

/// What is wrong with the paths, and the state if there is one. `privileged`: this process is one
/// that could run the agent; else what it may not is not asked.
pub(super) fn check(agent: &Agent, privileged: bool) -> (Vec<Problem>, Option<State>) {
    let bad = |key, path: &Path, why| Problem::Path { key, path: path.to_owned(), why };
    let mut problems = Vec::new();
    problems.extend(socket(agent, privileged).map(|why| bad("admin", &agent.admin, why)));
    problems.extend(bpffs(&agent.bpffs));
    let mut state = None;
    if let Some(why) = unusable(&agent.state, privileged) {
        problems.push(bad("state", &agent.state, why));
    } else if privileged {
        match existing_state(&agent.state) {
            Ok(there) => state = there,
            Err(why) => problems.push(bad("state", &agent.state, why)),
        }
    }
    (problems, state)
}

/// Why a directory cannot be had there, with files in it.
fn unusable(directory: &Path, privileged: bool) -> Option<String> {
    let there = first_existing(directory)?;
    match fs::metadata(there) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Some(format!("{} is not a directory", there.display())),
        Err(error) => return Some(format!("{}: {error}", there.display())),
    }
    if statfs(there).is_ok_and(|found| WITHOUT_FILES.contains(&found.filesystem_type())) {
        return Some(format!("{} is in a file system that holds no files", there.display()));
    }
    if !privileged {
        return None;
    }
    let access = eaccess(there, AccessFlags::W_OK | AccessFlags::X_OK);
    access.err().map(|error| format!("{}: {}", there.display(), error.desc()))
}

/// The path itself, or what of it is there. A link that leads nowhere is there.
fn first_existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|one| one.symlink_metadata().is_ok())
}

fn socket(agent: &Agent, privileged: bool) -> Option<String> {
    let path = &agent.admin;
    if let Ok(there) = path.symlink_metadata()
        && !there.file_type().is_socket()
    {
        return Some("it is there and is no socket".to_owned());
    }
    for (key, directory) in [("state", &agent.state), ("bpffs", &agent.bpffs)] {
        if directory.starts_with(path) {
            return Some(format!("it is a directory for agent.{key}"));
        }
    }
    unusable(path.parent()?, privileged)
}

fn existing_state(directory: &Path) -> Result<Option<State>, String> {
    for name in ["lock", "state.json"] {
        let path = directory.join(name);
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Err(format!("{} is there and is no file", path.display()));
        }
    }
    State::read(directory).map_err(|error| error.to_string())
}

fn bpffs(path: &Path) -> Option<Problem> {
    let bad = |why| Some(Problem::Path { key: "bpffs", path: path.to_owned(), why });
    // The instance's own directory is made at its first start.
    let there = first_existing(path)?;
    if there.metadata().is_ok_and(|found| !found.is_dir()) {
        return bad(format!("{} is not a directory", there.display()));
    }
    match statfs(there) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => {
            if there == path && loader::is_mount(path).unwrap_or(false) {
                return bad(loader::WHOLE_BPFFS.to_owned());
            }
            let to_make = path.strip_prefix(there).unwrap_or(path).components();
            let dotted = |part: Component<'_>| part.as_os_str().as_encoded_bytes().contains(&b'.');
            if to_make.into_iter().any(dotted) {
                return bad("a BPF file system takes no name with a dot in it".to_owned());
            }
            None
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    /// What is said about an agent with these paths, in `directory` unless they are absolute.
    fn said(directory: &Path, admin: &str, state: &str) -> Vec<String> {
        let text = "[agent]\ninterfaces = [\"eth0\"]\n[[pool]]\nname = \"p\"\nbackend = [{ name = \
                    \"b\", address = \"10.0.0.1\" }]\n[[listener]]\nname = \"l\"\nprotocol = \
                    \"tcp\"\naddress = \"203.0.113.1:80\"\npool = \"p\"\n";
        let config = crate::config::parse(text, Path::new("t.toml")).expect("configuration");
        let agent = Agent {
            admin: directory.join(admin),
            state: directory.join(state),
            bpffs: "/sys/x/bpf".into(),
            ..config.agent
        };
        let (problems, _) = check(&agent, true);
        let problems = problems.iter().map(ToString::to_string);
        problems.filter(|text| !text.contains("agent.bpffs")).collect()
    }

    #[test]
    fn socket_and_state() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let shown = at.display();
        for name in ["dir", "locked/lock", "blocked/state.json", "broken"] {
            fs::create_dir_all(at.join(name)).expect("a directory");
        }
        fs::write(at.join("file"), "x").expect("a file");
        fs::write(at.join("broken/state.json"), "{").expect("a file");
        symlink("/nowhere/at/all", at.join("dangling")).expect("a link");
        symlink(at.join("dir"), at.join("link")).expect("a link");
        let _socket = UnixListener::bind(at.join("socket")).expect("a socket");
        let check = |admin: &str, state: &str, want: &[String]| {
            assert_eq!(said(at, admin, state), want, "{admin} {state}");
        };
        check("socket", "dir", &[]);
        check("new", "link", &[]);
        check("new/er/socket", "new/state/of/things", &[]);
        let bad = |key: &str, path: &str, why: String| {
            let path = at.join(path);
            [format!("agent.{key}: {} cannot be used: {why}", path.display())]
        };
        let no_socket = || "it is there and is no socket".to_owned();
        check("file", "dir", &bad("admin", "file", no_socket()));
        check("dir", "state", &bad("admin", "dir", no_socket()));
        check("link", "state", &bad("admin", "link", no_socket()));
        check("new", "new", &bad("admin", "new", "it is a directory for agent.state".into()));
        let no_directory = |path: &str| format!("{shown}/{path} is not a directory");
        check("file/a/b", "dir", &bad("admin", "file/a/b", no_directory("file")));
        check("new", "file", &bad("state", "file", no_directory("file")));
        check("new", "file/state", &bad("state", "file/state", no_directory("file")));
        let nowhere = format!("{shown}/dangling: No such file or directory (os error 2)");
        check("new", "dangling", &bad("state", "dangling", nowhere));
        let no_file = |path: &str| format!("{shown}/{path} is there and is no file");
        check("new", "locked", &bad("state", "locked", no_file("locked/lock")));
        check("new", "blocked", &bad("state", "blocked", no_file("blocked/state.json")));
        let kernel = |key: &str, path: &str, there: &str| {
            bad(key, path, format!("{there} is in a file system that holds no files"))
        };
        check("new", "/proc/x/y", &kernel("state", "/proc/x/y", "/proc"));
        check("/sys/a/b", "dir", &kernel("admin", "/sys/a/b", "/sys"));
        let [damaged] = said(at, "new", "broken").try_into().expect("one problem");
        let place =
            format!("agent.state: {shown}/broken cannot be used: {shown}/broken/state.json");
        assert!(damaged.starts_with(&format!("{place} is damaged")), "{damaged}");
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
        fs::write(directory.path().join("file"), "x").expect("a file");
        let problem = bpffs(&directory.path().join("file/holdfast")).expect("a problem");
        let want = format!("{at}/file/holdfast cannot be used: {at}/file is not a directory");
        assert_eq!(problem.to_string(), format!("agent.bpffs: {want}"));
        let mounts = ["/proc", "/proc/self", directory.path().to_str().expect("text")];
        let found = mounts.map(|path| loader::is_mount(path.as_ref()).expect("it is there"));
        assert_eq!(found, [true, false, false]);
    }
}
