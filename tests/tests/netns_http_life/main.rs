//! What becomes of sessions and requests when backends, the sidecar or the agent come and go, under
//! load, with every answer accounted for (C10).

mod backends;
mod sidecar;
mod single;
