//! Connections that are kept without a request, and what they take.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{cores::Cores, process, proxy::Proxy, scene::Scene};

/// How many.
const CONNECTIONS: u32 = 1000;
/// How long a proxy has to come to rest.
const REST: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Each round starts all anew: more tell nothing new.
const ROUNDS: u32 = 5;

/// Connections of load, here and in what is started from here.
pub(crate) fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        eprintln!("the limit of open files cannot be raised: {error}");
    }
}

/// KiB by 1,000 connections of each proxy, by round. What a proxy has taken once it keeps, so each
/// round has new ones.
pub(crate) fn measure(
    holdfast: &Path,
    cores: Cores,
    proxies: &[Proxy],
    rounds: u32,
) -> Vec<(Proxy, Vec<f64>)> {
    let mut measured: Vec<_> = proxies.iter().map(|proxy| (*proxy, Vec::new())).collect();
    for _ in 0..rounds.min(ROUNDS) {
        let scene = Scene::start(holdfast, cores);
        for (proxy, values) in &mut measured {
            values.push(memory_kib(&scene, *proxy));
        }
    }
    measured
}

fn memory_kib(scene: &Scene, proxy: Proxy) -> f64 {
    let cookie = scene.cookie(proxy, false);
    let address = proxy.address(&scene.lab, false);
    let processes = scene.processes(proxy);
    thread::sleep(REST);
    let before = process::memory_kib(&processes);
    let open = scene.lab.balancer.run(|| {
        let open = (0..CONNECTIONS).map(|_| Idle::open(address, cookie.as_deref()));
        let open: io::Result<Vec<Idle>> = open.collect();
        open.unwrap_or_else(|e| panic!("{}: a connection: {e}", proxy.name()))
    });
    thread::sleep(REST);
    let after = process::memory_kib(&processes);
    for mut idle in open {
        let asked = idle.ask(address, cookie.as_deref());
        asked.unwrap_or_else(|e| panic!("{}: a connection was not kept: {e}", proxy.name()));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let taken = after.saturating_sub(before) as f64;
    taken * 1000.0 / f64::from(CONNECTIONS)
}

/// A connection that had its first answer.
struct Idle(TcpStream);

impl Idle {
    fn open(address: SocketAddr, cookie: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut idle = Self(stream);
        idle.ask(address, cookie)?;
        Ok(idle)
    }

    /// Asks, and reads the answer to its end.
    fn ask(&mut self, host: SocketAddr, cookie: Option<&str>) -> io::Result<()> {
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n");
        self.0.write_all(request.as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        while !whole(&answer) {
            match self.0.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => answer.extend_from_slice(&part[..read]),
            }
        }
        Ok(())
    }
}

/// Is it a whole answer, by its length?
fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_answers() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", false),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nabc", false),
        ] {
            assert_eq!(whole(answer.as_bytes()), want, "{answer:?}");
        }
    }
}
