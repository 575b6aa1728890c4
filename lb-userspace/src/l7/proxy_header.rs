//! stub
use crate::config::http::ProxyVersion;
use std::net::SocketAddr;
/// h
#[derive(Debug)]
pub struct Header;
impl Header {
    /// s
    pub fn source(&self) -> Option<SocketAddr> {
        None
    }
}
/// p
pub fn parse(_: &[u8]) -> Result<Option<(Header, usize)>, std::io::Error> {
    Ok(None)
}
/// w
pub fn write(_: ProxyVersion, _: SocketAddr, _: SocketAddr) -> Vec<u8> {
    Vec::new()
}
