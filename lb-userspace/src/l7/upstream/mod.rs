//! One worker's connections to one backend.
//!
//! Owns how many there are, which are kept, and who waits for one. Never chooses a backend.

pub mod connect;
pub mod http1;
pub mod http2;
pub mod retry;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{sync::oneshot, time::timeout};

use super::{
    body::{BackendBody, RequestBody},
    progress::{Phase, Progress},
    timers::Timers,
    tls::Outgoing,
};
use crate::config::http::{HttpVersion, PoolHttp};
use connect::{Socket, Wanted};

/// A connection that was idle for longer is closed: servers close theirs after a minute and more.
const KEEP_IDLE_MS: u64 = 30_000;
/// Streams of an HTTP/2 connection to a backend.
const STREAMS: u32 = 100;

/// Connections to a backend.
#[derive(Debug)]
pub struct Upstream {
    address: IpAddr,
    port: Option<u16>,
    http: PoolHttp,
    tls: Option<Outgoing>,
    /// Requests that may be under way.
    room: u32,
    /// Requests that may wait.
    queue: usize,
    active: Cell<u32>,
    #[expect(clippy::vec_box, reason = "a connection is large, and moves with each request")]
    idle: RefCell<Vec<Box<http1::Connection>>>,
    multiplexed: RefCell<Vec<http2::Connection>>,
    opening: tokio::sync::Mutex<()>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    timers: Rc<Timers>,
}

/// What an answer is made of.
#[derive(Debug)]
pub enum Answer {
    /// A head, and a body on its way.
    Plain(Response<BackendBody>),
    /// 101: from here on the connection speaks another protocol. What came of that already.
    Switched(Response<()>, Socket, bytes::Bytes, Permit),
}

/// There is no answer.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub why: Trouble,
    /// It was certainly not processed.
    pub unprocessed: bool,
    /// The request, where none of it was sent.
    pub request: Option<Box<Request<RequestBody>>>,
}

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// As many requests as may wait for it do.
    #[error("its queue is full")]
    QueueFull,
    /// No connection became free.
    #[error("no connection to it became free in time")]
    QueueLate,
    /// It took no connection.
    #[error("connect: {0}")]
    Connect(std::io::Error),
    /// It took none in time.
    #[error("it accepted no connection in time")]
    ConnectLate,
    /// The connection ended, or what came was no HTTP.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// It gave no answer in time.
    #[error("no answer in time")]
    Late(Phase),
    /// It closed a connection that had served before, without a byte of an answer.
    #[error("it closed the connection without an answer")]
    Closed,
}

/// The right to have a request under way.
#[derive(Debug)]
pub struct Permit(Rc<Upstream>);

impl Drop for Permit {
    fn drop(&mut self) {
        let upstream = &self.0;
        upstream.active.set(upstream.active.get() - 1);
        let mut waiting = upstream.waiting.borrow_mut();
        while let Some(next) = waiting.pop_front() {
            // Who gave up meanwhile does not count.
            if next.send(()).is_ok() {
                break;
            }
        }
    }
}

/// What a client's connection has to do with the one to the backend.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// Where it connected to.
    pub listener: SocketAddr,
}

impl Upstream {
    /// To a backend; one of `workers` who share its limits.
    #[must_use]
    pub fn new(
        address: IpAddr,
        port: Option<u16>,
        http: &PoolHttp,
        tls: Option<&Outgoing>,
        workers: u32,
        timers: &Rc<Timers>,
    ) -> Rc<Self> {
        let share = |of: u32| of.div_ceil(workers.max(1));
        let connections = share(http.connections);
        let room = match http.version {
            HttpVersion::One => connections,
            HttpVersion::Two => connections.saturating_mul(STREAMS),
        };
        Rc::new(Self {
            address,
            port,
            http: http.clone(),
            tls: tls.cloned(),
            room,
            queue: share(http.queue) as usize,
            active: Cell::new(0),
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            opening: tokio::sync::Mutex::new(()),
            waiting: RefCell::default(),
            timers: Rc::clone(timers),
        })
    }

    /// Requests under way, of this worker.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Sends a request; `interim` is told of answers before the answer.
    pub async fn send(
        self: &Rc<Self>,
        request: Request<RequestBody>,
        ends: Ends,
        progress: &Rc<Progress>,
        connect_timeout: Duration,
        interim: impl FnMut(StatusCode, HeaderMap),
    ) -> Result<Answer, Failed> {
        let unsent =
            |why, request| Failed { why, unprocessed: true, request: Some(Box::new(request)) };
        // What a request seldom needs has memory of its own, so that others do not carry it along.
        let permit = match self.permit() {
            Some(permit) => permit,
            None => match Box::pin(self.wait()).await {
                Ok(permit) => permit,
                Err(why) => return Err(unsent(why, request)),
            },
        };
        let wanted = Wanted {
            address: SocketAddr::new(self.address, self.port.unwrap_or(ends.listener.port())),
            tls: self.tls.as_ref(),
            proxy: self.http.send_proxy.map(|version| (version, ends)),
            timeout: connect_timeout,
        };
        match self.http.version {
            HttpVersion::One => {
                let kept = if wanted.proxy.is_some() { None } else { self.kept(&wanted) };
                let connection = match kept {
                    Some(kept) => kept,
                    None => match Box::pin(http1::Connection::open(&wanted)).await {
                        Ok(new) => new,
                        Err(why) => return Err(unsent(why, request)),
                    },
                };
                http1::exchange(connection, request, permit, progress, interim).await
            }
            HttpVersion::Two => {
                let stream = match Box::pin(self.stream(&wanted)).await {
                    Ok(stream) => stream,
                    Err(why) => return Err(unsent(why, request)),
                };
                Box::pin(http2::exchange(stream, request, permit, progress)).await
            }
        }
    }

    fn permit(self: &Rc<Self>) -> Option<Permit> {
        (self.active.get() < self.room).then(|| {
            self.active.set(self.active.get() + 1);
            Permit(Rc::clone(self))
        })
    }

    async fn wait(self: &Rc<Self>) -> Result<Permit, Trouble> {
        loop {
            if let Some(permit) = self.permit() {
                return Ok(permit);
            }
            let (sender, receiver) = oneshot::channel();
            {
                let mut waiting = self.waiting.borrow_mut();
                if waiting.len() >= self.queue {
                    waiting.retain(|one| !one.is_closed());
                    if waiting.len() >= self.queue {
                        return Err(Trouble::QueueFull);
                    }
                }
                waiting.push_back(sender);
            }
            // Sent, or dropped with all that waited: it is another look that counts.
            match timeout(self.http.queue_timeout, receiver).await {
                Ok(_) => {}
                Err(_) => return Err(Trouble::QueueLate),
            }
        }
    }

    /// An idle connection that is still good; the one used last.
    fn kept(&self, wanted: &Wanted<'_>) -> Option<Box<http1::Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(at) = idle.iter().rposition(|one| one.address() == wanted.address) {
            let mut one = idle.swap_remove(at);
            if one.is_good() {
                return Some(one);
            }
        }
        None
    }

    fn keep(&self, mut connection: Box<http1::Connection>) {
        connection.idle_since_ms = self.timers.now_ms();
        self.idle.borrow_mut().push(connection);
    }

    /// A connection with room for another stream.
    async fn stream(self: &Rc<Self>, wanted: &Wanted<'_>) -> Result<http2::Stream, Trouble> {
        let found = || {
            let mut all = self.multiplexed.borrow_mut();
            all.retain(http2::Connection::is_good);
            let fits = |one: &&http2::Connection| one.address() == wanted.address;
            all.iter().filter(fits).find_map(|one| one.stream(STREAMS))
        };
        if wanted.proxy.is_none()
            && let Some(stream) = found()
        {
            return Ok(stream);
        }
        let _one_at_a_time = self.opening.lock().await;
        if wanted.proxy.is_none()
            && let Some(stream) = found()
        {
            return Ok(stream);
        }
        let new = http2::Connection::open(wanted, &self.timers).await?;
        let stream = new.stream(STREAMS).ok_or(Trouble::Closed)?;
        if wanted.proxy.is_none() {
            self.multiplexed.borrow_mut().push(new);
        }
        Ok(stream)
    }

    /// Closes what was idle for long, or is closed at the other end.
    pub fn tidy(&self) {
        let now = self.timers.now_ms();
        self.idle
            .borrow_mut()
            .retain_mut(|one| now < one.idle_since_ms + KEEP_IDLE_MS && one.is_good());
        self.multiplexed.borrow_mut().retain(|one| one.is_good() && !one.is_idle_for(KEEP_IDLE_MS));
    }
}
