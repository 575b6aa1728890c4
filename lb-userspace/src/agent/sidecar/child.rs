//! A sidecar's process: started with its orders' stream as its only way to the agent.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::net::UnixStream as StdStream,
    process::Stdio,
};

use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

use crate::l7::{
    channel::{self, Receiver, Sender},
    messages::{Order, Report},
    process::ORDERS,
};

/// A sidecar that runs.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) orders: Sender<Order>,
    pub(super) reports: Receiver<Report>,
}

/// Starts one: this very program, by its own file, as it was when the agent started.
pub(super) fn start(user: &str) -> io::Result<Running> {
    let (near, far) = StdStream::pair()?;
    near.set_nonblocking(true)?;
    let far = OwnedFd::from(far);
    let raw = far.as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("holdfast")
        .args(["serve-http", "--user", user])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.kill_on_drop(false);
    let handed_over = move || {
        // SAFETY: both are numbers of descriptors; this runs between fork and exec, where only such
        // calls are allowed. `dup2` leaves the copy open over exec.
        let copied = unsafe { libc::dup2(raw, ORDERS) };
        if copied == raw {
            // Then it is still to be closed by exec.
            // SAFETY: as above.
            return match unsafe { libc::fcntl(raw, libc::F_SETFD, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            };
        }
        if copied == ORDERS { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: what it runs is allowed after fork, see there.
    unsafe { command.pre_exec(handed_over) };
    let child = command.spawn()?;
    drop(far);
    let (orders, reports) = channel::channel(UnixStream::from_std(near)?);
    Ok(Running { child, orders, reports })
}
