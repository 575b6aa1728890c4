//! Instructions a packet: counted in a guest whose every instruction takes a nanosecond of its time,
//! and handed to the host as lines of text.

use std::path::Path;

use ::tests::generator::Driver;
use anyhow::Context as _;

use crate::{
    scene::Mode,
    veth::{self, Amount, Way},
};

/// Whose instructions are counted.
pub(crate) const WAYS: [Way; 6] = [
    Way::Empty,
    Way::Holdfast(Mode::Dsr),
    Way::Holdfast(Mode::Nat),
    Way::Forwarding,
    Way::Ipvs(Mode::Dsr),
    Way::Ipvs(Mode::Nat),
];
/// What such a line begins with.
const MARK: &str = "instructions:";

/// In the guest: a line for each way, with the instructions a packet in each round. They hardly
/// differ, so rounds are few; how many flows there are matters little where no cache is.
pub(crate) fn count(object: &Path) -> Vec<String> {
    let mut driver = Driver::load(object, 1024);
    let amount = Amount { flows: 1024, rounds: 5, packets: 4096 };
    let measured = veth::measure(&mut driver, &WAYS, amount);
    let line = |measured: veth::Measured| {
        let counts = measured.rates.iter().map(|rate| format!("\t{:.1}", 1e9 / rate));
        format!("{MARK}{}{}", measured.way.name(), counts.collect::<String>())
    };
    measured.into_iter().map(line).collect()
}

/// On the host: what the guest has counted.
pub(crate) struct Counted(Vec<(String, Vec<f64>)>);

impl Counted {
    /// From the guest's output.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(Self::of(&String::from_utf8_lossy(&text)))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.trim_end().strip_prefix(MARK));
        let counts = lines.filter_map(|line| {
            let mut parts = line.split('\t');
            let name = parts.next()?.to_owned();
            Some((name, parts.filter_map(|part| part.parse().ok()).collect()))
        });
        Self(counts.collect())
    }

    /// The instructions a packet, by round.
    pub(crate) fn instructions(&self, way: Way) -> &[f64] {
        let name = way.name();
        let found = self.0.iter().find(|(counted, _)| *counted == name);
        found.map_or_else(|| panic!("the guest has not counted: {name}"), |(_, counts)| counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says() {
        let text =
            "measuring\r\ninstructions:dsr\t1543.0\t1544.5\r\ninstructions:IPVS DR\t6046\r\n";
        let counted = Counted::of(text);
        assert_eq!(counted.instructions(Way::Holdfast(Mode::Dsr)), [1543.0, 1544.5]);
        assert_eq!(counted.instructions(Way::Ipvs(Mode::Dsr)), [6046.0]);
    }
}
