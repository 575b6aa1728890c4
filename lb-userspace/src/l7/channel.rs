//! Messages between agent and sidecar: JSON in frames over a Unix stream, each with at most one
//! descriptor.
//!
//! Owns the framing. A frame is its length (four bytes, little endian) and its text; a descriptor
//! comes with the length's first byte.

use std::{
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::Arc,
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

/// A snapshot of a full configuration is some ten times smaller.
const LONGEST: u32 = 256 << 20;

/// Sends messages of one type.
#[derive(Debug)]
pub struct Sender<T> {
    stream: Arc<UnixStream>,
    of: PhantomData<fn(T)>,
}

/// Receives messages of one type.
#[derive(Debug)]
pub struct Receiver<T> {
    stream: Arc<UnixStream>,
    of: PhantomData<fn() -> T>,
}

/// Both ends of a stream's one side.
#[must_use]
pub fn channel<Out, In>(stream: UnixStream) -> (Sender<Out>, Receiver<In>) {
    let stream = Arc::new(stream);
    (Sender { stream: Arc::clone(&stream), of: PhantomData }, Receiver { stream, of: PhantomData })
}

impl<T: Serialize> Sender<T> {
    /// Sends a message. Not to be dropped half way: the other end could not read on.
    pub async fn send(&mut self, message: &T, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("a message of over 256 MiB"))?;
        let length = length.to_le_bytes();
        let first = self.some(&length, with).await?;
        self.all(&length[first..]).await?;
        self.all(&text).await
    }

    async fn all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.some(bytes, None).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    async fn some(&self, bytes: &[u8], with: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let descriptors = with.map(|fd| [fd.as_raw_fd()]);
        let control: Vec<_> =
            descriptors.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
        let send = || {
            let to = self.stream.as_raw_fd();
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            Ok(sendmsg::<()>(to, &[IoSlice::new(bytes)], &control, flags, None)?)
        };
        self.stream.async_io(Interest::WRITABLE, send).await
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message, and the descriptor that came with it; `None`: the other end is gone. Not
    /// to be dropped half way.
    pub async fn receive(&mut self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut length = [0; 4];
        let Some(descriptor) = self.fill(&mut length, true).await? else { return Ok(None) };
        let length = u32::from_le_bytes(length);
        if length > LONGEST {
            return Err(io::Error::other("a frame of over 256 MiB"));
        }
        let mut text = vec![0; length as usize];
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let _none = self.fill(&mut text, false).await?.ok_or_else(cut)?;
        Ok(Some((serde_json::from_slice(&text)?, descriptor)))
    }

    /// `None`: the end, before the first byte.
    async fn fill(&self, buffer: &mut [u8], may_end: bool) -> io::Result<Option<Option<OwnedFd>>> {
        let (mut at, mut descriptor) = (0, None);
        while at < buffer.len() {
            let got =
                self.stream.async_io(Interest::READABLE, || self.some(&mut buffer[at..])).await;
            let (count, with) = match got {
                // An end that closed with messages unread.
                Err(error)
                    if at == 0 && may_end && error.kind() == io::ErrorKind::ConnectionReset =>
                {
                    (0, None)
                }
                got => got?,
            };
            descriptor = descriptor.or(with);
            match count {
                0 if at == 0 && may_end => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => at += count,
            }
        }
        Ok(Some(descriptor))
    }

    fn some(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
        let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let from = self.stream.as_raw_fd();
        let message = recvmsg::<()>(from, &mut parts, Some(&mut space), flags)?;
        let mut descriptor = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                for fd in fds {
                    // SAFETY: the kernel has just made this descriptor for us.
                    descriptor = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        Ok((message.bytes, descriptor))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _, os::fd::AsFd as _};

    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_in_order_with_their_descriptors() {
        let (near, far) = UnixStream::pair().expect("pair");
        let (mut sender, _) = channel::<String, String>(near);
        let (_, mut receiver) = channel::<String, String>(far);
        let long = "x".repeat(3_000_000);
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("f");
        std::fs::write(&path, "inside").expect("written");
        let sending = async {
            sender.send(&"first".to_owned(), None).await.expect("sent");
            let file = File::open(&path).expect("file");
            sender.send(&long, Some(file.as_fd())).await.expect("sent");
            sender.send(&"last".to_owned(), None).await.expect("sent");
            drop(sender);
        };
        let receiving = async {
            let mut got = Vec::new();
            while let Some((text, fd)) = receiver.receive().await.expect("received") {
                let inside = fd.map(|fd| {
                    let mut inside = String::new();
                    File::from(fd).read_to_string(&mut inside).expect("readable");
                    inside
                });
                got.push((text, inside));
                if got.len() == 3 {
                    break;
                }
            }
            got
        };
        let ((), got) = tokio::join!(sending, receiving);
        assert_eq!(got[0], ("first".to_owned(), None));
        assert!(got[1].0 == long && got[1].1.as_deref() == Some("inside"));
        assert_eq!(got[2], ("last".to_owned(), None));
    }

    #[tokio::test]
    async fn the_end_is_told_from_a_cut_message() {
        let (near, far) = UnixStream::pair().expect("pair");
        let (_, mut receiver) = channel::<String, String>(far);
        near.writable().await.expect("writable");
        assert_eq!(near.try_write(&[9, 0, 0, 0, b'"']).expect("written"), 5);
        drop(near);
        receiver.receive().await.expect_err("cut");
        let (near, far) = UnixStream::pair().expect("pair");
        let (_, mut receiver) = channel::<String, String>(far);
        drop(near);
        assert!(receiver.receive().await.expect("the end").is_none());
    }
}
