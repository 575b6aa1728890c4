//! What all workers share: how many connections there are, of whom.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::flight::Flights;

/// What all workers share.
#[derive(Debug, Default)]
pub struct Shared {
    /// First choices for clients without a cookie.
    pub flights: Flights,
    connections: AtomicU32,
    of_clients: Mutex<HashMap<IpAddr, u32>>,
}

/// A client's connection that was let in.
#[derive(Debug)]
pub struct Admitted {
    shared: Arc<Shared>,
    client: IpAddr,
}

/// A connection that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    All,
    /// Its client has as many as one may have.
    Client,
}

impl Shared {
    /// Lets a connection in, unless there are `all` or, of this client, `each`.
    pub fn admit(self: &Arc<Self>, client: IpAddr, all: u32, each: u32) -> Result<Admitted, Full> {
        // Before the count, so that a burst on many workers does not get past.
        if self.connections.fetch_add(1, Relaxed) >= all {
            self.connections.fetch_sub(1, Relaxed);
            return Err(Full::All);
        }
        let mut clients = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_insert(0);
        if *count >= each {
            self.connections.fetch_sub(1, Relaxed);
            return Err(Full::Client);
        }
        *count += 1;
        Ok(Admitted { shared: Arc::clone(self), client })
    }

    /// Connections that are open.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Relaxed);
        let mut clients = self.shared.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_by_client() {
        let shared = Arc::new(Shared::default());
        let [a, b] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let one = shared.admit(a, 3, 2).expect("room");
        let _two = shared.admit(a, 3, 2).expect("room");
        assert_eq!(shared.admit(a, 3, 2).expect_err("full"), Full::Client);
        let _three = shared.admit(b, 3, 2).expect("room");
        assert_eq!(shared.admit(b, 3, 2).expect_err("full"), Full::All);
        assert_eq!(shared.connections(), 3);
        drop(one);
        let _again = shared.admit(a, 3, 2).expect("room");
        assert_eq!(shared.of_clients.lock().expect("fine").len(), 2);
    }
}
