//! What makes requests: wrk, h2load and ab for load, curl for single ones. What they print is read
//! here.

use std::process::{Command, Stdio};

use ::tests::{cleanup, netns::Namespace, topology::Lab};

/// How long a program may take beyond the time that it is given.
const GRACE_S: u32 = 30;
/// Of requests so many may fail before a run counts for nothing: one in a thousand.
const FAILURES: f64 = 0.001;

/// What a run of load found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Run {
    pub(crate) requests: f64,
    /// Connections that broke, answers that were none or not 2xx.
    pub(crate) failed: f64,
    pub(crate) seconds: f64,
    /// Of the requests' times; `None` where the program does not tell.
    pub(crate) p99_us: Option<f64>,
}

/// A way to make load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// wrk: connections that are kept.
    Kept,
    /// wrk: each request closes its connection.
    Closed,
    /// ab: a new connection, and with TLS a full handshake, for each request. wrk resumes sessions.
    Handshakes,
    /// h2load: HTTP/2.
    Streams,
}

impl Load {
    /// Makes it, from the namespace of the balancer, for so long.
    pub(crate) fn run(self, lab: &Lab, url: &str, cookie: Option<&str>, seconds: u32) -> Run {
        let mut command = lab.balancer.command("timeout");
        command.args(["--kill-after=1", &(seconds + GRACE_S).to_string()]);
        let header = cookie.map(|cookie| format!("Cookie: {cookie}"));
        let header = header.iter().flat_map(|header| ["-H", header]);
        match self {
            Self::Kept | Self::Closed => {
                let script = lab.write("wrk.lua", WRK_SCRIPT).display().to_string();
                command.args(["wrk", "-t1", "-c64", &format!("-d{seconds}"), "-s", &script]);
                command.args((self == Self::Closed).then_some("-HConnection: close"));
                command.args(header);
            }
            Self::Handshakes => {
                command.args(["ab", "-q", "-c16", &format!("-t{seconds}"), "-n500000"]);
                command.args(["-f", "TLS1.3"]).args(header);
            }
            Self::Streams => {
                command.args(["h2load", "-t1", "-c16", "-m16", &format!("-D{seconds}")]);
                command.args(header);
            }
        }
        let text = output(command.arg(url));
        let run = match self {
            Self::Kept | Self::Closed => wrk(&text),
            Self::Handshakes => ab(&text),
            Self::Streams => h2load(&text),
        };
        let run = run.unwrap_or_else(|| panic!("{self:?} at {url}: {text}"));
        assert!(run.failed <= run.requests * FAILURES, "{self:?} at {url}: {run:?}\n{text}");
        run
    }
}

/// Prints one line; a script without a function for answers costs nothing while it runs.
const WRK_SCRIPT: &str = r#"done = function(summary, latency, requests)
    local e = summary.errors
    local failed = e.connect + e.read + e.write + e.timeout + e.status
    local p99 = latency:percentile(99)
    io.write(string.format("result %d %d %d %d\n", summary.requests, failed, summary.duration, p99))
end
"#;

fn wrk(text: &str) -> Option<Run> {
    let line = text.lines().find_map(|line| line.strip_prefix("result "))?;
    let values: Option<Vec<f64>> = line.split(' ').map(|value| value.parse().ok()).collect();
    let [requests, failed, duration_us, p99_us] = values?[..] else { return None };
    Some(Run { requests, failed, seconds: duration_us / 1e6, p99_us: Some(p99_us) })
}

fn ab(text: &str) -> Option<Run> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let failed = value("Failed requests:")? + value("Non-2xx responses:").unwrap_or(0.0);
    Some(Run {
        requests: value("Complete requests:")?,
        failed,
        seconds: value("Time taken for tests:")?,
        p99_us: None,
    })
}

fn h2load(text: &str) -> Option<Run> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    // "requests: 9 total, 9 started, 8 done, 8 succeeded, 1 failed, 0 errored, 1 timeout"
    let count = |line: &str, name: &str| {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse::<f64>().ok()
    };
    let requests = line("requests:")?;
    // "finished in 2.00s, 33068.00 req/s, 4.69MB/s"
    let (_, rate) = line("finished in ")?.split_once(", ")?;
    let rate: f64 = rate.split_whitespace().next()?.parse().ok()?;
    let good = count(line("status codes:")?, " 2xx")?;
    let done = count(requests, " done")?;
    let failed = done - good.min(done) + count(requests, " failed")? + count(requests, " errored")?;
    Some(Run { requests: done, failed, seconds: done / rate, p99_us: None })
}

/// An answer to a single request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The cookie that it sets, as requests send it.
    pub(crate) cookie: Option<String>,
    pub(crate) body_bytes: usize,
}

/// Makes a single request; `None`: there was no answer.
pub(crate) fn ask(from: &Namespace, url: &str, cookie: Option<&str>) -> Option<Answer> {
    let mut command = from.command("curl");
    command.args(["--silent", "--insecure", "--noproxy", "*", "--max-time", "5", "--include"]);
    command.args(["--http1.1", "--write-out", "\n%{size_download}"]);
    if let Some(cookie) = cookie {
        command.args(["--header", &format!("Cookie: {cookie}")]);
    }
    answer(&output(command.arg(url)))
}

fn answer(text: &str) -> Option<Answer> {
    let (head, _) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let cookie = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let set = name.eq_ignore_ascii_case("set-cookie");
        set.then(|| value.split(';').next().unwrap_or_default().trim().to_owned())
    });
    let body_bytes = text.lines().last()?.parse().ok()?;
    Some(Answer { status, cookie, body_bytes })
}

fn output(command: &mut Command) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = {
        let _gate = cleanup::gate();
        command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    };
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let run = Run { requests: 11.0, failed: 2.0, seconds: 1.5, p99_us: Some(700.0) };
        assert_eq!(wrk("Running 1s\nresult 11 2 1500000 700\n"), Some(run));
        assert_eq!(wrk("unable to connect\n"), None);
        assert_eq!(wrk("result 11 2 1500000\n"), None);
    }

    #[test]
    fn what_ab_says() {
        let text = "Time taken for tests:   2.000 seconds\nComplete requests:      900\n\
                    Failed requests:        1\n   (Connect: 0, Receive: 0)\n\
                    Non-2xx responses:      4\n";
        let run = Run { requests: 900.0, failed: 5.0, seconds: 2.0, p99_us: None };
        assert_eq!(ab(text), Some(run));
        assert_eq!(ab("apr_socket_connect(): Connection refused (111)\n"), None);
    }

    #[test]
    fn what_h2load_says() {
        let text = "finished in 2.00s, 450.00 req/s, 4.69MB/s\n\
                    requests: 910 total, 905 started, 900 done, 899 succeeded, 1 failed, \
                    2 errored, 0 timeout\nstatus codes: 890 2xx, 9 3xx, 0 4xx, 0 5xx\n";
        let run = Run { requests: 900.0, failed: 13.0, seconds: 2.0, p99_us: None };
        assert_eq!(h2load(text), Some(run));
        assert_eq!(h2load("usage\n"), None);
    }

    #[test]
    fn answers() {
        let text = "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: A=b=; Path=/\r\n\r\nxyz\n3";
        let cookie = Some("A=b=".to_owned());
        assert_eq!(answer(text), Some(Answer { status: 200, cookie, body_bytes: 3 }));
        let none = Answer { status: 404, cookie: None, body_bytes: 0 };
        assert_eq!(answer("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n\n0"), Some(none));
        assert_eq!(answer("\n0"), None);
    }
}
