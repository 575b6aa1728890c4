//! Network namespaces that last as long as a test.

use std::{net::IpAddr, process::Command, sync::mpsc as jobs, thread};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Pid, Uid, gettid},
};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, which lasts as long as its thread.
pub(crate) struct Namespace {
    pub(crate) thread: Pid,
    jobs: jobs::Sender<Job>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        assert!(Uid::effective().is_root(), "network namespaces need root: run this test as root");
        let (jobs, queue) = jobs::channel::<Job>();
        let (ready, thread) = jobs::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(gettid()).expect("the test waits");
            while let Ok(job) = queue.recv() {
                job();
            }
        });
        let namespace = Self { thread: thread.recv().expect("a namespace"), jobs };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `job` in the namespace.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = jobs::channel();
        let job = move || done.send(job()).expect("the test waits");
        self.jobs.send(Box::new(job)).expect("the namespace's thread runs");
        result.recv().expect("the job did not panic")
    }

    /// Runs `ip` with these arguments in the namespace; panics when it fails.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output =
                Command::new("ip").args(arguments.split_whitespace()).output().expect("ip runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {error}");
            String::from_utf8(output.stdout).expect("text")
        })
    }

    pub(crate) fn index(&self, interface: &str) -> u32 {
        let link = self.ip(&format!("-o link show {interface}"));
        link.split(':').next().and_then(|n| n.parse().ok()).expect("an index")
    }
}

pub(crate) const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// The balancer's namespace with `eth0`, the backends' with `far0`; 10.0.0.0/24 and `2001:db8::/64`
/// between them.
pub(crate) fn pair() -> (Namespace, Namespace) {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip("link add eth0 address 02:00:00:00:01:01 type veth peer name far0 \
             address 02:00:00:00:01:02");
    near.ip(&format!("link set far0 netns {}", far.thread));
    near.ip("link set eth0 up");
    far.ip("link set far0 up");
    near.ip("addr add 10.0.0.1/24 dev eth0");
    near.ip("addr add 2001:db8::1/64 dev eth0 nodad");
    far.ip("addr add 10.0.0.2/24 dev far0");
    far.ip("addr add 10.0.0.254/24 dev far0");
    far.ip("addr add 2001:db8::2/64 dev far0 nodad");
    (near, far)
}
