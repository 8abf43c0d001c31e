//! What clients asked for and what they were told, with the moments of both.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A queue: its topic, and its number there. All brokers of a cluster here have one name.
pub type Place = (String, i32);

/// What became of a send.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The broker promised it.
    Acknowledged {
        /// The queue offset that was told.
        offset: i64,
        /// Who promised.
        by: Ipv4Addr,
    },
    /// The broker has it and promises nothing: its flush or its copies took too long.
    Unsafe(String),
    /// An error, or no answer: it may be stored or not.
    Unknown(String),
}

/// One message that was sent. Moments are since the history's begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    /// Which, see [`crate::body`].
    pub id: u64,
    /// Where to; `None` when it did not come to that.
    pub place: Option<Place>,
    /// How often it may be stored: as often as the client may have tried.
    pub copies: u32,
    /// When the client was asked to send it.
    pub invoked: Duration,
    /// When the client told what became of it.
    pub ended: Duration,
    /// What that was.
    pub outcome: Outcome,
}

impl Sending {
    /// The offset that was promised.
    pub fn acknowledged(&self) -> Option<i64> {
        match self.outcome {
            Outcome::Acknowledged { offset, .. } => Some(offset),
            _ => None,
        }
    }
}

/// What all clients of a run were told. Shared by their tasks.
#[derive(Debug)]
pub struct History {
    began: Instant,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    sends: Vec<Sending>,
    /// How often the consumers of the group were given each message.
    consumed: HashMap<u64, u32>,
    /// Bodies that the consumers could not tell.
    strange: Vec<String>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), told: Mutex::default() }
    }
}

impl History {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        // Whoever panicked had added a whole entry or none.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the begin.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A send has ended.
    pub fn sent(&self, sending: Sending) {
        self.told().sends.push(sending);
    }

    /// A consumer was given a message; `Err` says where one is whose body is not what was sent.
    pub fn consumed(&self, message: Result<u64, String>) {
        let mut told = self.told();
        match message {
            Ok(id) => *told.consumed.entry(id).or_default() += 1,
            Err(place) => told.strange.push(place),
        }
    }

    /// All sends so far.
    pub fn sends(&self) -> Vec<Sending> {
        self.told().sends.clone()
    }

    /// What the group has been given, and what of it was no message of ours.
    pub fn given(&self) -> (HashMap<u64, u32>, Vec<String>) {
        let told = self.told();
        (told.consumed.clone(), told.strange.clone())
    }

    /// The first promise for a message that was sent after a moment: when, by whom. `only` chooses among the messages.
    pub fn first_promise_after(
        &self,
        moment: Duration,
        only: impl Fn(&Sending) -> bool,
    ) -> Option<(Duration, Ipv4Addr)> {
        let told = self.told();
        let promises = told.sends.iter().filter(|sending| sending.invoked >= moment && only(sending));
        let promises = promises.filter_map(|sending| match sending.outcome {
            Outcome::Acknowledged { by, .. } => Some((sending.ended, by)),
            _ => None,
        });
        promises.min()
    }

    /// How many messages were promised.
    pub fn acknowledged(&self) -> usize {
        self.told().sends.iter().filter(|sending| sending.acknowledged().is_some()).count()
    }

    /// Sends that were not promised, by the reason.
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for sending in &self.told().sends {
            if let Outcome::Unsafe(reason) | Outcome::Unknown(reason) = &sending.outcome {
                *reasons.entry(reason.clone()).or_default() += 1;
            }
        }
        reasons
    }

    /// A line for each send and for each message that was consumed more than once, for people who look for what went wrong.
    pub fn dump(&self) -> String {
        let told = self.told();
        let mut sends: Vec<&Sending> = told.sends.iter().collect();
        sends.sort_by_key(|sending| sending.invoked);
        let mut text = String::from("invoked_ms ended_ms id queue outcome\n");
        for Sending { id, place, invoked, ended, outcome, .. } in sends {
            let place = place.as_ref().map_or_else(|| "-".to_owned(), |(topic, queue)| format!("{topic}:{queue}"));
            let outcome = match outcome {
                Outcome::Acknowledged { offset, by } => format!("offset {offset} by {by}"),
                Outcome::Unsafe(reason) => format!("unsafe: {reason}"),
                Outcome::Unknown(reason) => format!("unknown: {reason}"),
            };
            text.push_str(&format!("{} {} {id:x} {place} {outcome}\n", invoked.as_millis(), ended.as_millis()));
        }
        text
    }
}
