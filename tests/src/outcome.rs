//! What became of one packet, and what must hold of every one.

use std::fmt;

use lb_common::event::{Event, EventKind};

use crate::packet::{Parsed, icmp, ip, parse, sum, tunnel};

/// What the program did with the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `XDP_ABORTED`.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// `XDP_TX`: out by the interface that it came in by.
    Tx,
    /// `XDP_REDIRECT`: out by another one.
    Redirect,
}

impl Verdict {
    /// By the number that the program returned.
    ///
    /// # Panics
    ///
    /// When it is none of XDP's.
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            other => panic!("the program returned {other}"),
        }
    }
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet as the program left it.
    pub bytes: Vec<u8>,
    /// What was counted: row of `LISTENER_STATS` and event, by row and code.
    pub counted: Vec<(u32, Event)>,
}

impl Outcome {
    /// The events, by code.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<_> = self.counted.iter().map(|(_, event)| *event).collect();
        events.sort_unstable();
        events
    }

    /// Was that counted?
    #[must_use]
    pub fn has(&self, event: Event) -> bool {
        self.counted.iter().any(|(_, counted)| *counted == event)
    }

    /// The one event that says what became of the packet.
    ///
    /// # Panics
    ///
    /// When it is not one.
    #[must_use]
    pub fn fate(&self) -> Event {
        let fates: Vec<_> =
            self.events().into_iter().filter(|event| event.kind() != EventKind::Noted).collect();
        match fates[..] {
            [fate] => fate,
            _ => panic!("a packet has one fate, not {fates:?}: {self}"),
        }
    }

    /// The packet sent.
    ///
    /// # Panics
    ///
    /// When it is no packet.
    #[must_use]
    pub fn parsed(&self) -> Parsed {
        parse(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    fn check_sent(&self, sent: &[u8]) {
        let of = describe(sent);
        let (before, sums_before) =
            sums(sent).unwrap_or_else(|error| panic!("garbage forwarded ({error}): {sent:02x?}"));
        let (after, sums_after) =
            sums(&self.bytes).unwrap_or_else(|error| panic!("garbage sent ({error}): {self}"));
        assert!(after.sum_right || !before.sum_right, "IP checksum: {self}, of {of}");
        for (after, before) in sums_after.into_iter().zip(sums_before) {
            assert!(after || !before, "TCP, UDP or ICMP checksum: {self}, of {of}");
        }
        assert!(after.ip.ttl > 0, "TTL 0 sent: {self}, of {of}");
    }

    /// The IP packet sent.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn ip(&self) -> ip::Ip {
        ip::parse(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self}")).ip
    }

    /// What must hold of every packet, whatever it was.
    ///
    /// One fate is counted and agrees with the verdict; what is passed up is unchanged; what is
    /// sent is a whole packet, and its checksums are right if those of `sent` were.
    pub(crate) fn check_invariants(&self, sent: &[u8]) {
        let fate = self.fate();
        let agrees = match fate.kind() {
            EventKind::Sent => matches!(self.verdict, Verdict::Tx | Verdict::Redirect),
            EventKind::Passed => self.verdict == Verdict::Pass,
            EventKind::Dropped => self.verdict == Verdict::Drop,
            EventKind::Noted => false,
        };
        assert!(agrees, "{self}, of {}", describe(sent));
        assert!(
            fate != Event::DropInternal,
            "the program met what cannot be: {self}, of {}",
            describe(sent)
        );
        match fate.kind() {
            EventKind::Passed => {
                assert_eq!(self.bytes, sent, "passed up, and changed: {self}");
            }
            EventKind::Sent => self.check_sent(sent),
            EventKind::Dropped | EventKind::Noted => {}
        }
    }
}

/// Which checksums of a packet are right: of what lies below its payload, and of that, or of the
/// header in it. Of a tunnel those of the packet in it, with the outer one's. The error says why it
/// is none to be sent.
fn sums(bytes: &[u8]) -> Result<(ip::ParsedIp, [bool; 2]), String> {
    let whole = ip::parse(bytes)?;
    let ip = &whole.ip;
    if let Some(inner) = tunnel::unwrap(ip) {
        let (_, inside) = sums(&inner.ip.build())?;
        let sum_right = whole.sum_right && inner.sum_right;
        return Ok((ip::ParsedIp { sum_right, ..inner }, inside));
    }
    let inside = match ip.protocol {
        6 | 17 if ip.is_fragment() => [true, true],
        6 | 17 => [parse(bytes)?.transport_sum_right, true],
        _ => {
            let icmp::ParsedMessage { message, sum_right } = icmp::parse(ip)?;
            let quoted = message.body.get(..20).filter(|header| header[0] == 0x45);
            [sum_right, quoted.is_none_or(|header| sum::internet(&[header]) == 0)]
        }
    };
    Ok((whole, inside))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, counted {:?}: {}", self.verdict, self.counted, describe(&self.bytes))
    }
}

/// A packet in one line, or its bytes when it is none.
#[must_use]
pub fn describe(bytes: &[u8]) -> String {
    match parse(bytes) {
        Ok(parsed) => {
            let sums = if parsed.ip_sum_right && parsed.transport_sum_right {
                ""
            } else {
                " CHECKSUM WRONG"
            };
            format!("{}{sums}", parsed.frame)
        }
        Err(error) => {
            let ip = ip::parse(bytes).map_or_else(|error| error, |parsed| parsed.ip.to_string());
            format!("{} bytes ({error}, {ip}): {bytes:02x?}", bytes.len())
        }
    }
}
