//! A round of questions without a network: for simulations.

use super::ask::{Marks, Waiting};
use super::take::{self, Progress};
use crate::broker::Broker;

/// What a master tells when it is asked.
pub(crate) struct Told(Progress);

impl Told {
    /// As the handlers of the requests tell it, in the order in which a slave asks.
    pub fn now(master: &Broker) -> Self {
        let (schedule, delays) = master.schedule.marked_snapshot();
        let marks = Marks { schedule, transactions: master.transactions.settled_from(), inherited: None };
        let offsets = master.offsets.snapshot();
        let waiting = Waiting { delays, marks: Some(marks), timer: None, popped_from: None };
        Self(Progress::new(waiting, &offsets, master.store.log_max_offset()))
    }

    pub fn is_covered(&self, slave: &Broker) -> bool {
        self.0.is_covered(slave)
    }

    pub fn take_over(self, slave: &Broker) -> Result<(), String> {
        take::progress(slave, self.0)
    }
}
