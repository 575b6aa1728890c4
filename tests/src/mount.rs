//! A bpffs of a test's own.

use std::path::{Path, PathBuf};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use tempfile::TempDir;

/// A bpffs mounted in a temporary directory; gone when this is dropped.
///
/// It is mounted in a mount namespace of the thread's own, so that nothing is left of it when the
/// test is killed either. Whoever uses its paths must therefore be the thread that made it.
pub struct Mount {
    directory: TempDir,
}

impl Mount {
    /// Mounts one.
    ///
    /// # Panics
    ///
    /// Without root: these tests are never skipped in silence.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is an act, not a value")]
    pub fn new() -> Self {
        assert!(
            geteuid().is_root(),
            "THIS TEST NEEDS ROOT: it loads the XDP program. Run it with sudo; it is not skipped."
        );
        let directory = TempDir::with_prefix("holdfast-test-").expect("a temporary directory");
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).expect("private mounts");
        mount(Some("bpf"), directory.path(), Some("bpf"), MsFlags::empty(), nothing)
            .expect("a bpffs");
        Self { directory }
    }

    /// A directory in it that is not there yet.
    #[must_use]
    pub fn instance(&self) -> PathBuf {
        self.directory.path().join("instance")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.path(), MntFlags::MNT_DETACH) {
            eprintln!("{}: not unmounted: {error}", self.path().display());
        }
    }
}
