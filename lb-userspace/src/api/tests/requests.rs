//! The socket, and requests that no command line makes.

use std::{io, os::unix::fs::PermissionsExt};

use hyper::{Method, body::Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Agent, code, run_on};
use crate::{
    api::{
        BindError, Command, Server,
        client::{Client, ClientError},
        crowd::{CONNECTIONS_MAX, PATIENCE},
        room::{ANSWERS_MAX, READING},
        routes, wire,
    },
    cli,
};

impl Agent {
    /// Sends bytes, reads until the agent closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.expect("connect");
        // The agent may close before it has read everything.
        stream.write_all(request).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).expect("UTF-8")
    }
}

#[tokio::test]
async fn a_socket_for_root_alone_that_goes_with_its_server() {
    let agent = Agent::start();
    let mode = std::fs::metadata(agent.socket()).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Server::bind(&agent.socket()).expect_err("a second one");
    assert!(matches!(second, BindError::Taken(_)), "{second}");
    assert!(Client::new(&agent.socket()).health().await.expect("health").ok);

    let socket = agent.socket();
    agent.stop.send(()).expect("stop");
    agent.served.await.expect("served");
    assert!(!socket.exists());
    let error = Client::new(&socket).health().await.expect_err("nobody is there");
    assert!(matches!(error, ClientError::NoAgent(_)), "{error}");
    Server::bind(&socket).expect("the next one");
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_allowed() {
    let agent = Agent::start();
    let check = async |method: Method, target: &str, body: &str, want: u16, words: &str| {
        let body = Bytes::from(body.to_owned());
        let answer = Client::new(&agent.socket()).send(method, target, body).await;
        let Err(ClientError::Refused { status, error }) = answer else {
            panic!("{target}: {answer:?}");
        };
        assert_eq!(status, want, "{target}");
        assert!(error.error.contains(words), "{target}: {}", error.error);
    };
    let (get, post) = (Method::GET, Method::POST);
    let flush = "/v1/sessions/flush";
    let intent = "/v1/backends/web-1/intent";
    check(get.clone(), "/", "", 404, "GET /v1/status").await;
    check(get.clone(), "/v1/statuss", "", 404, "POST /v1/reload").await;
    check(post.clone(), "/v1/status", "", 405, "GET only").await;
    check(Method::DELETE, "/v1/reload", "", 405, "POST only").await;
    check(get.clone(), "/v1/status?a=b", "", 400, "no query").await;
    check(get.clone(), "/v1/sessions?lim=1", "", 400, "allowed: listener, backend").await;
    check(get, "/v1/sessions?limit=0", "", 400, "1 to 1000").await;
    check(post.clone(), flush, "", 400, "body").await;
    check(post.clone(), flush, "{}", 400, "`all`: true").await;
    check(post.clone(), flush, r#"{"client": "10.0.0"}"#, 400, "192.0.2.0/24").await;
    check(post.clone(), flush, r#"{"al": true}"#, 400, "`all`").await;
    check(post.clone(), intent, r#"{"intent": "pause"}"#, 400, "`drain`").await;
    let rotate = "/v1/keys/rotate";
    check(post.clone(), rotate, "", 400, "body").await;
    check(post.clone(), rotate, r#"{"after_s": 2592001}"#, 400, "allowed: 0 to 2592000").await;
    check(post.clone(), rotate, r#"{"after": 1}"#, 400, "`after_s`").await;
    check(post.clone(), "/v1/cookie/explain", "{}", 400, "`value`").await;
    check(post.clone(), "/v1/keys?secrets=1", "", 405, "GET only").await;
    check(post.clone(), "/v1/backends/web-2/intent", r#"{"intent": "down"}"#, 404, "`web-1`").await;
    let long = format!("{}{{}}", " ".repeat(routes::BODY_MAX));
    check(post, flush, &long, 413, "65536").await;
    let endless = " ".repeat(10_000_000);
    let head = format!("POST {flush} HTTP/1.1\r\ncontent-length: {}\r\n\r\n", endless.len());
    let answer = agent.raw((head + &endless).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Nothing of this has done anything.
    assert_eq!(agent.run("sessions --all").await.1.lines().count(), 26);
}

#[tokio::test]
async fn what_is_no_http_is_answered_and_closed() {
    let agent = Agent::start();
    let check = async |request: &[u8], want: &str| {
        let answer = agent.raw(request).await;
        assert!(answer.starts_with(want), "{answer}");
    };
    check(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "HTTP/1.1 400").await;
    check(b"GET /v1/health HTTP/1.1\r\n\r\n", "HTTP/1.1 200").await;
    let long = format!("GET /v1/health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    check(long.as_bytes(), "HTTP/1.1 431").await;
    let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    check(target.as_bytes(), "HTTP/1.1 4").await;
    let chunked = "POST /v1/sessions/flush HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = "1000\r\n".to_owned() + &" ".repeat(0x1000) + "\r\n";
    check((chunked.to_owned() + &chunks.repeat(17)).as_bytes(), "HTTP/1.1 413").await;
}

#[tokio::test(start_paused = true)]
async fn stuck_clients_hold_nothing_for_long() {
    let agent = Agent::start();
    let mut stuck = Vec::new();
    for request in
        ["", "GET /v1/health HT", "POST /v1/sessions/flush HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"]
    {
        for _ in 0..20 {
            let mut stream = UnixStream::connect(agent.socket()).await.expect("connect");
            stream.write_all(request.as_bytes()).await.expect("write");
            stuck.push(stream);
        }
    }
    // More than are served at a time; yet the next one gets its turn.
    assert!(Client::new(&agent.socket()).health().await.expect("health").ok);
    for mut stream in stuck {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("closed");
    }
}

/// The clock stands still while anything can go on, so the time that passes is what is waited for.
#[tokio::test(start_paused = true)]
async fn silent_clients_keep_nobody_waiting() {
    let half = "POST /v1/sessions/flush HTTP/1.1\r\ncontent-length: 9\r\n\r\n{";
    for request in ["", "GET /v1/health HT", half] {
        let agent = Agent::start();
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            let mut stream = UnixStream::connect(agent.socket()).await.expect("connect");
            stream.write_all(request.as_bytes()).await.expect("write");
            silent.push(stream);
        }
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(agent.run("status").await.0, code(0));
            let waited = start.elapsed();
            assert!(waited <= PATIENCE * 4, "{request}: {waited:?}");
        }
        // Those that had to go were told so; as many as there is room for may still speak.
        let mut there = 0;
        for stream in &silent {
            let silence = stream.try_read(&mut [0; 1]);
            there += usize::from(silence.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
        }
        assert!((1..=CONNECTIONS_MAX).contains(&there), "{there}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_agent_keeps_its_place() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("admin.sock");
    let server = Server::bind(&socket).expect("bind");
    let (commands, mut requests) = mpsc::channel(2 * CONNECTIONS_MAX);
    tokio::spawn(server.serve(commands, std::future::pending()));
    let ask = || {
        let socket = socket.clone();
        tokio::spawn(async move { Client::new(&socket).status().await })
    };
    // As many as there is room for, which all wait for the agent; and some more.
    let clients: Vec<_> = (0..CONNECTIONS_MAX + 8).map(|_| ask()).collect();
    sleep(PATIENCE * 20).await;
    let mut answered = 0;
    while let Some(command) = requests.recv().await {
        let Command::Status(reply) = command else { panic!("{command:?}") };
        reply.send(Ok(cli::sample_status())).expect("the client waits");
        answered += 1;
        if answered == clients.len() {
            break;
        }
    }
    for client in clients {
        client.await.expect("a client").expect("an answer");
    }
}

/// An answer that nobody reads fills the socket's buffer and waits.
#[tokio::test(start_paused = true)]
async fn who_does_not_take_its_answer_keeps_nobody_waiting() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("admin.sock");
    let server = Server::bind(&socket).expect("bind");
    let (commands, mut requests) = mpsc::channel(4);
    tokio::spawn(server.serve(commands, std::future::pending()));
    tokio::spawn(async move {
        while let Some(Command::Reload(reply)) = requests.recv().await {
            let changes = vec!["x".repeat(1000); 1000];
            let reloaded = wire::Reloaded { config: String::new(), changes };
            reply.send(Ok(reloaded)).ok();
        }
    });
    let mut deaf = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = UnixStream::connect(&socket).await.expect("connect");
        stream.write_all(b"POST /v1/reload HTTP/1.1\r\n\r\n").await.expect("write");
        deaf.push(stream);
    }
    sleep(PATIENCE).await;
    let start = Instant::now();
    let reloaded = Client::new(&socket).reload().await.expect("reloaded");
    assert_eq!(reloaded.changes.len(), 1000);
    assert!(start.elapsed() <= PATIENCE * 2, "{:?}", start.elapsed());
}

/// A status too large for a socket's buffer.
fn long_status() -> wire::Status {
    let mut status = cli::sample_status();
    let backend = status.backends[0].clone();
    status.backends.resize(2000, backend);
    status
}

#[tokio::test(start_paused = true)]
async fn few_large_answers_are_held_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("admin.sock");
    let server = Server::bind(&socket).expect("bind");
    let (commands, mut requests) = mpsc::channel(CONNECTIONS_MAX);
    tokio::spawn(server.serve(commands, std::future::pending()));
    let mut deaf = Vec::new();
    for _ in 0..6 {
        let mut stream = UnixStream::connect(&socket).await.expect("connect");
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n").await.expect("write");
        deaf.push(stream);
    }
    sleep(PATIENCE).await;
    // The others are not even asked for: their answers would have to be kept.
    assert_eq!(requests.len(), ANSWERS_MAX);
    tokio::spawn(async move {
        while let Some(Command::Status(reply)) = requests.recv().await {
            reply.send(Ok(long_status())).ok();
        }
    });
    // Who does not read loses the room to who waits; in the end everybody is served.
    let start = Instant::now();
    let status = Client::new(&socket).status().await.expect("status");
    assert_eq!(status.backends.len(), 2000);
    let turns = u32::try_from(deaf.len() / ANSWERS_MAX).expect("few");
    assert!(start.elapsed() <= (READING + PATIENCE * 2) * turns, "{:?}", start.elapsed());
    // The last ones may take their time: nobody waits any more.
    sleep(READING * 3).await;
    let mut whole = 0;
    for mut stream in deaf {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        whole += usize::from(answer.ends_with(b"}\n"));
    }
    assert!(whole <= ANSWERS_MAX, "{whole}");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_or_ends_is_an_error_and_no_silence() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("admin.sock");
    let server = Server::bind(&socket).expect("bind");
    let (commands, requests) = mpsc::channel(4);
    tokio::spawn(server.serve(commands, std::future::pending()));
    let check = async |line: &str, want: &str| {
        let (status, _, err) = run_on(&socket, line).await;
        assert_eq!((status, err.as_str()), (code(1), want));
    };
    check("status", "error: the agent is busy; what was asked for may still be done\n").await;
    drop(requests);
    check("status", "error: the agent is stopping\n").await;
}
