//! A worker: one thread, one runtime, and its own share of everything, so that no request waits for
//! a lock or another thread.

mod choose;
mod client;
mod connection;
mod http1;
mod http2;
mod log;
mod persist;
mod proxied;
mod request;
mod respond;
mod state;
mod tally;
mod tunnel;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{limits::Shared, messages::Totals, process, timers::Timers, view::View};
use log::Log;
use state::State;

/// What a worker is told.
pub(super) enum Task {
    /// Take connections there.
    Listen(SocketAddr, std::net::TcpListener),
    /// Write the access log there, or nowhere.
    Log(Option<Arc<File>>),
    /// Serve by this.
    Serve(Arc<View>),
    /// Say what was counted.
    Count(oneshot::Sender<Totals>),
    /// Take no new connections, and end when all are done; cut off what is not done by then.
    Finish(Duration),
}

/// Deadlines are looked at so often.
const SWEEP: Duration = Duration::from_millis(50);
/// Sweeps between two looks at idle connections to backends.
const TIDY: u32 = 20;

/// What a worker works with.
struct Worker {
    shared: Arc<Shared>,
    timers: Rc<Timers>,
    /// `None`: nothing to serve by yet.
    state: RefCell<Option<Rc<State>>>,
    number: u16,
    workers: u16,
    log: Log,
    /// Connections of clients.
    open: Cell<u32>,
    /// New requests are each connection's last.
    finishing: Cell<bool>,
    /// What is not done is cut off.
    cut: Cell<bool>,
    random: RefCell<fastrand::Rng>,
}

/// Where connections are taken.
#[derive(Default)]
struct Listening {
    /// Sockets that the view does not know, which comes after them: their connections wait there,
    /// in the kernel, and are not reset.
    waiting: Vec<(SocketAddr, std::net::TcpListener)>,
    accepting: HashMap<SocketAddr, JoinHandle<()>>,
}

impl Listening {
    /// Takes connections where the view has a listener, and nowhere else.
    fn follow(&mut self, worker: &Rc<Worker>) {
        let Some(state) = worker.state() else { return };
        let known = |address: SocketAddr| state.view.listener_at(address).is_some();
        self.accepting.retain(|address, accepting| {
            let stays = known(*address);
            if !stays {
                accepting.abort();
            }
            stays
        });
        for (address, listener) in self.waiting.extract_if(.., |(address, _)| known(*address)) {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { continue };
            let accept = connection::accept(Rc::clone(worker), address, listener);
            if let Some(old) = self.accepting.insert(address, spawn_local(accept)) {
                old.abort();
            }
        }
    }

    /// Takes none any more.
    fn end(&mut self) {
        self.waiting.clear();
        for (_, accepting) in self.accepting.drain() {
            accepting.abort();
        }
    }
}

/// Starts a worker; its tasks, and what it has counted once it has ended.
pub(super) fn spawn(
    number: u16,
    workers: u16,
    shared: &Arc<Shared>,
) -> anyhow::Result<(mpsc::UnboundedSender<Task>, oneshot::Receiver<Totals>)> {
    let (sender, tasks) = mpsc::unbounded_channel();
    let (ending, ended) = oneshot::channel();
    let shared = Arc::clone(shared);
    let name = format!("worker {number}");
    let work = move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .context("cannot start the runtime")?;
        let totals = runtime.block_on(async {
            let worker = Rc::new(Worker {
                shared,
                timers: Timers::new(),
                state: RefCell::new(None),
                number,
                workers,
                log: Log::default(),
                open: Cell::new(0),
                finishing: Cell::new(false),
                cut: Cell::new(false),
                random: RefCell::new(fastrand::Rng::new()),
            });
            worker.work(tasks).await
        });
        // Who started it may have gone.
        let _gone = ending.send(totals);
        Ok(())
    };
    let _detached = thread::Builder::new()
        .name(name.clone())
        .spawn(move || process::watch(&name, work))
        .context("cannot start a thread")?;
    Ok((sender, ended))
}

impl Worker {
    async fn work(self: Rc<Self>, mut tasks: mpsc::UnboundedReceiver<Task>) -> Totals {
        let mut listening = Listening::default();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = 0_u32;
        loop {
            tokio::select! {
                biased;
                _now = sweep.tick() => {
                    self.timers.sweep();
                    sweeps = sweeps.wrapping_add(1);
                    if sweeps.is_multiple_of(TIDY) && let Some(state) = self.state() {
                        state.tidy();
                    }
                    self.log.flush();
                    if self.finishing.get() && self.open.get() == 0 {
                        return self.totals();
                    }
                }
                task = tasks.recv() => match task {
                    None => return self.totals(),
                    Some(Task::Listen(address, listener)) => {
                        listening.waiting.push((address, listener));
                        listening.follow(&self);
                    }
                    Some(Task::Log(file)) => self.log.write_to(file),
                    Some(Task::Serve(view)) => {
                        self.serve(&view);
                        listening.follow(&self);
                        listening.waiting.clear();
                    }
                    Some(Task::Count(reply)) => drop(reply.send(self.totals())),
                    Some(Task::Finish(within)) => {
                        listening.end();
                        self.finishing.set(true);
                        self.timers.wake_all();
                        let worker = Rc::clone(&self);
                        drop(spawn_local(async move {
                            sleep(within).await;
                            worker.cut.set(true);
                            worker.timers.wake_all();
                        }));
                    }
                },
            }
        }
    }

    fn state(&self) -> Option<Rc<State>> {
        self.state.borrow().clone()
    }

    fn serve(&self, view: &Arc<View>) {
        let before = self.state();
        self.log.format(view.settings.access_log.as_ref().map(|log| log.format));
        let next = State::new(view, before.as_deref(), self.number, self.workers, &self.timers);
        *self.state.borrow_mut() = Some(Rc::new(next));
    }

    fn totals(&self) -> Totals {
        let mut totals = self.state().map(|state| state.totals()).unwrap_or_default();
        totals.connections = self.open.get().into();
        totals.log_lost = self.log.lost();
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn connections_wait_for_a_view() {
        let (tasks, _ended) = spawn(0, 1, &Arc::new(Shared::default())).expect("a thread");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        tasks.send(Task::Listen(address, listener)).expect("it runs");
        let mut client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let read = client.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "neither answered nor closed");
    }
}
