//! Numbered packets, of which each is to be answered.

use std::{
    collections::BTreeSet,
    io,
    net::UdpSocket,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Numbered packets of each client.
const EVERY: Duration = Duration::from_millis(5);

/// Sends a number every few milliseconds until `stop`; the numbers that were not answered, and how
/// many were sent. Answers may take their time.
///
/// # Panics
///
/// When a packet is answered twice, or by two backends.
pub fn numbered(socket: &UdpSocket, stop: &AtomicBool, total: &AtomicU64) -> BTreeSet<u64> {
    socket.set_nonblocking(true).expect("a socket that does not block");
    let mut missing = BTreeSet::new();
    let mut backends = BTreeSet::new();
    let mut next = Instant::now();
    let mut number = 0;
    let mut last = None;
    loop {
        let now = Instant::now();
        if now >= next && last.is_none() {
            socket.send(number.to_string().as_bytes()).expect("sent");
            let _new = missing.insert(number);
            number += 1;
            next = now + EVERY;
        }
        let mut bytes = [0; 64];
        match socket.recv(&mut bytes) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let (name, answered) = text.split_once(' ').expect("a name and a number");
                let _new = backends.insert(name.to_owned());
                assert!(missing.remove(&answered.parse().expect("a number")), "answered twice");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("packet {number}: {error}"),
        }
        if stop.load(Ordering::Relaxed) {
            let since = *last.get_or_insert(now);
            if missing.is_empty() || now > since + Duration::from_secs(2) {
                break;
            }
        }
    }
    assert_eq!(backends.len(), 1, "numbered packets of one flow were answered by {backends:?}");
    let _before = total.fetch_add(number, Ordering::Relaxed);
    missing
}

/// Ends the clients' work when it is dropped.
#[derive(Debug)]
pub struct Halt<'a>(pub &'a AtomicBool);

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
