//! Framing of backends' HTTP/1 answers: one that could be read in two ways is not passed on. Pure.

use http::{
    HeaderMap, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::head::{is_twin, length};

/// Why an answer becomes a 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFault {
    /// Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// Several Content-Lengths.
    SeveralLengths,
    /// A Content-Length that is no plain number.
    Length,
    /// Several Transfer-Encodings, or another than chunked.
    Coding,
    /// Transfer-Encoding in HTTP/1.0, or in an answer that has no body (1xx, 204).
    CodingUnasked,
    /// A name that some read as Content-Length or Transfer-Encoding.
    TwinName,
}

impl AnswerFault {
    /// Its name in counters and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LengthAndCoding => "answer_length_and_coding",
            Self::SeveralLengths => "answer_several_lengths",
            Self::Length => "answer_length",
            Self::Coding => "answer_coding",
            Self::CodingUnasked => "answer_coding_unasked",
            Self::TwinName => "answer_twin_name",
        }
    }
}

/// What is wrong with an answer's framing (RFC 9112, 6), if anything. hyper leaves all of its fields
/// in the head, and would read an answer of another coding to the end of the connection.
#[must_use]
pub fn answer_fault(
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<AnswerFault> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (first_length, first_coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() {
        return Some(AnswerFault::SeveralLengths);
    }
    if first_length.is_some_and(|value| length(value.as_bytes()).is_err()) {
        return Some(AnswerFault::Length);
    }
    if let Some(coding) = first_coding {
        if first_length.is_some() {
            return Some(AnswerFault::LengthAndCoding);
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Some(AnswerFault::Coding);
        }
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        if version < Version::HTTP_11 || bodiless {
            return Some(AnswerFault::CodingUnasked);
        }
    }
    headers.keys().any(|name| is_twin(name.as_str().as_bytes())).then_some(AnswerFault::TwinName)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(version: Version, status: u16, fields: &[(&str, &str)], wanted: Option<AnswerFault>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(answer_fault(version, status, &headers), wanted, "{fields:?}");
    }

    #[test]
    fn answers() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        let (length, coding) = ("content-length", "transfer-encoding");
        check(new, 200, &[], None);
        check(new, 200, &[(length, "5")], None);
        check(new, 200, &[(coding, "Chunked")], None);
        check(old, 200, &[(length, "5"), ("content-type", "a/b")], None);
        check(new, 200, &[(length, "5"), (coding, "chunked")], Some(AnswerFault::LengthAndCoding));
        check(new, 200, &[(length, "5"), (length, "6")], Some(AnswerFault::SeveralLengths));
        check(new, 200, &[(length, "+5")], Some(AnswerFault::Length));
        check(new, 200, &[(length, "5, 5")], Some(AnswerFault::Length));
        check(new, 200, &[(coding, "gzip, chunked")], Some(AnswerFault::Coding));
        check(new, 200, &[(coding, "chunked"), (coding, "chunked")], Some(AnswerFault::Coding));
        check(old, 200, &[(coding, "chunked")], Some(AnswerFault::CodingUnasked));
        check(new, 204, &[(coding, "chunked")], Some(AnswerFault::CodingUnasked));
        check(new, 200, &[("content_length", "5")], Some(AnswerFault::TwinName));
    }
}
