//! What a configuration uses of the program: the rest is gone once the verifier has seen it.

/// A set of features, as it stands in the program's read-only data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Listeners with IPv4 addresses.
    pub const V4: Self = Self(1);
    /// Listeners with IPv6 addresses.
    pub const V6: Self = Self(1 << 1);
    /// TCP listeners.
    pub const TCP: Self = Self(1 << 2);
    /// UDP listeners.
    pub const UDP: Self = Self(1 << 3);
    /// Pools that translate, or flows that did.
    pub const NAT: Self = Self(1 << 4);
    /// Pools with tunnels.
    pub const TUNNEL: Self = Self(1 << 5);
    /// All of them.
    pub const ALL: Self = Self((1 << 6) - 1);

    /// Are all of `others` among them?
    #[inline(always)]
    #[must_use]
    pub const fn have(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those and `others`.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let both = Features::V4.with(Features::NAT);
        assert!(both.have(Features::V4) && both.have(Features::NAT) && both.have(both));
        assert!(!both.have(Features::V6) && !both.have(Features::V4.with(Features::UDP)));
        assert!(Features::ALL.have(both) && both.have(Features::default()));
    }
}
