//! Every row: what is measured, against what, and what is to be reached.

use std::path::Path;

use ::tests::results::{Form, Place, Row, Spread, Target};

use crate::{
    cores::Cores,
    idle,
    load::Load,
    measure::{self, Case, Measured, Sample},
    proxy::Proxy,
    scene::Scene,
};

/// How the rows are told.
pub(crate) const FORM: Form = Form {
    title: "Holdfast, layer 7: its cost or rate over that of what it is compared with",
    footnote: "Ratios are of paired rounds.",
    // Both of a pair are disturbed alike: in either direction.
    shown: [Place::LowerQuartile, Place::Median, Place::UpperQuartile],
    decides: Place::Median,
};

/// A proxy that had less of its core waited for load or backends.
const BUSY: f64 = 0.9;

const KEPT: Case = Case { load: Load::Kept, tls: false };
const CLOSED: Case = Case { load: Load::Closed, tls: false };
const KEPT_TLS: Case = Case { load: Load::Kept, tls: true };
const HANDSHAKES: Case = Case { load: Load::Handshakes, tls: true };
const STREAMS: Case = Case { load: Load::Streams, tls: true };
const CASES: [Case; 5] = [KEPT, CLOSED, KEPT_TLS, HANDSHAKES, STREAMS];

/// What is compared of two proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Cpu,
    Rate,
    /// The 99th percentile of the requests' times.
    Late,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU time",
            Self::Rate => "requests a second",
            Self::Late => "99th percentile",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "µs",
            Self::Rate => "k/s",
            Self::Late => "ms",
        }
    }

    fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Cpu => sample.cpu_us,
            Self::Rate => sample.rate / 1e3,
            Self::Late => sample.p99_ms.unwrap_or(f64::NAN),
        }
    }
}

/// A row of two proxies under load.
struct Compared {
    case: Case,
    what: What,
    ours: Proxy,
    theirs: Proxy,
    target: Option<Target>,
}

impl Compared {
    const fn new(case: Case, what: What, theirs: Proxy, target: Option<Target>) -> Self {
        Self { case, what, ours: Proxy::Holdfast, theirs, target }
    }

    fn name(&self) -> String {
        let what = self.what.name();
        if self.theirs == Proxy::Unpinned {
            return format!("{}, {what}, what persistence adds", case_name(self.case));
        }
        format!("{}, {what}, against {}", case_name(self.case), self.theirs.name())
    }
}

const COMPARED: [Compared; 21] = [
    Compared::new(KEPT, What::Cpu, Proxy::Haproxy, Some(Target::AtMost(0.95))),
    Compared::new(KEPT, What::Cpu, Proxy::Nginx, Some(Target::AtMost(1.0))),
    Compared::new(KEPT, What::Rate, Proxy::Haproxy, Some(Target::AtLeast(1.1))),
    Compared::new(KEPT, What::Rate, Proxy::Nginx, None),
    Compared::new(KEPT, What::Late, Proxy::Haproxy, None),
    Compared::new(KEPT, What::Late, Proxy::Nginx, None),
    Compared::new(KEPT, What::Cpu, Proxy::Unpinned, Some(Target::AtMost(1.05))),
    Compared::new(CLOSED, What::Cpu, Proxy::Haproxy, Some(Target::AtMost(1.1))),
    Compared::new(CLOSED, What::Cpu, Proxy::Nginx, None),
    Compared::new(CLOSED, What::Rate, Proxy::Haproxy, None),
    Compared::new(CLOSED, What::Late, Proxy::Haproxy, None),
    Compared::new(KEPT_TLS, What::Cpu, Proxy::Haproxy, Some(Target::AtMost(0.9))),
    Compared::new(KEPT_TLS, What::Cpu, Proxy::Nginx, None),
    Compared::new(KEPT_TLS, What::Rate, Proxy::Haproxy, None),
    Compared::new(KEPT_TLS, What::Late, Proxy::Haproxy, None),
    Compared::new(HANDSHAKES, What::Cpu, Proxy::Haproxy, Some(Target::AtMost(0.65))),
    Compared::new(HANDSHAKES, What::Cpu, Proxy::Nginx, None),
    Compared::new(HANDSHAKES, What::Rate, Proxy::Haproxy, None),
    Compared::new(STREAMS, What::Rate, Proxy::Nginx, Some(Target::AtLeast(1.2))),
    Compared::new(STREAMS, What::Rate, Proxy::Haproxy, None),
    Compared::new(STREAMS, What::Cpu, Proxy::Nginx, None),
];

/// Memory of connections, ours against these.
const REMEMBERED: [(Proxy, Option<Target>); 2] =
    [(Proxy::Haproxy, Some(Target::AtMost(1.0))), (Proxy::Nginx, None)];

/// What is to be measured.
pub(crate) struct Bench<'a> {
    pub(crate) holdfast: &'a Path,
    pub(crate) cores: Cores,
    pub(crate) rounds: u32,
    pub(crate) only: &'a str,
}

impl Bench<'_> {
    /// Measures all rows that are wanted.
    pub(crate) fn run(&self) -> Vec<Row> {
        let wanted: Vec<&Compared> =
            COMPARED.iter().filter(|row| row.name().contains(self.only)).collect();
        let mut rows = Vec::new();
        if !wanted.is_empty() {
            let scene = Scene::start(self.holdfast, self.cores);
            for case in CASES {
                let of_case = wanted.iter().filter(|row| row.case == case);
                rows.extend(self.under_load(&scene, case, &of_case.copied().collect::<Vec<_>>()));
            }
        }
        rows.extend(self.memory());
        rows
    }

    /// All rows of one kind of load, from the same rounds.
    fn under_load(&self, scene: &Scene, case: Case, wanted: &[&Compared]) -> Vec<Row> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let proxies = all(wanted.iter().flat_map(|row| [row.ours, row.theirs]));
        let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name()).collect();
        eprintln!("measuring: {}: {}", case_name(case), names.join(", "));
        let measured = measure::measure(scene, case, &proxies, self.rounds);
        wanted.iter().map(|row| compared(row, &measured)).collect()
    }

    /// Memory of connections that are idle.
    fn memory(&self) -> Vec<Row> {
        let name =
            |theirs: Proxy| format!("memory of 1,000 idle connections, against {}", theirs.name());
        let wanted: Vec<_> =
            REMEMBERED.iter().filter(|(theirs, _)| name(*theirs).contains(self.only)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        eprintln!("measuring: memory of idle connections");
        let theirs = wanted.iter().map(|(theirs, _)| *theirs);
        let proxies = all([Proxy::Holdfast].into_iter().chain(theirs));
        let measured = idle::measure(self.holdfast, self.cores, &proxies, self.rounds);
        let values = |proxy| {
            let found = measured.iter().find(|(measured, _)| *measured == proxy);
            found.map_or(&[][..], |(_, values)| &values[..])
        };
        let row = |(theirs, target): &&(Proxy, Option<Target>)| {
            let mib = |proxy| values(proxy).iter().map(|kib| kib / 1024.0).collect::<Vec<_>>();
            let sides = [mib(Proxy::Holdfast), mib(*theirs)];
            ratios(name(*theirs), theirs.name(), "MiB", &sides, *target)
        };
        wanted.iter().map(row).collect()
    }
}

const fn case_name(case: Case) -> &'static str {
    match (case.load, case.tls) {
        (Load::Kept, false) => "keep-alive",
        (Load::Kept, true) => "TLS, keep-alive",
        (Load::Closed | Load::Handshakes, false) => "a connection each",
        (Load::Closed | Load::Handshakes, true) => "TLS, a full handshake each",
        (Load::Streams, _) => "HTTP/2",
    }
}

/// Each once.
fn all(proxies: impl Iterator<Item = Proxy>) -> Vec<Proxy> {
    let mut all = Vec::new();
    for proxy in proxies {
        if !all.contains(&proxy) {
            all.push(proxy);
        }
    }
    all
}

fn compared(row: &Compared, measured: &Measured) -> Row {
    let samples = [row.ours, row.theirs].map(|proxy| measured.of(proxy));
    let values = |of: fn(&Sample, What) -> f64| {
        samples.map(|samples| samples.iter().map(|sample| of(sample, row.what)).collect::<Vec<_>>())
    };
    let sides = values(|sample, what| what.of(sample));
    let mut made = ratios(row.name(), row.theirs.name(), row.what.unit(), &sides, row.target);
    if row.what != What::Cpu {
        let [ours, theirs] = values(|sample, _| sample.busy).map(|busy| median(&busy));
        let notes = [("ours", ours), ("theirs", theirs)].into_iter();
        let idle = notes.filter(|(_, busy)| *busy < BUSY);
        let notes = idle.map(|(whose, busy)| format!("{whose}: {:.0} % of its core", busy * 100.0));
        made.note = notes.collect::<Vec<_>>().join("; ");
    }
    made
}

/// A row of both sides' values, by round.
fn ratios(
    name: String,
    against: &'static str,
    unit: &'static str,
    sides: &[Vec<f64>; 2],
    target: Option<Target>,
) -> Row {
    let [ours, theirs] = sides;
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let spread = Spread::of(&ratios).unwrap_or_else(|| panic!("{name}: nothing was measured"));
    let sides = Some(([median(ours), median(theirs)], unit));
    Row { name, against, unit: "", spread, sides, target, note: String::new() }
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_have_one_name() {
        let mut names: Vec<String> = COMPARED.iter().map(Compared::name).collect();
        names.sort();
        let rows = names.len();
        names.dedup();
        assert_eq!(names.len(), rows, "{names:?}");
        assert!(COMPARED.iter().all(|row| CASES.contains(&row.case)));
    }

    #[test]
    fn ratios_are_of_one_round() {
        let sides = [vec![1.0, 4.0, 9.0], vec![2.0, 4.0, 6.0]];
        let row = ratios("a row".to_owned(), "nginx", "µs", &sides, Some(Target::AtMost(1.0)));
        assert!((row.spread.median - 1.0).abs() < 1e-9, "{row:?}");
        assert!((row.spread.upper_quartile - 1.25).abs() < 1e-9, "{row:?}");
        assert_eq!(row.sides, Some(([4.0, 4.0], "µs")));
        assert_eq!(FORM.reached(&row), Some(true));
    }

    #[test]
    fn the_load_that_limits_is_told() {
        let sample = |busy| Sample { cpu_us: 20.0, rate: 50e3, p99_ms: Some(2.0), busy };
        let measured = Measured::new(vec![
            (Proxy::Holdfast, vec![sample(0.62)]),
            (Proxy::Haproxy, vec![sample(0.97)]),
        ]);
        let note =
            |what| compared(&Compared::new(KEPT, what, Proxy::Haproxy, None), &measured).note;
        assert_eq!(note(What::Rate), "ours: 62 % of its core");
        assert_eq!(note(What::Cpu), "");
    }
}
