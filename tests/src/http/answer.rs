//! HTTP/1.x answers, read as they came. Does no I/O.

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The first line.
    pub line: String,
    /// Names in lower case, in their order; those of trailers behind them.
    pub fields: Vec<(String, String)>,
    /// Without chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(other, _)| other == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that is there once.
    ///
    /// # Panics
    ///
    /// When it is there more often.
    #[must_use]
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name}: {all:?}");
        all.first().copied()
    }

    /// Its body.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first word of its body: servers of tests begin with their name.
    #[must_use]
    pub fn server(&self) -> String {
        self.text().split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// `name=value` of the cookies that it sets.
    #[must_use]
    pub fn cookies(&self) -> Vec<&str> {
        let fields = self.all("set-cookie").into_iter();
        fields.map(|value| value.split(';').next().unwrap_or_default()).collect()
    }

    /// Reads a head; how long it was. `None`: it is not all there.
    ///
    /// # Panics
    ///
    /// When it is no head.
    #[must_use]
    #[track_caller]
    pub fn head(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {text}"));
        let fields = lines.map(field).collect();
        Some((Self { status, line, fields, body: Vec::new() }, length))
    }

    /// Takes a whole answer from the begin of `bytes`, if it is there; `ended`: no more will come.
    /// `bodiless`: it answers HEAD.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn take(bytes: &mut Vec<u8>, ended: bool, bodiless: bool) -> Option<Self> {
        let (mut answer, head) = Self::head(bytes)?;
        let rest = &bytes[head..];
        let length = if bodiless || matches!(answer.status, 100..=199 | 204 | 304) {
            0
        } else if answer.field("transfer-encoding").is_some() {
            let (body, trailers, length) = chunked(rest)?;
            answer.body = body;
            answer.fields.extend(trailers);
            length
        } else if let Some(length) = answer.field("content-length") {
            let length = length.parse().expect("a length");
            answer.body = rest.get(..length)?.to_vec();
            length
        } else if ended {
            answer.body = rest.to_vec();
            rest.len()
        } else {
            return None;
        };
        drop(bytes.drain(..head + length));
        Some(answer)
    }
}

/// Name and value.
fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// Where `what` begins.
#[must_use]
pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

type Chunked = (Vec<u8>, Vec<(String, String)>, usize);

/// A chunked body: itself, its trailers, and how long it was (RFC 9112, 7.1).
///
/// # Panics
///
/// When it is none.
#[must_use]
pub fn chunked(bytes: &[u8]) -> Option<Chunked> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|e| panic!("{size}: {e}"));
        at += line + 2;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        let _all = bytes.get(..at)?;
    }
    let mut trailers = Vec::new();
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        at += line + 2;
        if text.is_empty() {
            return Some((body, trailers, at));
        }
        trailers.push(field(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_one_by_one() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n\
                    HTTP/1.0 200 OK\r\n\r\nrest";
        let mut bytes = Vec::new();
        let mut answers = Vec::new();
        for byte in text.bytes() {
            bytes.push(byte);
            answers.extend(Answer::take(&mut bytes, false, false));
        }
        answers.extend(Answer::take(&mut bytes, true, false));
        let seen: Vec<_> = answers.iter().map(|one| (one.status, one.text())).collect();
        let wanted = [(200, "abc"), (100, ""), (201, "de"), (200, "rest")];
        assert_eq!(seen, wanted.map(|(status, text)| (status, text.to_owned())));
        assert_eq!(answers[2].field("t"), Some("1"));
    }
}
