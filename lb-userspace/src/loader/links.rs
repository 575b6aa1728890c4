//! Attaches a program to interfaces, by links that bpffs keeps.
//!
//! A program that is replaced is replaced by link update, which is atomic: each packet meets the old
//! program or the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        ProgramError, Xdp, XdpMode as AyaMode,
        links::{FdLink, LinkError, PinnedLink},
        xdp::XdpLink,
    },
};
use lb_common::maps::PROGRAM;

use super::{LoadError, Loaded, named};
use crate::{config::XdpMode, upgrade};

/// How a program came to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It replaced the one that was there.
    Replaced,
    /// In the driver.
    Native,
    /// On socket buffers.
    Generic,
}

impl Loaded {
    /// Puts the program on an interface, by the link that is pinned there or by a new one.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, LoadError> {
        let before = self.before.as_ref().map(|before| link_pin(before, interface));
        let pin = link_pin(&self.directory, interface);
        let (ebpf, directory) = (&mut self.ebpf, self.directory.as_path());
        let mut linked = Linked { ebpf, directory, program: PROGRAM };
        if let Some(before) = before.filter(|before| before.exists()) {
            let kept = linked.replace(interface, &before);
            // The pin of a link that leads nowhere is dealt with below.
            if matches!(kept, Ok(()) | Err(LoadError::Attach { .. })) {
                let moved = fs::rename(&before, &pin);
                moved.map_err(|source| LoadError::Link {
                    interface: interface.to_owned(),
                    source,
                })?;
            }
        }
        linked.attach(interface, mode)
    }
}

/// An XDP program whose links are kept in a directory of bpffs.
pub(crate) struct Linked<'a> {
    pub(crate) ebpf: &'a mut Ebpf,
    pub(crate) directory: &'a Path,
    /// Its name.
    pub(crate) program: &'static str,
}

impl Linked<'_> {
    fn program(&mut self) -> Result<&mut Xdp, ProgramError> {
        named(self.ebpf, self.program)
    }

    /// As [`Loaded::attach`].
    pub(crate) fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, LoadError> {
        let pin = link_pin(self.directory, interface);
        if pin.exists() {
            match self.replace(interface, &pin) {
                Ok(()) => return Ok(Attached::Replaced),
                // The interface has gone and come back: the old link leads nowhere.
                Err(LoadError::Attach { .. }) => {
                    fs::remove_file(&pin).map_err(|source| LoadError::Link {
                        interface: interface.to_owned(),
                        source,
                    })?;
                }
                Err(other) => return Err(other),
            }
        }
        let native = || (AyaMode::Driver, Attached::Native);
        let generic = || (AyaMode::Skb, Attached::Generic);
        match mode {
            XdpMode::Native => self.attach_new(interface, native(), &pin),
            XdpMode::Generic => self.attach_new(interface, generic(), &pin),
            XdpMode::Auto => match self.attach_new(interface, native(), &pin) {
                Err(LoadError::Attach { .. }) => self.attach_new(interface, generic(), &pin),
                other => other,
            },
        }
    }

    fn replace(&mut self, interface: &str, pin: &Path) -> Result<(), LoadError> {
        let link = PinnedLink::from_pin(pin)
            .map_err(|error| link_error(interface, error))
            .map(FdLink::from)?;
        let link = XdpLink::try_from(link).map_err(|error| link_error(interface, error))?;
        let replaced = self.program().and_then(|program| {
            let id = program.attach_to_link(link)?;
            program.take_link(id)
        });
        // The link lives on by its pin.
        replaced.map(drop).map_err(|source| attach_error(interface, source))
    }

    fn attach_new(
        &mut self,
        interface: &str,
        (mode, attached): (AyaMode, Attached),
        pin: &Path,
    ) -> Result<Attached, LoadError> {
        let link = self
            .program()
            .and_then(|program| {
                let id = program.attach(interface, mode)?;
                program.take_link(id)
            })
            .map_err(|source| attach_error(interface, source))?;
        let link = FdLink::try_from(link).map_err(|error| link_error(interface, error))?;
        let pinned = link.pin(pin).map_err(|error| LoadError::Link {
            interface: interface.to_owned(),
            source: io::Error::other(error),
        })?;
        drop(pinned);
        Ok(attached)
    }
}

/// What is to be done where an interface has a program that is not this instance's.
pub const BUSY: &str = "another XDP program is attached: see `ip link show`, take it off with `ip \
                        link set DEV xdp off` or what put it there";

fn attach_error(interface: &str, source: ProgramError) -> LoadError {
    let busy = matches!(&source, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)));
    let hint = if busy { BUSY } else { "" };
    LoadError::Attach { interface: interface.to_owned(), source, hint }
}

fn link_error(interface: &str, error: LinkError) -> LoadError {
    LoadError::Link { interface: interface.to_owned(), source: io::Error::other(error) }
}

pub(super) const LINK_PREFIX: &str = "link-";

/// The pin of an interface's link.
pub(crate) fn link_pin(directory: &Path, interface: &str) -> PathBuf {
    // A dot may not stand in the name of a bpffs pin.
    directory.join(format!("{LINK_PREFIX}{}", interface.replace('.', "+")))
}

/// Id of the program that the link pinned for an interface carries, also where an upgrade has moved
/// it already; `None` where there is none, or where it leads nowhere any more.
#[must_use]
pub fn linked_program(directory: &Path, interface: &str) -> Option<u32> {
    let pinned = |directory: &Path| PinnedLink::from_pin(link_pin(directory, interface)).ok();
    let link = pinned(directory).or_else(|| pinned(&upgrade::next(directory)))?;
    Some(FdLink::from(link).info().ok()?.program_id())
}

/// Interfaces that have a pinned link.
pub fn attached(directory: &Path) -> io::Result<Vec<String>> {
    let mut interfaces = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(LINK_PREFIX)) {
            interfaces.push(name.replace('+', "."));
        }
    }
    interfaces.sort();
    Ok(interfaces)
}

/// Takes the program off an interface.
pub fn detach(directory: &Path, interface: &str) -> io::Result<()> {
    fs::remove_file(link_pin(directory, interface))
}
