//! An instance of an earlier layout becomes one of the present layout, under traffic.
//!
//! The next instance is made beside the old one, filled from it, and gets its links one by one, each
//! with the program swapped in it; then it takes the old one's place. In which order, so that one
//! can be killed anywhere:
//!
//! 1. `D+next` is made and filled; packets go on by `D`. Left so, it is removed at the next start,
//!    and all begins anew.
//! 2. Each link gets the new program, and its pin moves to `D+next`. From the first one on
//!    `D+next` is the instance: a later start goes on from here.
//! 3. Pins that were made meanwhile are carried too, by that later start as well.
//! 4. `D` becomes `D+old`, `D+next` becomes `D`, and `D+old` is removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lb_common::maps::LAYOUT_VERSION;
use tracing::{info, warn};

use crate::{
    loader::{self, attached, link_pin},
    maps::{LbMaps as _, MapError, kernel::KernelMaps, older::Older},
};

/// An upgrade did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The old instance's maps could not be read, or the new ones not be filled.
    #[error("taking over the instance of an earlier version: {0}")]
    Map(#[from] MapError),
    /// The directories could not be changed.
    #[error("{path} cannot be moved or removed: {source}")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An upgrade under way; dropped before its end it leaves things as a later start wants them.
pub struct Upgrade {
    directory: PathBuf,
    next: PathBuf,
    older: Older,
}

/// Of the instance in `directory`, which stands in no other's way: no name in a configuration's
/// example has a plus sign.
fn beside(directory: &Path, what: &str) -> PathBuf {
    let mut path = directory.as_os_str().to_owned();
    path.push(what);
    path.into()
}

/// Where the next instance is made.
#[must_use]
pub fn next(directory: &Path) -> PathBuf {
    beside(directory, "+next")
}

fn old(directory: &Path) -> PathBuf {
    beside(directory, "+old")
}

/// Ends what an upgrade that was killed has left in the place of this instance and beside it. Fine
/// when there is nothing. True: another directory has taken the place of this one.
pub fn settle(directory: &Path) -> Result<bool, UpgradeError> {
    settle_with(directory, |next| {
        if let Some(older) = Older::find(directory)? {
            older.carry_late_pins(next)?;
        }
        Ok(())
    })
}

fn settle_with(
    directory: &Path,
    carry_late_pins: impl FnOnce(&Path) -> Result<(), MapError>,
) -> Result<bool, UpgradeError> {
    let next = next(directory);
    let mut replaced = false;
    if next.exists() {
        if attached(&next).map_err(failed(&next))?.is_empty() {
            remove(&next)?;
        } else {
            info!("{}: an upgrade that was begun goes on", directory.display());
            if let Err(error) = carry_late_pins(&next) {
                // What it has serves; better than to refuse each start from here on.
                warn!("pins that were made during the upgrade are lost: {error}");
            }
            replace(directory)?;
            replaced = true;
        }
    }
    remove(&old(directory))?;
    Ok(replaced)
}

/// Removes the instance, of whatever version it is, and what is beside it.
pub fn detach(directory: &Path) -> Result<(), UpgradeError> {
    remove(&next(directory))?;
    remove(&old(directory))?;
    remove(directory)
}

impl Upgrade {
    /// Of the instance that is there; `None`: it needs none.
    pub fn of(directory: &Path) -> Result<Option<Self>, UpgradeError> {
        let older = Older::find(directory)?;
        Ok(older.map(|older| Self {
            directory: directory.to_owned(),
            next: next(directory),
            older,
        }))
    }

    /// Where the program and its maps are to be loaded.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.next
    }

    /// Fills the new maps.
    pub fn fill(&mut self, maps: &mut KernelMaps) -> Result<(), UpgradeError> {
        info!("layout {} becomes {LAYOUT_VERSION}: carrying pins over", self.older.version());
        Ok(self.older.carry(maps)?)
    }

    /// Every link has the new program: what is left to do.
    pub fn finish(self, maps: &mut KernelMaps) -> Result<(), UpgradeError> {
        // The packets that the old program met have been dealt with.
        maps.grace_period()?;
        self.older.carry_late_pins(&self.next)?;
        replace(&self.directory)?;
        maps.moved_to(&self.directory);
        info!("the instance has layout {LAYOUT_VERSION}");
        Ok(())
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        // With a link in it, it serves; else it is a start that was refused.
        if attached(&self.next).is_ok_and(|links| links.is_empty())
            && let Err(error) = remove(&self.next)
        {
            warn!("{error}");
        }
    }
}

/// The next instance takes the place of this one.
fn replace(directory: &Path) -> Result<(), UpgradeError> {
    let (next, old) = (next(directory), old(directory));
    if directory.exists() {
        // Those of interfaces that the configuration does not name any more, or that an upgrade
        // did not come to: they keep the old program until a start gets to them.
        for interface in attached(directory).map_err(failed(directory))? {
            let (from, to) = (link_pin(directory, &interface), link_pin(&next, &interface));
            fs::rename(&from, to).map_err(failed(&from))?;
        }
        remove(&old)?;
        fs::rename(directory, &old).map_err(failed(directory))?;
    }
    fs::rename(&next, directory).map_err(failed(&next))?;
    remove(&old)
}

fn remove(directory: &Path) -> Result<(), UpgradeError> {
    loader::remove(directory).map_err(failed(directory))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> UpgradeError {
    let path = path.to_owned();
    move |source| UpgradeError::Directory { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a directory with these files, which stand for pins.
    fn make(directory: &Path, names: &[&str]) {
        fs::create_dir(directory).expect("a directory");
        for name in names {
            fs::write(directory.join(name), directory.as_os_str().as_encoded_bytes())
                .expect("a file");
        }
    }

    /// The names in the instance's directory, sorted; and that nothing is beside it.
    #[track_caller]
    fn check(directory: &Path, want: &[&str]) {
        let names = fs::read_dir(directory).expect("it is there");
        let mut names: Vec<_> = names
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, want);
        assert!(!next(directory).exists() && !old(directory).exists());
    }

    /// Settles; pins are carried to where there is something, before that takes the old one's place.
    fn settle_here(at: &Path) -> Result<bool, UpgradeError> {
        let mut carried = false;
        let settled = settle_with(at, |to| {
            carried = to == next(at) && to.exists();
            Ok(())
        });
        assert_eq!(carried, settled.as_ref().is_ok_and(|replaced| *replaced));
        settled
    }

    fn maker(file: &Path) -> PathBuf {
        String::from_utf8(fs::read(file).expect("a file")).expect("text").into()
    }

    #[test]
    fn an_upgrade_may_be_killed_anywhere() {
        let folder = tempfile::tempdir().expect("a directory");
        let at = folder.path().join("instance");
        // Nothing, or nothing beside it.
        assert!(!settle_here(&at).expect("nothing to do"));
        assert!(!at.exists());
        make(&at, &["META", "link-eth0", "link-eth1"]);
        settle_here(&at).expect("nothing to do");
        check(&at, &["META", "link-eth0", "link-eth1"]);
        // While it was filled.
        make(&next(&at), &["META", "PINS"]);
        settle_here(&at).expect("settled");
        check(&at, &["META", "link-eth0", "link-eth1"]);
        // Between two links.
        make(&next(&at), &["META", "PINS", "link-eth0"]);
        fs::remove_file(at.join("link-eth0")).expect("moved");
        assert!(settle_here(&at).expect("settled"));
        check(&at, &["META", "PINS", "link-eth0", "link-eth1"]);
        assert_eq!(maker(&at.join("META")), next(&at));
        assert_eq!(maker(&at.join("link-eth1")), at, "the link itself stays");
        // Between the two renames.
        make(&next(&at), &["META", "link-eth0"]);
        fs::rename(&at, old(&at)).expect("renamed");
        settle_here(&at).expect("settled");
        check(&at, &["META", "link-eth0"]);
        // Before the old one was removed.
        make(&old(&at), &["META"]);
        settle_here(&at).expect("settled");
        check(&at, &["META", "link-eth0"]);
        // Taken off in the middle, with a pin that this version does not know.
        make(&next(&at), &["META", "link-eth7"]);
        make(&old(&at), &["META", "unknown"]);
        detach(&at).expect("removed");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
