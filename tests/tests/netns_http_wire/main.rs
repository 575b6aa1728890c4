//! Protocols: what clients and backends speak, and that sessions are the same over all of it (C11).

mod backends;
mod proxy;
mod streams;
mod tls;
mod versions;
mod websocket;
