//! How a sidecar gets from one agent to the next: it waits at a door for who comes when its agent is
//! gone, and gives its sockets back.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};
use tracing::{info, warn};

use crate::{
    api::open_socket,
    l7::{
        channel::{self, Receiver, Sender},
        messages::{Order, Report},
    },
};

/// A sidecar hands over in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the next agent finds the sidecar of this one. The file stays when the agent stops: the sidecar
/// has the socket.
pub(super) struct Door {
    pub(super) socket: OwnedFd,
}

/// The path of the door beside the admin socket.
#[must_use]
pub(super) fn path(admin: &Path) -> PathBuf {
    let mut name = admin.as_os_str().to_owned();
    name.push(".sidecar");
    name.into()
}

impl Door {
    /// Makes one, in the place of one that leads nowhere any more.
    pub(super) fn open(admin: &Path) -> io::Result<Self> {
        let path = path(admin);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { socket: open_socket(&path)?.into() })
    }
}

/// The sidecar of an agent before.
pub(super) struct Adopted {
    orders: Sender<Order>,
    /// Held: who hears nobody any more would wait for the next agent.
    reports: Receiver<Report>,
}

impl Adopted {
    /// Ends it, and waits for that.
    pub(super) async fn finish_now(mut self) {
        if self.orders.send(&Order::Finish { within_ms: 0 }, None).await.is_ok() {
            let ended = async { while let Ok(Some(_)) = self.reports.receive().await {} };
            let _late = timeout(PATIENCE, ended).await;
        }
    }

    /// Lets it finish what it has.
    pub(super) async fn finish(mut self, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = self.orders.send(&Order::Finish { within_ms }, None).await {
            warn!("the sidecar of the agent before: {error}");
        }
        drop(tokio::spawn(async move {
            // Until it has ended.
            while let Ok(Some(_)) = self.reports.receive().await {}
        }));
    }
}

/// Takes over from the sidecar that waits at the door, if one does: it goes on serving until it is told
/// to finish.
pub(super) async fn adopt(admin: &Path) -> Option<(Adopted, Vec<(SocketAddr, OwnedFd)>)> {
    let stream = UnixStream::connect(path(admin)).await.ok()?;
    match timeout(PATIENCE, take(stream)).await {
        Ok(Ok(taken)) => {
            info!("sidecar: the one of the agent before hands over {} sockets", taken.1.len());
            Some(taken)
        }
        Ok(Err(error)) => {
            warn!("sidecar: the one of the agent before does not hand over: {error}");
            None
        }
        Err(_) => {
            warn!("sidecar: the one of the agent before does not answer");
            None
        }
    }
}

async fn take(stream: UnixStream) -> io::Result<(Adopted, Vec<(SocketAddr, OwnedFd)>)> {
    let (mut orders, mut reports) = channel::channel::<Order, Report>(stream);
    orders.send(&Order::HandOver, None).await?;
    let mut sockets = Vec::new();
    loop {
        match reports.receive().await? {
            Some((Report::Socket { address }, Some(socket))) => sockets.push((address, socket)),
            Some((Report::HandedOver, _)) => return Ok((Adopted { orders, reports }, sockets)),
            Some(_) => {}
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
