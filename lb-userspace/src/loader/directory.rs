//! An instance's directory in bpffs: what a start has made there, and how all of it goes.

use std::{
    collections::BTreeSet, ffi::OsString, fs, io, os::unix::fs::MetadataExt as _, path::Path,
};

use super::links::LINK_PREFIX;

/// What a start has made in the instance's directory; dropping it removes that again, unless
/// [`Self::keep`] says that the start went well. Holds no more than names: to be made and dropped
/// by who holds the instance's lock.
#[derive(Debug)]
pub struct Made<'a> {
    directory: &'a Path,
    /// What was there before; `None`: not even the directory.
    before: Option<BTreeSet<OsString>>,
    keep: bool,
}

impl<'a> Made<'a> {
    /// From now on; `fresh`: the directory has just been made.
    pub fn from_now(directory: &'a Path, fresh: bool) -> io::Result<Self> {
        let before = if fresh { None } else { Some(names(directory)?) };
        Ok(Self { directory, before, keep: false })
    }

    /// All of it stays.
    pub fn keep(mut self) {
        self.keep = true;
    }

    fn remove(&self) -> io::Result<()> {
        let before = self.before.as_ref();
        for name in names(self.directory)? {
            if !before.is_some_and(|before| before.contains(&name)) {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        if before.is_none() { fs::remove_dir(self.directory) } else { Ok(()) }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.remove()
        {
            tracing::warn!("{}: something of it is left: {error}", self.directory.display());
        }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Takes the program off every interface and removes the directory with whatever pins are in it: an
/// instance of another version has others. Fine when nothing is there.
pub fn remove(directory: &Path) -> io::Result<()> {
    let names = match names(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    if is_mount(directory)? {
        return Err(io::Error::other(WHOLE_BPFFS));
    }
    let is_link = |name: &OsString| name.as_encoded_bytes().starts_with(LINK_PREFIX.as_bytes());
    let (links, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_link);
    for name in links.into_iter().chain(others) {
        fs::remove_file(directory.join(name))?;
    }
    fs::remove_dir(directory)
}

/// Why a file system's root is no instance's directory.
pub const WHOLE_BPFFS: &str =
    "it is the BPF file system itself, which others use too: name a directory in it";

/// Is something mounted there?
pub fn is_mount(directory: &Path) -> io::Result<bool> {
    let device = |path: &Path| path.metadata().map(|found| found.dev());
    Ok(device(directory)? != device(&directory.join(".."))?)
}
