//! The socket file: made so that only its owner can ever connect, removed only by who made it.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
        },
        stat::{Mode, fchmod},
    },
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Why the admin socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody serves it.
    #[error(
        "another agent answers on {}; stop that one first, or give this one another `agent.admin`",
        .0.display()
    )]
    Taken(PathBuf),
    /// The path leads to something else.
    #[error("{} is there and is no socket; it is left alone", .0.display())]
    NoSocket(PathBuf),
    /// A system call failed.
    #[error("{operation} {}: {source}", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The file that leads to a listening socket; it goes when this is dropped.
///
/// To be dropped before the socket is closed: the open socket keeps the inode's number from being
/// given to another agent's file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that another agent's file is never taken for this one.
    identity: (u64, u64),
}

/// Makes the socket at `path` with mode 0600, and its directory with mode 0755 if there is none.
///
/// A socket that nobody serves is replaced. Two agents that start at the same moment are told
/// apart by the instance's lock, which is taken before this.
pub(super) fn open(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let system = |operation| {
        move |source: io::Error| BindError::System { operation, path: path.to_owned(), source }
    };
    make_parent(path).map_err(system("create the directory of"))?;
    remove_stale(path)?;

    let socket = open_private(path).map_err(system("open"))?;
    let metadata = fs::symlink_metadata(path).map_err(system("read the mode of"))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&metadata) };
    if metadata.permissions().mode() & 0o077 != 0 {
        let source = io::Error::other("others may connect; the file system ignores its mode");
        return Err(system("protect")(source));
    }
    Ok((socket, file))
}

/// Makes a listening socket at `path`, where nothing may be, with mode 0600.
pub fn open_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // On Linux the file gets the mode that the socket has when it is bound, less the umask. So
    // there is no moment at which another user could connect.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(fd))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| identity(&metadata) == self.identity);
        if own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "admin socket not removed");
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if parent.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    // Against a narrow umask: who may not connect should hear so, not that no agent is there.
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755))
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let system = |operation| {
        move |source: io::Error| BindError::System { operation, path: path.to_owned(), source }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Does not wait, so that an agent that hangs with a full backlog is met with EAGAIN.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let answered = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|fd| connect(fd.as_raw_fd(), &UnixAddr::new(path)?));
    match answered {
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::Taken(path.to_owned())),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ECONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(system("remove the old socket")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        },
        Err(error) => Err(system("ask who serves")(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary directory")
    }

    #[test]
    fn the_file_is_private_and_goes_with_its_owner() {
        let directory = directory();
        let path = directory.path().join("a/b/admin.sock");
        let (_listener, file) = open(&path).expect("open");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&directory.path().join("a/b")), 0o755);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_served_socket_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("admin.sock");
        let (_listener, _file) = open(&path).expect("open");
        let error = open(&path).expect_err("a second one");
        assert!(matches!(error, BindError::Taken(_)), "{error}");
        assert!(error.to_string().contains("another agent answers on"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_served_socket_with_a_full_backlog_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("admin.sock");
        let (_listener, _file) = open(&path).expect("open");
        let address = UnixAddr::new(&path).expect("address");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let mut waiting = Vec::new();
        loop {
            let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("socket");
            if connect(fd.as_raw_fd(), &address).is_err() {
                break;
            }
            waiting.push(fd);
        }
        assert!(matches!(open(&path), Err(BindError::Taken(_))));
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let directory = directory();
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("a listener that leaves its file"));
        assert!(path.exists());
        let (_listener, file) = open(&path).expect("open over a stale one");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn another_one_s_socket_is_not_removed() {
        let directory = directory();
        let path = directory.path().join("admin.sock");
        let (_first_listener, first) = open(&path).expect("open");
        fs::remove_file(&path).expect("remove");
        let (_second_listener, _second) = open(&path).expect("open again");
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "x").expect("write");
        assert!(matches!(open(&path), Err(BindError::NoSocket(_))));
        assert_eq!(fs::read(&path).expect("read"), b"x");
        let link = directory.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        assert!(matches!(open(&link), Err(BindError::NoSocket(_))));
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let directory = directory();
        let path = directory.path().join("x".repeat(120));
        let error = open(&path).expect_err("too long");
        assert!(matches!(error, BindError::System { operation: "open", .. }), "{error}");
    }
}
