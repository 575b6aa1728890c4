//! The two cores: what is measured has one to itself.

use anyhow::bail;
use tests::cpus;

/// Their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    proxies: usize,
    load: usize,
}

impl Cores {
    /// The first and the last that this process may use. From here on it runs on the last, with all
    /// that it starts.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let allowed = cpus::allowed();
        let [proxies, .., load] = allowed[..] else {
            bail!("two CPUs are needed: one for the proxies, one for load and backends");
        };
        cpus::keep_to(load);
        Ok(Self { proxies, load })
    }

    /// What this starts runs on the core of proxies.
    pub(crate) fn for_proxies<T>(self, start: impl FnOnce() -> T) -> T {
        cpus::keep_to(self.proxies);
        let started = start();
        cpus::keep_to(self.load);
        started
    }
}
