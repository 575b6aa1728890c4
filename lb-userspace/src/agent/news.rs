//! What is new of backends: each turn is told once, however often its reason changes. Pure.

use std::collections::BTreeMap;

use crate::control::facts::{Health, Reach};

/// What a report changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is in order, and was not or was not known to be.
    Better,
    /// It is not in order, and was or was not known not to be.
    Worse,
    /// As before; its reason may be another.
    None,
}

/// Whether backends are in order, as last told.
#[derive(Debug, Default)]
pub(super) struct News {
    up: BTreeMap<String, bool>,
    reached: BTreeMap<String, bool>,
}

impl News {
    /// What a probe's verdict is.
    pub(super) fn of_health(&mut self, name: &str, health: &Health) -> Turn {
        let up = match health {
            Health::Unknown => return Turn::None,
            Health::Up => true,
            Health::Down(_) => false,
        };
        turn(self.up.insert(name.to_owned(), up), up)
    }

    /// What is found of the way there.
    pub(super) fn of_reach(&mut self, name: &str, reach: &Reach) -> Turn {
        let reached = match reach {
            Reach::Pending(_) => return Turn::None,
            Reach::Known { .. } => true,
            Reach::Lost(_) => false,
        };
        turn(self.reached.insert(name.to_owned(), reached), reached)
    }

    /// Forgets backends of other names.
    pub(super) fn keep(&mut self, known: impl Fn(&str) -> bool) {
        self.up.retain(|name, _| known(name));
        self.reached.retain(|name, _| known(name));
    }
}

fn turn(before: Option<bool>, now: bool) -> Turn {
    match (before == Some(now), now) {
        (true, _) => Turn::None,
        (false, true) => Turn::Better,
        (false, false) => Turn::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_news_and_another_reason_is_none() {
        use Turn::{Better, None, Worse};
        let mut news = News::default();
        let down = |why: &str| Health::Down(why.to_owned());
        let reports = [Health::Unknown, down("a"), down("b"), down("a"), Health::Up, Health::Up];
        let turns = reports.each_ref().map(|health| news.of_health("web-1", health));
        assert_eq!(turns, [None, Worse, None, None, Better, None]);
        assert_eq!(news.of_health("web-1", &down("a")), Worse);
        assert_eq!(news.of_health("web-2", &Health::Up), Better);

        let known = Reach::Known {
            hop: lb_common::layout::Hop::default(),
            nat_sources: Vec::new(),
            mtu: 1500,
        };
        let (pending, lost) =
            (Reach::Pending("x".to_owned()), |why: &str| Reach::Lost(why.to_owned()));
        let reports = [pending.clone(), known.clone(), pending.clone(), known.clone()];
        let turns = reports.each_ref().map(|reach| news.of_reach("web-1", reach));
        assert_eq!(turns, [None, Better, None, None]);
        let reports = [pending.clone(), lost("x"), pending, lost("y"), known];
        let turns = reports.each_ref().map(|reach| news.of_reach("web-1", reach));
        assert_eq!(turns, [None, Worse, None, None, Better]);

        // Another backend may get the name.
        news.keep(|name| name == "web-2");
        assert_eq!(news.of_health("web-1", &down("a")), Worse);
        assert_eq!(news.of_health("web-2", &Health::Up), None);
    }
}
