//! One probe of one backend: is it in order now? Holds no state and does not retry.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::config::Probe;

/// Bytes of an answer's body that are read, so that the connection ends in good order; the rest
/// is cut off.
const BODY_READ: usize = 64 * 1024;
/// Bytes that an answer's head may have.
const HEAD_READ: usize = 16 * 1024;

/// Probes `target` once. The error is the reason in words for an operator. The whole probe, body
/// included, gets `limit`.
pub async fn run(probe: &Probe, target: SocketAddr, limit: Duration) -> Result<(), String> {
    let outcome = timeout(limit, async {
        let stream = TcpStream::connect(target).await.map_err(|error| connect_reason(&error))?;
        match probe {
            Probe::Tcp => Ok(()),
            Probe::Http { path, host, expect } => {
                let host = host.clone().unwrap_or_else(|| host_of(target));
                get(stream, path, &host, *expect).await
            }
        }
    });
    outcome
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {}", humantime::format_duration(limit))))
}

async fn get(stream: TcpStream, path: &str, host: &str, expect: (u16, u16)) -> Result<(), String> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the request cannot be written: {error}"))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_READ)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_reason(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| http_reason(&error))?;
        let status = answer.status().as_u16();
        if !(expect.0..=expect.1).contains(&status) {
            return Err(format!("status {status}, expected {}", range(expect)));
        }
        let mut body = answer.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| http_reason(&error))?;
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > BODY_READ {
                break;
            }
        }
        Ok(())
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        // The connection may end first; what the exchange has got by then still counts.
        result = &mut exchange => result,
        _ = &mut connection => exchange.await,
    }
}

fn host_of(target: SocketAddr) -> String {
    match (target.port(), target) {
        (80, SocketAddr::V4(v4)) => v4.ip().to_string(),
        (80, SocketAddr::V6(v6)) => format!("[{}]", v6.ip()),
        _ => target.to_string(),
    }
}

fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system's own words for all others")]
fn connect_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        // The kernel gave up on its own, before the probe did.
        io::ErrorKind::TimedOut => "no answer to the connection attempt".into(),
        _ => format!("cannot connect: {error}"),
    }
}

fn http_reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "connection closed before the answer was complete".into()
    } else if error.is_parse() {
        "the answer is not HTTP".into()
    } else {
        format!("the connection failed: {error}")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn http(expect: (u16, u16)) -> Probe {
        Probe::Http { path: "/healthz?deep=1".into(), host: None, expect }
    }

    /// A server that takes one connection, reads a request's head, and writes `answer`; then
    /// closes, or holds the connection open when `hold`.
    async fn server(answer: Vec<u8>, hold: bool) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
                    Ok(0) | Err(_) => break,
                }
            }
            // The prober may well have gone before a long answer is written.
            if stream.write_all(&answer).await.is_ok() && hold {
                tokio::time::sleep(LIMIT * 4).await;
            }
            String::from_utf8(head).expect("head")
        });
        (address, task)
    }

    async fn check(probe: &Probe, answer: &[u8], hold: bool, want: Result<(), &str>) {
        let (address, task) = server(answer.to_vec(), hold).await;
        let got = run(probe, address, LIMIT).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        assert_eq!(got, want.map_err(str::to_owned), "{shown:?}");
        task.abort();
    }

    #[tokio::test]
    async fn tcp() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        assert_eq!(run(&Probe::Tcp, address, LIMIT).await, Ok(()));
        drop(listener);
        let got = run(&Probe::Tcp, address, LIMIT).await;
        assert_eq!(got, Err("connection refused".into()));
        let got = run(&http((200, 399)), address, LIMIT).await;
        assert_eq!(got, Err("connection refused".into()));
    }

    #[tokio::test]
    async fn tcp_backlog_full() {
        // A listener that never accepts: once its queue is full, a connection attempt hangs.
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).expect("bind");
        let listener = socket.listen(1).expect("listen");
        let address = listener.local_addr().expect("address");
        let mut held = Vec::new();
        while let Ok(stream) = timeout(LIMIT, TcpStream::connect(address)).await {
            held.push(stream.expect("connect"));
            assert!(held.len() < 100, "the queue never fills");
        }
        let got = run(&Probe::Tcp, address, LIMIT).await;
        assert_eq!(got, Err("no answer within 1s".into()));
    }

    #[tokio::test]
    async fn http_answers() {
        let any = http((200, 399));
        check(&any, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, Ok(())).await;
        check(&any, b"HTTP/1.0 204 No Content\r\n\r\n", false, Ok(())).await;
        check(&any, b"HTTP/1.1 399 Odd\r\nContent-Length: 0\r\n\r\n", true, Ok(())).await;
        check(
            &any,
            b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
            true,
            Err("status 400, expected 200-399"),
        )
        .await;
        check(
            &any,
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            false,
            Err("status 503, expected 200-399"),
        )
        .await;
        check(
            &http((204, 204)),
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            false,
            Err("status 200, expected 204"),
        )
        .await;
        // What comes before the last answer is none.
        check(
            &any,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            false,
            Ok(()),
        )
        .await;
    }

    #[tokio::test]
    async fn http_failures() {
        let any = http((200, 399));
        let incomplete = Err("connection closed before the answer was complete");
        let late = Err("no answer within 1s");
        check(&any, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", false, Err("the answer is not HTTP")).await;
        check(&any, &[0xff; 256], false, Err("the answer is not HTTP")).await;
        check(&any, b"", false, incomplete).await;
        check(&any, b"HTTP/1.1 200 O", false, incomplete).await;
        check(&any, b"", true, late).await;
        check(&any, b"HTTP/1.1 200 OK\r\nContent-Le", true, late).await;
        check(&any, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true, late).await;
        // A head without end is cut off.
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        head.resize(HEAD_READ * 2, b'x');
        check(&any, &head, true, Err("the answer is not HTTP")).await;
    }

    #[tokio::test]
    async fn http_long_body_is_cut_off() {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
        answer.resize(answer.len() + BODY_READ * 2, b'x');
        check(&http((200, 399)), &answer, true, Ok(())).await;
    }

    #[tokio::test]
    async fn http_request() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        let (address, task) = server(answer.clone(), false).await;
        assert_eq!(run(&http((200, 399)), address, LIMIT).await, Ok(()));
        let head = task.await.expect("server");
        assert!(head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");

        let named =
            Probe::Http { path: "/".into(), host: Some("shop.example".into()), expect: (200, 200) };
        let (address, task) = server(answer, false).await;
        assert_eq!(run(&named, address, LIMIT).await, Ok(()));
        let head = task.await.expect("server");
        assert!(head.contains("host: shop.example\r\n"), "{head}");
    }

    #[test]
    fn hosts() {
        let check = |target: &str, want: &str| {
            assert_eq!(host_of(target.parse().expect("address")), want);
        };
        check("192.0.2.1:80", "192.0.2.1");
        check("192.0.2.1:8080", "192.0.2.1:8080");
        check("[2001:db8::1]:80", "[2001:db8::1]");
        check("[2001:db8::1]:8080", "[2001:db8::1]:8080");
    }
}
