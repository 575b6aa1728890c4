//! The access log: a line for each request, once all of its answer is gone.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    fs::File,
    io::Write as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri, Version};
use serde::Serialize;

use crate::{config::http::LogFormat, l7::session::Verdict};

/// Lines wait for so many bytes, or for the worker's next sweep.
const ENOUGH: usize = 64 << 10;

/// A worker's access log.
#[derive(Debug, Default)]
pub(super) struct Log {
    format: Cell<Option<LogFormat>>,
    file: RefCell<Option<Arc<File>>>,
    lines: RefCell<Vec<u8>>,
    lost: Cell<u64>,
}

/// What a line says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) client: SocketAddr,
    pub(super) listener: &'a str,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) host: &'a str,
    pub(super) version: Version,
    pub(super) referer: Option<&'a HeaderValue>,
    pub(super) agent: Option<&'a HeaderValue>,
    pub(super) request_id: Option<&'a HeaderValue>,
    pub(super) status: StatusCode,
    /// Of the answer's body.
    pub(super) bytes: u64,
    /// Of the request's.
    pub(super) uploaded: u64,
    pub(super) backend: Option<&'a str>,
    pub(super) verdict: Option<Verdict>,
    /// Why the answer is not a backend's, or not whole.
    pub(super) why: Option<&'a str>,
    pub(super) retries: u8,
    pub(super) began: SystemTime,
    /// Until the answer's head came.
    pub(super) answered: Option<Duration>,
    pub(super) total: Duration,
}

impl Log {
    /// How lines are written from now on; `None`: not at all.
    pub(super) fn format(&self, format: Option<LogFormat>) {
        self.format.set(format);
    }

    /// Where to.
    pub(super) fn write_to(&self, file: Option<Arc<File>>) {
        self.flush();
        *self.file.borrow_mut() = file;
    }

    /// Is there one?
    pub(super) fn is_on(&self) -> bool {
        self.format.get().is_some() && self.file.borrow().is_some()
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Notes a request.
    pub(super) fn note(&self, line: &Line<'_>) {
        let Some(format) = self.format.get() else { return };
        let mut lines = self.lines.borrow_mut();
        match format {
            LogFormat::Json => line.json(&mut lines),
            LogFormat::Combined => line.combined(&mut lines),
        }
        lines.push(b'\n');
        if lines.len() >= ENOUGH {
            drop(lines);
            self.flush();
        }
    }

    /// Writes what waits: whole lines at once, which no other worker's get between (`O_APPEND`).
    pub(super) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if lines.is_empty() {
            return;
        }
        let written = self.file.borrow().as_deref().map(|mut file| file.write_all(&lines));
        if !matches!(written, Some(Ok(()))) {
            let lost = lines.split(|byte| *byte == b'\n').count() as u64 - 1;
            self.lost.set(self.lost.get() + lost);
        }
        lines.clear();
    }
}

/// As it is written.
#[derive(Serialize)]
struct Json<'a> {
    time: String,
    client: SocketAddr,
    listener: &'a str,
    method: &'a str,
    host: &'a str,
    target: String,
    version: String,
    status: u16,
    bytes: u64,
    uploaded: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    retries: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_us: Option<u128>,
    total_us: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
}

impl Line<'_> {
    fn target(&self) -> String {
        self.uri.path_and_query().map_or_else(|| self.uri.to_string(), ToString::to_string)
    }

    fn json(&self, into: &mut Vec<u8>) {
        let text = |value: Option<&HeaderValue>| {
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let json = Json {
            time: humantime::format_rfc3339_micros(self.began).to_string(),
            client: self.client,
            listener: self.listener,
            method: self.method.as_str(),
            host: self.host,
            target: self.target(),
            version: format!("{:?}", self.version),
            status: self.status.as_u16(),
            bytes: self.bytes,
            uploaded: self.uploaded,
            backend: self.backend,
            session: self.verdict.map(Verdict::name),
            why: self.why,
            retries: self.retries,
            answered_us: self.answered.map(|time| time.as_micros()),
            total_us: self.total.as_micros(),
            request_id: self.request_id.and_then(|id| id.to_str().ok()),
            referer: text(self.referer),
            agent: text(self.agent),
        };
        // Writing into memory does not fail.
        let _written = serde_json::to_writer(into, &json);
    }

    /// `client - - [time] "request" status bytes "referer" "agent"`, then what is Holdfast's.
    fn combined(&self, into: &mut Vec<u8>) {
        let quoted = |value: Option<&HeaderValue>| {
            value.map_or_else(|| "-".to_owned(), |value| escaped(value.as_bytes()))
        };
        let mut text = String::new();
        let _written = write!(
            text,
            "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\" listener={} backend={} session={} why={} \
             retries={} answered_us={} total_us={}",
            self.client.ip(),
            clf_time(self.began),
            self.method,
            escaped(self.target().as_bytes()),
            self.version,
            self.status.as_u16(),
            self.bytes,
            quoted(self.referer),
            quoted(self.agent),
            self.listener,
            self.backend.unwrap_or("-"),
            self.verdict.map_or("-", Verdict::name),
            self.why.unwrap_or("-"),
            self.retries,
            self.answered.map_or_else(|| "-".to_owned(), |time| time.as_micros().to_string()),
            self.total.as_micros(),
        );
        into.extend_from_slice(text.as_bytes());
    }
}

/// Nothing in it ends a quoted field or a line.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                let _written = write!(text, "\\x{byte:02x}");
            }
            _ => text.push(byte.into()),
        }
    }
    text
}

/// `27/Nov/2026:10:11:12 +0000`.
fn clf_time(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 2026-11-27T10:11:12Z
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse().ok().and_then(|month: usize| MONTHS.get(month.checked_sub(1)?));
    format!("{}/{}/{}:{} +0000", part(8..10), month.unwrap_or(&"-"), part(0..4), part(11..19))
}

/// When a request began, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) instant: Instant,
    pub(super) wall: SystemTime,
}

impl Began {
    /// Now.
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(uri: &'a Uri, agent: Option<&'a HeaderValue>) -> Line<'a> {
        Line {
            client: SocketAddr::from(([192, 0, 2, 7], 50_000)),
            listener: "shop",
            method: &Method::GET,
            uri,
            host: "shop.example",
            version: Version::HTTP_11,
            referer: None,
            agent,
            request_id: None,
            status: StatusCode::OK,
            bytes: 12,
            uploaded: 0,
            backend: Some("web-1"),
            verdict: Some(Verdict::Hit),
            why: None,
            retries: 0,
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_774_272),
            answered: Some(Duration::from_micros(900)),
            total: Duration::from_millis(1),
        }
    }

    #[test]
    fn a_line_of_each_format() {
        let uri: Uri = "/a?b=\"c".parse().unwrap_or_default();
        let agent = HeaderValue::from_bytes(b"x\"\\y\xff").expect("a value");
        let mut text = Vec::new();
        line(&uri, Some(&agent)).combined(&mut text);
        let text = String::from_utf8(text).expect("text");
        let begin = "192.0.2.7 - - [27/Nov/2026:10:11:12 +0000] \"GET ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains(" 200 12 \"-\" \"x\\x22\\x5cy\\xff\" listener=shop "), "{text}");
        assert!(
            text.ends_with("session=hit why=- retries=0 answered_us=900 total_us=1000"),
            "{text}"
        );
        let mut text = Vec::new();
        line(&uri, Some(&agent)).json(&mut text);
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(value["session"], "hit");
        assert_eq!(value["backend"], "web-1");
        assert_eq!(value["why"], serde_json::Value::Null);
        assert_eq!(value["agent"], "x\"\\y\u{fffd}");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let log = Log::default();
        log.format(Some(LogFormat::Json));
        let uri = Uri::from_static("/");
        for _ in 0..3 {
            log.note(&line(&uri, None));
        }
        log.flush();
        assert_eq!(log.lost(), 3);
    }
}
