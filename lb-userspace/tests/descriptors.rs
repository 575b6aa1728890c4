//! The admin API while the process has no file descriptors left. In a process of its own: the
//! limit is the whole process's.

use std::{
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use lb_userspace::api::Server;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use tokio::{io::AsyncReadExt, sync::mpsc, time::timeout};

#[tokio::test]
async fn a_lack_of_file_descriptors_is_outlived() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("admin.sock");
    let server = Server::bind(&path).expect("bind");
    let (commands, _requests) = mpsc::channel(1);
    tokio::spawn(server.serve(commands, std::future::pending()));

    // The client's descriptor is made before; to connect takes none.
    let client: OwnedFd =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .expect("socket");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("lower the limit");
    assert!(std::fs::File::open("/dev/null").is_err(), "there are descriptors left");
    connect(client.as_raw_fd(), &UnixAddr::new(&path).expect("address")).expect("connect");
    let mut client = UnixStream::from(client);
    client.write_all(b"GET /v1/health HTTP/1.1\r\n\r\n").expect("write");
    client.set_nonblocking(true).expect("non-blocking");
    let mut client = tokio::net::UnixStream::from_std(client).expect("watch");
    let mut answer = String::new();
    let early = timeout(Duration::from_millis(250), client.read_to_string(&mut answer)).await;
    assert!(early.is_err(), "answered without a descriptor: {answer}");

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("raise the limit");
    let late = timeout(Duration::from_secs(5), client.read_to_string(&mut answer)).await;
    late.expect("answered in time").expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
