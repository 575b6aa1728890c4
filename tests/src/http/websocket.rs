//! WebSocket (RFC 6455): short text messages, as a client and as a server that sends them back.

use std::io::{self, Read, Write as _};

use super::{backend::Conversation, raw::Raw};

/// The example of RFC 6455, 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The fields of a handshake.
#[must_use]
pub fn handshake() -> String {
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n"
    )
}

/// Answers a handshake, and sends messages back with the server's name in front, until the end.
///
/// # Errors
///
/// The connection's.
///
/// # Panics
///
/// When what comes is another handshake, or no short text.
pub fn echo(conversation: &mut Conversation, name: &str) -> io::Result<bool> {
    assert_eq!(conversation.field("sec-websocket-key"), Some(KEY), "{}", conversation.head);
    conversation.say(&format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    ))?;
    loop {
        let [begin, length] = take(conversation)?;
        assert_eq!((begin, length >> 7), (0x81, 1), "a whole, masked text");
        let mask: [u8; 4] = take(conversation)?;
        let mut text = Vec::new();
        while text.len() < usize::from(length & 0x7f) {
            let [byte] = take(conversation)?;
            text.push(byte ^ mask[text.len() % 4]);
        }
        let answer = format!("{name} {}", String::from_utf8_lossy(&text));
        let length = u8::try_from(answer.len()).expect("a short text");
        conversation.stream.write_all(&[&[0x81, length], answer.as_bytes()].concat())?;
    }
}

fn take<const N: usize>(conversation: &mut Conversation) -> io::Result<[u8; N]> {
    let mut bytes = Vec::new();
    while bytes.len() < N {
        let more = conversation.read(N - bytes.len())?;
        if more.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(more);
    }
    Ok(bytes.try_into().unwrap_or([0; N]))
}

/// Sends a message on an upgraded connection, and reads the next one.
///
/// # Errors
///
/// The connection's.
///
/// # Panics
///
/// When the text is long, or what comes is none.
pub fn say(connection: &mut Raw, text: &str) -> io::Result<String> {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length < 126, "a short text");
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend(mask);
    frame.extend(masked);
    connection.stream.write_all(&frame)?;
    let mut head = [0; 2];
    read(connection, &mut head)?;
    assert_eq!(head[0], 0x81, "a whole text");
    let mut answer = vec![0; usize::from(head[1])];
    read(connection, &mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(connection: &mut Raw, into: &mut [u8]) -> io::Result<()> {
    let there = into.len().min(connection.unread.len());
    for (place, byte) in into.iter_mut().zip(connection.unread.drain(..there)) {
        *place = byte;
    }
    connection.stream.read_exact(&mut into[there..])
}

/// Whether a handshake was taken.
///
/// # Panics
///
/// When the answer is none.
#[track_caller]
pub fn check_accepted(answer: &super::answer::Answer) {
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT), "{answer:?}");
}
