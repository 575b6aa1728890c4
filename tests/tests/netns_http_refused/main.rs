//! What is refused, and what clients may not take more of: bare sockets before the sidecar, and a
//! backend behind it that remembers every byte.

mod framing;
mod limits;
mod slow;
