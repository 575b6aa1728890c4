//! From message to message over a client's bytes: which of them hyper may have. Pure.
//!
//! What comes out does not depend on how the bytes are cut into reads: a refusal is found at one
//! byte, the first at which it is certain.
//!
//! ```text
//! Head -> GivingHead -> Length or Chunked, if there is a body -> Over -> Head, once answered
//! ```

use super::{
    Body, Chunks, Framing, Limits, Refusal,
    head::{check, check_request_line, find, is_token_byte, parse},
};

/// What may be done with the bytes that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A head is complete and in order; none of it is taken yet.
    Begin(Framing),
    /// So many are hyper's.
    Pass(usize),
    /// So many are nobody's: an empty line before a request.
    Skip(usize),
    /// Too few to say; they are looked at again with what follows.
    More,
    /// The message is over. What follows has to wait.
    Hold,
    /// Refused from here on.
    Refuse(Refusal),
}

/// Where in a message the next byte is.
#[derive(Debug)]
enum Stage {
    Head(Search),
    GivingHead { left: usize, body: Body },
    Length(u64),
    Chunked(Chunks),
    Over,
    Refused(Refusal),
}

/// How far a head that came in parts was looked at.
#[derive(Debug, Default)]
struct Search {
    /// An empty line was skipped.
    skipped: bool,
    /// No line ends in the bytes before, but those that are known.
    scanned: usize,
    /// Where the last line begins.
    line: usize,
}

/// One connection's messages.
#[derive(Debug)]
pub(super) struct Walk {
    stage: Stage,
    limits: Limits,
}

impl Walk {
    /// Before the first message.
    pub(super) fn new(limits: Limits) -> Self {
        Self { stage: Stage::Head(Search::default()), limits }
    }

    /// Before a head, or in it.
    pub(super) const fn in_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Behind a message, before the next one.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// In a body.
    pub(super) const fn in_body(&self) -> bool {
        matches!(self.stage, Stage::Length(_) | Stage::Chunked(_))
    }

    /// The message that is over was answered.
    pub(super) fn next(&mut self) {
        self.stage = Stage::Head(Search::default());
    }

    /// What becomes of the first of `bytes`. In a head these begin where it begins; `room` is not
    /// 0, and what hyper has room for.
    pub(super) fn step(&mut self, bytes: &[u8], room: usize) -> Step {
        let there = bytes.len().min(room);
        match &mut self.stage {
            Stage::Over => Step::Hold,
            Stage::Refused(refusal) => Step::Refuse(*refusal),
            _ if bytes.is_empty() => Step::More,
            Stage::Head(search) => match search.head(bytes, &self.limits) {
                Ok(Found::Head(framing, left)) => {
                    self.stage = Stage::GivingHead { left, body: framing.body };
                    Step::Begin(framing)
                }
                Ok(Found::EmptyLine) => Step::Skip(2),
                Ok(Found::Nothing) => Step::More,
                Err(refusal) => self.refuse(refusal),
            },
            Stage::GivingHead { left, body } => {
                let given = there.min(*left);
                *left -= given;
                if *left == 0 {
                    self.stage = match *body {
                        Body::None => Stage::Over,
                        Body::Length(bytes) => Stage::Length(bytes),
                        Body::Chunked => Stage::Chunked(Chunks::default()),
                    };
                }
                Step::Pass(given)
            }
            Stage::Length(left) => {
                let given = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= given as u64;
                if *left == 0 {
                    self.stage = Stage::Over;
                }
                Step::Pass(given)
            }
            Stage::Chunked(chunks) => {
                match chunks.walk(bytes.get(..there).unwrap_or(bytes), &self.limits) {
                    Ok(walked) => {
                        if walked.ended {
                            self.stage = Stage::Over;
                        }
                        Step::Pass(walked.bytes)
                    }
                    Err((0, refusal)) => self.refuse(refusal),
                    Err((given, refusal)) => {
                        self.stage = Stage::Refused(refusal);
                        Step::Pass(given)
                    }
                }
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.stage = Stage::Refused(refusal);
        Step::Refuse(refusal)
    }
}

/// What there is at the beginning of a head.
enum Found {
    Head(Framing, usize),
    EmptyLine,
    Nothing,
}

impl Search {
    fn head(&mut self, bytes: &[u8], limits: &Limits) -> Result<Found, Refusal> {
        if self.scanned == 0 {
            match bytes {
                // RFC 9112, 2.2: at least one is to be ignored. At most one is.
                [b'\r'] if !self.skipped => return Ok(Found::Nothing),
                [b'\r', b'\n', ..] if !self.skipped => {
                    self.skipped = true;
                    return Ok(Found::EmptyLine);
                }
                [b'\r', ..] => return Err(Refusal::BareCr),
                [b'\n', ..] => return Err(Refusal::BareLf),
                [first, ..] if !is_token_byte(*first) => return Err(Refusal::Method),
                _ => {}
            }
            if let Ok(Some((framing, end))) = parse(bytes, limits)
                && end <= limits.head_bytes
            {
                return Ok(Found::Head(framing, end));
            }
        }
        self.go_on(bytes, limits)
    }

    /// Line by line, from where the last look ended.
    fn go_on(&mut self, bytes: &[u8], limits: &Limits) -> Result<Found, Refusal> {
        let bounded = bytes.get(..limits.head_bytes).unwrap_or(bytes);
        while let Some(at) = bounded.get(self.scanned..).and_then(|rest| find(rest, b'\n')) {
            let end = self.scanned + at + 1;
            let Some([line @ .., b'\r', b'\n']) = bounded.get(self.line..end) else {
                return Err(Refusal::BareLf);
            };
            if self.line == 0 {
                check_request_line(line)?;
            } else if line.is_empty() {
                let framing = check(bounded.get(..end).unwrap_or(bounded), limits)?;
                return Ok(Found::Head(framing, end));
            }
            (self.scanned, self.line) = (end, end);
        }
        self.scanned = bounded.len();
        match bytes.len() < limits.head_bytes {
            true => Ok(Found::Nothing),
            false if self.line == 0 => Err(Refusal::TargetTooLong),
            false => Err(Refusal::HeadTooLarge),
        }
    }
}
