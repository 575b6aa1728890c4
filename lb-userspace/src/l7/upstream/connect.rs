//! A new connection to a backend: TCP, then a PROXY header, then TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Ends, Trouble};
use crate::{
    config::http::ProxyVersion,
    l7::{proxy_header, tls::Outgoing},
};

/// What connection is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// Over TLS.
    pub tls: Option<&'a Outgoing>,
    /// With a PROXY header of that version, for these ends.
    pub proxy: Option<(ProxyVersion, Ends)>,
    /// TCP and TLS take no longer.
    pub timeout: Duration,
}

/// A connection's bytes.
#[derive(Debug)]
pub enum Socket {
    /// As they are.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects.
pub async fn connect(wanted: &Wanted<'_>) -> Result<Socket, Trouble> {
    match timeout(wanted.timeout, open(wanted)).await {
        Ok(done) => done.map_err(Trouble::Connect),
        Err(_) => Err(Trouble::ConnectLate),
    }
}

async fn open(wanted: &Wanted<'_>) -> io::Result<Socket> {
    let mut stream = TcpStream::connect(wanted.address).await?;
    stream.set_nodelay(true)?;
    if let Some((version, ends)) = wanted.proxy {
        let header = match version {
            ProxyVersion::V1 => proxy_header::write_v1(ends.client, ends.listener),
            ProxyVersion::V2 => proxy_header::write_v2(ends.client, ends.listener),
        };
        stream.write_all(&header).await?;
    }
    let Some(tls) = wanted.tls else { return Ok(Socket::Plain(stream)) };
    let name = match &tls.name {
        Some(name) => name.clone(),
        None => ServerName::IpAddress(wanted.address.ip().into()),
    };
    let stream =
        TlsConnector::from(std::sync::Arc::clone(&tls.config)).connect(name, stream).await?;
    Ok(Socket::Tls(Box::new(stream)))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, bytes),
        }
    }
}
