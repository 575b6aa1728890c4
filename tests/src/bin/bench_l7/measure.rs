//! Rounds in which everything that is compared takes its turn, each time in another order.

use crate::{
    load::{Load, Run},
    process,
    proxy::Proxy,
    scene::Scene,
};

/// How long each is under load in a round, in seconds, and once before the first.
const RUN_S: u32 = 3;
const WARM_S: u32 = 1;

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) load: Load,
    pub(crate) tls: bool,
}

/// What one proxy did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the proxy, by request.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p99_ms: Option<f64>,
    /// How much of its core it had.
    pub(crate) busy: f64,
}

/// The samples of each proxy, by round.
pub(crate) struct Measured(Vec<(Proxy, Vec<Sample>)>);

impl Measured {
    pub(crate) const fn new(samples: Vec<(Proxy, Vec<Sample>)>) -> Self {
        Self(samples)
    }

    /// Of one that was measured.
    pub(crate) fn of(&self, proxy: Proxy) -> &[Sample] {
        let found = self.0.iter().find(|(measured, _)| *measured == proxy);
        found.map_or_else(|| panic!("{} was not measured", proxy.name()), |(_, samples)| samples)
    }
}

/// Measures these, in so many rounds.
pub(crate) fn measure(scene: &Scene, case: Case, proxies: &[Proxy], rounds: u32) -> Measured {
    for proxy in proxies {
        let _warm = sample(scene, case, *proxy, WARM_S);
    }
    let mut measured: Vec<_> = proxies.iter().map(|proxy| (*proxy, Vec::new())).collect();
    for round in 0..rounds as usize {
        for turn in 0..proxies.len() {
            let at = (round + turn) % proxies.len();
            let (proxy, samples) = &mut measured[at];
            samples.push(sample(scene, case, *proxy, RUN_S));
        }
    }
    Measured::new(measured)
}

fn sample(scene: &Scene, case: Case, proxy: Proxy, seconds: u32) -> Sample {
    let cookie = scene.cookie(proxy, case.tls);
    let url = proxy.url(&scene.lab, case.tls);
    let processes = scene.processes(proxy);
    let before = process::cpu_time(&processes);
    let run = case.load.run(&scene.lab, &url, cookie.as_deref(), seconds);
    let cpu_s = process::cpu_time(&processes).saturating_sub(before).as_secs_f64();
    assert_eq!(scene.processes(proxy), processes, "{}: the processes", proxy.name());
    sampled(&run, cpu_s)
}

fn sampled(run: &Run, cpu_s: f64) -> Sample {
    Sample {
        cpu_us: cpu_s * 1e6 / run.requests,
        rate: run.requests / run.seconds,
        p99_ms: run.p99_us.map(|us| us / 1e3),
        busy: cpu_s / run.seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_comes_to() {
        let run = Run { requests: 1000.0, failed: 0.0, seconds: 2.0, p99_us: Some(1500.0) };
        let sample = sampled(&run, 0.5);
        let got = [sample.cpu_us, sample.rate, sample.p99_ms.unwrap_or_default(), sample.busy];
        for (got, want) in got.iter().zip([500.0, 500.0, 1.5, 0.25]) {
            assert!((got - want).abs() < 1e-9, "{sample:?}");
        }
    }
}
