//! Which name has which number, kept beside the maps so that ids survive the agent.

use super::{code, pod};

code! {
    /// What a number counts.
    pub enum Kind {
        /// Listeners: rows of `LISTENER_STATS`.
        Listener = 1,
        /// Scopes of pins of one listener, by its name.
        ListenerScope = 2,
        /// Pools: rows of `POOLS`.
        Pool = 3,
        /// Backends: rows of `BACKENDS`.
        Backend = 4,
        /// Scopes of pins of a group, by its name; numbered together with [`Kind::ListenerScope`].
        GroupScope = 5,
    }
}

/// Longest name, in bytes.
pub const NAME_BYTES: usize = 63;

pod! {
    /// Key of the map `IDENTITIES`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct IdentityKey {
        /// A [`Kind`] code.
        pub kind: u32,
        /// The number; at least 1.
        pub id: u32,
    }
}

pod! {
    /// Value of the map `IDENTITIES`: a name in UTF-8.
    pub struct Name {
        /// Bytes that count.
        pub len: u8,
        /// The name, then zeros.
        pub bytes: [u8; NAME_BYTES],
    }
}

impl Name {
    /// The name as it stands in the map; `None` when it is longer than [`NAME_BYTES`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { len: u8::try_from(name.len()).ok()?, bytes })
    }

    /// The name; `None` when the bytes are none.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.bytes.get(..usize::from(self.len))?).ok()
    }
}
