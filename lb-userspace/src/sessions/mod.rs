//! Pins and flows as the agent sees them: which it reclaims, and which it shows.

pub mod expiry;
pub mod growth;
pub mod list;
pub mod scopes;
