//! What runs on clients: curl, and small measuring clients of our own.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    process::Stdio,
    thread,
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::netns::Namespace;

/// How long a connection waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which backends answered a client, and how many requests each. Requests that failed are under
/// the empty name.
pub type Answers = BTreeMap<String, u32>;

/// Requests with curl from one client address, each on a TCP connection of its own.
///
/// # Panics
///
/// When curl cannot be run, or used a connection twice.
#[must_use]
pub fn curl(clients: &Namespace, from: IpAddr, to: SocketAddr, requests: u32) -> Answers {
    let mut command = clients.command("curl");
    command.args(["--silent", "--globoff", "--noproxy", "*", "--max-time", "5"]);
    command.args(["--interface", &from.to_string(), "--header", "Connection: close"]);
    // After every body: how many connections its request made.
    command.args(["--write-out", "%{num_connects} %{http_code}\n"]);
    command.args((1..=requests).map(|number| format!("http://{to}/{number}")));
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut answers = Answers::new();
    let mut body = None;
    for line in text.lines() {
        match line.split_once(' ') {
            Some((connections, status)) if connections.parse::<u32>().is_ok() => {
                let name = body.take().filter(|_| status == "200");
                assert!(name.is_none() || connections == "1", "curl used a connection twice");
                *answers.entry(name.unwrap_or_default()).or_default() += 1;
            }
            Some((name, _)) => body = Some(name.to_owned()),
            None => panic!("curl printed: {line}"),
        }
    }
    answers
}

/// One request with curl from a client's address, to an end within `seconds`: the status and how
/// many bytes were received and sent, the body of the request being so long. `None`: it came to
/// no end.
///
/// # Panics
///
/// When curl cannot be run.
#[must_use]
pub fn transfer(
    clients: &Namespace,
    from: IpAddr,
    url: &str,
    body: usize,
    seconds: u8,
) -> Option<(u16, usize, usize)> {
    let mut command = clients.command("curl");
    command.args(["--silent", "--globoff", "--noproxy", "*", "--max-time", &seconds.to_string()]);
    command.args(["--interface", &from.to_string(), "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code} %{size_download} %{size_upload}"]);
    if body > 0 {
        // Nothing is waited for before the body.
        command.args(["--header", "Expect:", "--data-binary", "@-"]);
    }
    let mut child = command
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("curl runs");
    let mut input = child.stdin.take().expect("curl's input");
    // It reads all of it before it sends any.
    input.write_all(&vec![b'y'; body]).expect("curl reads");
    drop(input);
    let output = child.wait_with_output().expect("curl ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("curl printed: {text}"));
    let status = word().parse().expect("a status");
    let [received, sent] = [word(), word()].map(|word| word.parse().expect("a number"));
    output.status.success().then_some((status, received, sent))
}

/// `curl` from each of these addresses, a few at a time, in the order given.
///
/// # Panics
///
/// As `curl`.
#[must_use]
pub fn curl_all(
    clients: &Namespace,
    from: &[IpAddr],
    to: SocketAddr,
    requests: u32,
) -> Vec<(IpAddr, Answers)> {
    const AT_ONCE: usize = 8;
    let mut all = Vec::new();
    for some in from.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let jobs: Vec<_> = some
                .iter()
                .map(|&client| scope.spawn(move || (client, curl(clients, client, to, requests))))
                .collect();
            all.extend(jobs.into_iter().map(|job| job.join().expect("curl")));
        });
    }
    all
}

/// The one backend of each client.
///
/// # Panics
///
/// When a client has several, or a request failed.
#[must_use]
#[track_caller]
pub fn placed(answers: &[(IpAddr, Answers)], requests: u32) -> BTreeMap<IpAddr, String> {
    let mut placed = BTreeMap::new();
    for (client, answers) in answers {
        let mut names = answers.iter();
        match (names.next(), names.next()) {
            (Some((name, count)), None) if !name.is_empty() && *count == requests => {
                let _none = placed.insert(*client, name.clone());
            }
            _ => {
                panic!("{client} was answered by {answers:?}, not by one backend {requests} times")
            }
        }
    }
    placed
}

/// A keep-alive HTTP connection that numbers its requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    number: u64,
}

impl Connection {
    /// Connects from a client's address, in its namespace.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn open(clients: &Namespace, from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        clients.run(|| Self::here(from, to))
    }

    /// Connects from a client's address, in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn here(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let stream = connect_from(from, to, PATIENCE)?;
        Ok(Self { stream, number: 0 })
    }

    /// One request and its answer: the backend's name.
    ///
    /// # Errors
    ///
    /// The connection's, or `InvalidData` when the answer is not to this request.
    pub fn ask(&mut self) -> io::Result<String> {
        self.number += 1;
        let number = self.number;
        write!(self.stream, "GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let wanted = format!(" /{number}\n");
        let mut answer = Vec::new();
        let mut bytes = [0; 1024];
        while !answer.ends_with(wanted.as_bytes()) {
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => answer.extend_from_slice(&bytes[..length]),
            }
            if answer.len() > 4096 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let body = text.split("\r\n\r\n").nth(1).and_then(|body| body.split(' ').next());
        body.map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// How many requests were made.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.number
    }
}

/// Connects from a client's address, in the calling thread's namespace. The connection waits no
/// longer than `patience` for anything.
///
/// # Errors
///
/// The connection's.
pub fn connect_from(from: IpAddr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = TcpStream::from(stream);
    // Connecting goes by the second of them.
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    bind(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(stream)
}

/// A UDP socket on a client's address and a port that the kernel chooses, connected to a listener.
///
/// # Panics
///
/// When the address cannot be had.
#[must_use]
pub fn udp(clients: &Namespace, from: IpAddr, to: SocketAddr) -> UdpSocket {
    clients.run(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap_or_else(|e| panic!("bind {from}: {e}"));
        socket.connect(to).unwrap_or_else(|e| panic!("connect {to}: {e}"));
        socket
    })
}

/// Sends one datagram and waits for the answer: the backend's name.
///
/// # Errors
///
/// The socket's; `TimedOut` or `WouldBlock` when there is no answer within a second.
pub fn ask_udp(socket: &UdpSocket, payload: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(payload.as_bytes())?;
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    match text.split_once(' ') {
        Some((name, rest)) if rest == payload => Ok(name.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, text)),
    }
}
