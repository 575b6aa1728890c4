//! The sidecar's process: takes orders on its first descriptor, and gives them to its workers.
//!
//! Owns its life: fenced in before anything else, gone when the agent wants it or all that was under
//! way is done. Never serves a request itself.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};
use tracing::{error, info, warn};

use super::{
    channel::{self, Receiver, Sender},
    fence,
    limits::Shared,
    messages::{Order, Report, Totals},
    tls::Tickets,
    view::View,
    wall,
    worker::{self, Task},
};

/// The descriptor that orders come on.
pub const ORDERS: i32 = 3;

/// Runs as the sidecar until its work is done.
///
/// # Safety
///
/// [`ORDERS`] is a connected Unix stream of nobody else in this process.
pub unsafe fn run(user: &str) -> anyhow::Result<()> {
    // SAFETY: the caller says so.
    let orders = unsafe { UnixStream::from(OwnedFd::from_raw_fd(ORDERS)) };
    let fenced = fence::enter(user)?;
    info!("sidecar: {fenced}");
    orders.set_nonblocking(true).context("orders")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::UnixStream::from_std(orders).context("orders")?;
        let (reports, orders) = channel::channel(stream);
        Sidecar::begin(orders, reports).await
    })
}

struct Sidecar {
    workers: Vec<Worker>,
    tickets: Tickets,
    reports: Sender<Report>,
    /// Where the next agent comes when this one is gone.
    door: UnixListener,
    /// For that one.
    sockets: Vec<(SocketAddr, OwnedFd)>,
}

struct Worker {
    tasks: mpsc::UnboundedSender<Task>,
    /// What it has counted, when it has nothing more to do.
    ended: oneshot::Receiver<Totals>,
}

impl Sidecar {
    async fn begin(mut orders: Receiver<Order>, reports: Sender<Report>) -> anyhow::Result<()> {
        let Some((Order::Begin { workers }, Some(door))) = orders.receive().await? else {
            bail!("the first order is to begin");
        };
        let door = std::os::unix::net::UnixListener::from(door);
        door.set_nonblocking(true).context("the door")?;
        let door = UnixListener::from_std(door).context("the door")?;
        let shared = Arc::new(Shared::default());
        let spawn = |number| worker::spawn(number, workers, &shared);
        let workers = (0..workers).map(|number| {
            let (tasks, ended) = spawn(number)?;
            anyhow::Ok(Worker { tasks, ended })
        });
        let workers = workers.collect::<Result<_, _>>()?;
        let sockets = Vec::new();
        Self { workers, tickets: Tickets::new()?, reports, door, sockets }.serve(orders).await
    }

    /// For one agent after the other.
    async fn serve(mut self, mut orders: Receiver<Order>) -> anyhow::Result<()> {
        loop {
            match self.obey(orders).await {
                Ok(true) => return Ok(()),
                Ok(false) => warn!("sidecar: the agent is gone; it goes on as it is"),
                Err(error) => error!("sidecar: orders: {error:#}; it goes on as it is"),
            }
            let (next, _) = self.door.accept().await.context("the door")?;
            (self.reports, orders) = channel::channel(next);
        }
    }

    /// True: it was told to finish, and has.
    async fn obey(&mut self, mut orders: Receiver<Order>) -> anyhow::Result<bool> {
        while let Some((order, descriptor)) = orders.receive().await? {
            match order {
                Order::Begin { .. } => bail!("it has begun"),
                Order::Listen { address, worker } => {
                    let descriptor = descriptor.context("a socket comes with the order")?;
                    self.listen(address, worker, descriptor)?;
                }
                Order::Log => {
                    let file = descriptor.map(|fd| Arc::new(File::from(fd)));
                    self.tell(|| Task::Log(file.clone()));
                }
                Order::Serve { version, snapshot } => {
                    let report = match View::new(*snapshot, &self.tickets) {
                        Ok(view) => {
                            let view = Arc::new(view);
                            self.sockets.retain(|(at, _)| view.listener_at(*at).is_some());
                            self.tell(|| Task::Serve(Arc::clone(&view)));
                            Report::Serving { version }
                        }
                        Err(error) => Report::Refused { version, why: error.to_string() },
                    };
                    self.reports.send(&report, None).await?;
                }
                Order::Count => self.count().await?,
                Order::HandOver => self.hand_over().await?,
                Order::Finish { within_ms } => {
                    self.finish(Duration::from_millis(within_ms)).await;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn hand_over(&mut self) -> anyhow::Result<()> {
        for (address, socket) in &self.sockets {
            self.reports.send(&Report::Socket { address: *address }, Some(socket.as_fd())).await?;
        }
        self.reports.send(&Report::HandedOver, None).await?;
        Ok(())
    }

    fn tell(&self, task: impl Fn() -> Task) {
        for worker in &self.workers {
            // One that has failed has ended the process.
            let _gone = worker.tasks.send(task());
        }
    }

    fn listen(&mut self, address: SocketAddr, worker: u16, socket: OwnedFd) -> anyhow::Result<()> {
        self.sockets.push((address, socket.try_clone().context("a listening socket")?));
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).context("a listening socket")?;
        let worker = self.workers.get(usize::from(worker)).context("no such worker")?;
        let _gone = worker.tasks.send(Task::Listen(address, listener));
        Ok(())
    }

    async fn count(&mut self) -> anyhow::Result<()> {
        let mut totals = Totals::default();
        for worker in &self.workers {
            let (sender, counted) = oneshot::channel();
            let _gone = worker.tasks.send(Task::Count(sender));
            if let Ok(counted) = counted.await {
                totals.add(&counted);
            }
        }
        totals.collapse_sessions(wall::now_ms());
        self.reports.send(&Report::Counted(Box::new(totals)), None).await?;
        Ok(())
    }

    async fn finish(&mut self, within: Duration) {
        self.sockets.clear();
        self.tell(|| Task::Finish(within));
        let workers = std::mem::take(&mut self.workers);
        let mut totals = Totals::default();
        for worker in workers {
            if let Ok(counted) = worker.ended.await {
                totals.add(&counted);
            }
        }
        // Who asked may have gone.
        let _gone = self.reports.send(&Report::Counted(Box::new(totals)), None).await;
    }
}

/// Ends the process when a worker fails: the agent starts another.
pub(super) fn watch(name: &str, work: impl FnOnce() -> anyhow::Result<()>) {
    struct Fatal;
    impl Drop for Fatal {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::exit(1);
            }
        }
    }
    let _fatal = Fatal;
    if let Err(error) = work() {
        error!("sidecar, {name}: {error:#}");
        std::process::exit(1);
    }
}
