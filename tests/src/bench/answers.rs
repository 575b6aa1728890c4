//! The ways of answers that the program has copied from its replies.

use lb_common::{
    answers::{self, TEST_JIFFY_NS},
    fingerprint,
    layout::{Answer, AnswerLines},
};
use lb_userspace::{limits::answer_regions, maps::LbMaps as _};

use super::{Bench, SEED, flows::key_of};
use crate::packet::Frame;

impl Bench {
    /// The entry that counts now for that answer, if there is one.
    ///
    /// # Panics
    ///
    /// When a map cannot be read.
    #[must_use]
    pub fn way_of(&self, answer: &Frame) -> Option<Answer> {
        let print = fingerprint::of_flow(&fingerprint::keys(SEED), &key_of(answer));
        let regions = answer_regions(self.answers.len());
        let space = self.maps.flow_space().expect("how much is in use");
        let mask = answers::mask(space.mask, regions - 1);
        let element = answers::element_of(&print, self.answers.len() / regions, mask);
        let entries = self.answers.get(&element, 0).expect("an element").entries;
        let jiffies = self.now_ns / TEST_JIFFY_NS;
        entries.into_iter().find(|entry| entry.owner >> 16 == print.tag && entry.until > jiffies)
    }

    /// Elements that entries are in: two each.
    #[must_use]
    pub fn answer_elements(&self) -> u32 {
        self.answers.len()
    }

    /// Deletes all entries.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn forget_answers(&mut self) {
        for element in 0..self.answers.len() {
            if self.answers.get(&element, 0).expect("an element") != AnswerLines::default() {
                self.answers.set(element, AnswerLines::default(), 0).expect("an element written");
            }
        }
    }
}
