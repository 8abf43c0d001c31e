//! The store against the ledger, as clients see it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use apogee_message::names::property;
use apogee_message::record::{self, Record};

use crate::body;
use crate::ledger::{Ledger, show};
use crate::load::Place;
use crate::peer::{Peer, Pulled};
use apogee_base::rng::Rng;

/// How long what is promised may take to appear after a start.
const APPEARS: Duration = Duration::from_secs(5);
/// Offsets before what is new that are read again in each verification.
const OVERLAP: usize = 8;
/// Messages that are looked for by their keys in each verification.
const SAMPLE: usize = 4;

/// What is looked at, and what is allowed.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Everything, not only what is new.
    pub full: bool,
    /// When the server was ended; `None`: it was not, or it stopped by itself.
    pub ended: Option<Instant>,
    /// It was ended by a power cut, which may have taken what was promised shortly before it.
    pub async_cut: bool,
    /// Messages that a damage may have taken: their places in the queues are passed over.
    pub damaged: usize,
    /// Where the consumers are was taken away.
    pub without_commits: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not be.
    pub findings: Vec<String>,
    /// Promised messages that are gone.
    pub lost: u64,
    /// The ages, at the cut, of promised messages that an asynchronous flush lost.
    pub lost_ages: Vec<Duration>,
    /// Messages that are there without having been acknowledged.
    pub unacknowledged: u64,
    /// Messages that a damage took.
    pub damaged: u64,
    /// Messages read.
    pub read: u64,
    /// Consumer offsets that went back to one that was acknowledged shortly before the end.
    pub offsets_back: u64,
}

/// Looks at the store, and takes what is seen into the ledger. Consumer offsets must be on disk so long after
/// they were acknowledged.
pub fn verify(
    address: SocketAddr,
    ledger: &mut Ledger,
    scope: &Scope,
    saved_within: Duration,
    rng: &mut Rng,
) -> io::Result<Outcome> {
    let mut peer = Peer::connect(address)?;
    let mut outcome = Outcome::default();
    let places: Vec<Place> = ledger.queues.keys().chain(ledger.sent.values()).cloned().collect();
    let places: HashSet<Place> = places.into_iter().collect();
    let mut sample = Vec::new();
    for place in &places {
        Check { peer: &mut peer, ledger, scope, outcome: &mut outcome, place }.queue(&mut sample, rng)?;
    }
    if outcome.damaged as usize > scope.damaged {
        let text = format!("{} messages are gone where {} may be", outcome.damaged, scope.damaged);
        outcome.findings.push(text);
        outcome.lost += outcome.damaged;
    }
    if !scope.without_commits {
        commits(&mut peer, ledger, scope, saved_within, &mut outcome)?;
    }
    // Not after a damage: it may have taken just those.
    if scope.damaged == 0 {
        lookups(&mut peer, &sample, &mut outcome)?;
    }
    Ok(outcome)
}

struct Check<'c> {
    peer: &'c mut Peer,
    ledger: &'c mut Ledger,
    scope: &'c Scope,
    outcome: &'c mut Outcome,
    place: &'c Place,
}

impl Check<'_> {
    fn finding(&mut self, text: &str) {
        self.outcome.findings.push(format!("{}: {text}", show(self.place)));
    }

    fn queue(mut self, sample: &mut Vec<(Place, u64)>, rng: &mut Rng) -> io::Result<()> {
        let queue = self.ledger.queues.entry(self.place.clone()).or_default();
        let (promised, read) = (std::mem::take(&mut queue.promised), std::mem::take(&mut queue.read));
        let known = queue.seen.len();
        let end = promised.keys().next_back().map_or(known as i64, |last| (last + 1).max(known as i64));
        let (found_end, begin) = self.bounds(end)?;
        // A damage may have taken the first.
        if begin > self.scope.damaged as i64 {
            self.finding(&format!("it begins at offset {begin}: what is before it was deleted"));
        }
        let from = if self.scope.full { 0 } else { known.saturating_sub(OVERLAP) } as i64;
        let found = self.walk(from, found_end.max(end))?;
        let mut seen = std::mem::take(&mut self.ledger.queues.entry(self.place.clone()).or_default().seen);
        // What was there before must be there still; what is new must be what was sent here.
        let mut next = from;
        for (offset, id) in found {
            for hole in next..offset {
                self.missing(hole, &seen, &promised, &read);
                if hole as usize >= seen.len() {
                    seen.push(u64::MAX);
                }
            }
            if offset < next {
                self.finding(&format!("offset {offset} came twice"));
                continue;
            }
            next = offset + 1;
            self.place_of(offset, id, &mut seen);
            let expected = promised.get(&offset).map(|promise| promise.id);
            if expected.is_none() && offset as usize >= known {
                self.outcome.unacknowledged += 1;
            }
            for (what, expected) in [("told for", expected), ("read as", read.get(&offset).copied())] {
                if let Some(expected) = expected.filter(|expected| *expected != id) {
                    self.finding(&format!("offset {offset} was {what} message {expected:x} and holds {id:x}"));
                    self.outcome.lost += 1;
                }
            }
        }
        for hole in next..end.max(known as i64) {
            self.missing(hole, &seen, &promised, &read);
        }
        seen.truncate(seen.len().min(next.max(0) as usize));
        let nth = rng.number() as usize % promised.len().max(1);
        if let Some(last) = promised.range(..next).nth(nth).filter(|_| sample.len() < SAMPLE) {
            sample.push((self.place.clone(), last.1.id));
        }
        self.ledger.queues.entry(self.place.clone()).or_default().seen = seen;
        Ok(())
    }

    /// End and begin of the queue, the end once it is where it must be, if it comes to that.
    fn bounds(&mut self, end: i64) -> io::Result<(i64, i64)> {
        let deadline = Instant::now() + if self.scope.async_cut { Duration::ZERO } else { APPEARS };
        loop {
            let found = self.peer.max_offset(&self.place.0, self.place.1)?;
            if found >= end || Instant::now() >= deadline {
                return Ok((found, self.peer.min_offset(&self.place.0, self.place.1)?));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Offsets and ids of all records from an offset on.
    fn walk(&mut self, from: i64, end: i64) -> io::Result<Vec<(i64, u64)>> {
        let (mut at, mut found) = (from, Vec::new());
        while at < end {
            let Pulled { code, body, next } = self.peer.pull(&self.place.0, self.place.1, at)?;
            let mut last = at - 1;
            for item in record::iter(&body) {
                match item {
                    Ok(record) => {
                        last = record.queue_offset;
                        self.record(&record, &mut found);
                    }
                    Err(error) => {
                        self.finding(&format!("a pull at offset {at} brought no records: {error}"));
                        break;
                    }
                }
            }
            let next = next.max(last + 1);
            if next <= at {
                if found.last().is_none_or(|(offset, _)| offset + 1 < end)
                    && !self.scope.async_cut
                    && self.scope.damaged == 0
                {
                    self.finding(&format!("a pull at offset {at} of {end} gets no further: code {code}"));
                }
                break;
            }
            at = next;
        }
        Ok(found)
    }

    fn record(&mut self, record: &Record<'_>, found: &mut Vec<(i64, u64)>) {
        self.outcome.read += 1;
        let offset = record.queue_offset;
        if record.topic != &*self.place.0 || record.queue_id != self.place.1 {
            self.finding(&format!("offset {offset} is a message of topic {} queue {}", record.topic, record.queue_id));
        }
        match body::check(record.body) {
            Some(id) => {
                let as_sent = record.property(property::UNIQ_KEY) == Some(&body::key(id))
                    && record.property(property::TAGS) == Some(body::tag(id))
                    && (record.flag, record.born_timestamp) == (body::FLAG, body::BORN);
                if !as_sent {
                    self.finding(&format!("offset {offset}, message {id:x}, has other properties than were sent"));
                }
                found.push((offset, id));
            }
            None => self.finding(&format!("offset {offset} has a wrong body of {} bytes", record.body.len())),
        }
    }

    /// Nothing is at an offset where something may have been.
    fn missing(
        &mut self,
        offset: i64,
        seen: &[u64],
        promised: &std::collections::BTreeMap<i64, crate::ledger::Promise>,
        read: &std::collections::BTreeMap<i64, u64>,
    ) {
        if seen.get(offset as usize) == Some(&u64::MAX) {
            return;
        }
        if self.scope.damaged > 0 {
            self.outcome.damaged += 1;
            return;
        }
        if self.scope.async_cut && (offset as usize) >= seen.len() {
            let ended = self.scope.ended.zip(promised.get(&offset));
            self.outcome.lost_ages.extend(ended.map(|(ended, promise)| ended.saturating_duration_since(promise.at)));
            return;
        }
        let what = match (promised.get(&offset), read.get(&offset), seen.get(offset as usize)) {
            (Some(promise), _, _) => {
                let before = self.scope.ended.map_or(0.0, |ended| {
                    let before = ended.saturating_duration_since(promise.at).as_secs_f64();
                    (before - promise.at.saturating_duration_since(ended).as_secs_f64()) * 1e3
                });
                format!("message {:x}, acknowledged {before:.1} ms before the end, is not there", promise.id)
            }
            (_, Some(id), _) => format!("message {id:x}, which the consumer had read, is not there"),
            (_, _, Some(id)) => format!("message {id:x}, seen after an earlier start, is not there"),
            _ => "a hole".to_owned(),
        };
        self.outcome.lost += 1;
        self.finding(&format!("offset {offset}: {what}"));
    }

    fn place_of(&mut self, offset: i64, id: u64, seen: &mut Vec<u64>) {
        match seen.get(offset as usize) {
            Some(before) if *before == id || *before == u64::MAX => {}
            Some(before) => {
                let text = format!("offset {offset} held message {before:x} and holds {id:x}");
                self.outcome.lost += 1;
                self.finding(&text);
            }
            None => {
                match self.ledger.sent.remove(&id) {
                    Some(place) if place == *self.place => {}
                    Some(place) => {
                        self.finding(&format!("offset {offset} holds message {id:x}, sent to {}", show(&place)));
                    }
                    None => self.finding(&format!("offset {offset} holds message {id:x}, which is elsewhere already")),
                }
                seen.push(id);
            }
        }
    }
}

/// No consumer offset has gone back behind the end of its queue and one that was acknowledged `saved_within` before the end.
fn commits(
    peer: &mut Peer,
    ledger: &mut Ledger,
    scope: &Scope,
    saved_within: Duration,
    outcome: &mut Outcome,
) -> io::Result<()> {
    for (place, commit) in &mut ledger.commits {
        let found = peer.committed(&place.0, place.1)?.unwrap_or(0);
        let latest = |acknowledged: &[(Instant, i64)], age: Duration| {
            let counts = |at: &Instant| scope.ended.is_none_or(|ended| *at + age <= ended);
            acknowledged.iter().filter(|(at, _)| counts(at)).map(|(_, offset)| *offset).max().unwrap_or(0)
        };
        // A group that had consumed what is lost goes on with what comes in its place; whether it may be lost is
        // looked at elsewhere.
        let end = peer.max_offset(&place.0, place.1)?;
        let saved = latest(&commit.acknowledged, saved_within).max(commit.floor).min(end);
        if found < saved || found > commit.asked {
            let asked = commit.asked;
            let text = format!("the group's offset is {found}; {saved} was acknowledged, {asked} asked for");
            outcome.findings.push(format!("{}: {text}", show(place)));
        }
        outcome.offsets_back += u64::from(found < latest(&commit.acknowledged, Duration::ZERO));
        commit.floor = found;
        commit.acknowledged.clear();
    }
    Ok(())
}

/// Some messages are found by their unique keys; the index follows a moment later.
fn lookups(peer: &mut Peer, sample: &[(Place, u64)], outcome: &mut Outcome) -> io::Result<()> {
    for (place, id) in sample {
        let (key, deadline) = (body::key(*id), Instant::now() + APPEARS);
        loop {
            let body = peer.query(&place.0, &key)?;
            let found = record::iter(&body).filter_map(Result::ok);
            let count = found.filter(|record| body::check(record.body) == Some(*id)).count();
            if count == 1 {
                break;
            }
            if Instant::now() > deadline {
                outcome.findings.push(format!("{}: key {key} finds {count} messages", show(place)));
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}
