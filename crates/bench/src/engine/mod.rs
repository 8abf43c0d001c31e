//! One thread that drives many connections, each with many requests in flight.
//!
//! It shares a machine with the server it measures, so that it must cost little: one `epoll` for all
//! connections, all answers of a read handled at once, and one write for all requests that follow from them.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use apogee_wire::Command;
use bytes::BytesMut;

mod clock;
pub(crate) mod frames;
mod link;
mod pace;
mod tally;
mod waiter;

pub(crate) use clock::{Clock, SECOND};
use frames::{Answer, Recogniser, cut};
pub(crate) use link::connect;
use link::{FREE, Link};
pub(crate) use pace::{Pace, Phase};
pub(crate) use tally::{Latencies, Progress, Tally};
use waiter::{Events, Waiter};

use crate::error::BenchError;

/// Numbers of requests begin here, so that all have the same count of digits.
pub(crate) const FIRST_OPAQUE: i32 = 1_000_000_000;
/// How long no answer at all may come while some are waited for, in nanoseconds.
const PATIENCE: u64 = 30 * SECOND;
/// How long a connection sends nothing after a request failed, in nanoseconds.
const PAUSE: u64 = SECOND / 100;
/// How often it is seen whether a run is over, in nanoseconds.
const LOOK: u64 = SECOND / 50;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// Where a request goes: a connection, and one of its slots for requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The connection's number.
    pub link: usize,
    /// The slot's number.
    pub slot: u32,
}

impl Place {
    /// The number of a request from here, which its answer bears.
    pub(crate) fn opaque(self) -> i32 {
        FIRST_OPAQUE + self.slot as i32
    }
}

/// When a request should have been sent, and when its answer was read; nanoseconds of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub intended: u64,
    pub now: u64,
}

impl Timing {
    /// Nanoseconds from the one to the other.
    pub(crate) fn latency(self) -> u64 {
        self.now.saturating_sub(self.intended)
    }
}

/// What an answer means for its connection.
pub(crate) enum Verdict {
    /// On to the next request.
    Next,
    /// Another request of the same place belongs to the first one, and is sent at once; the time goes on.
    Again,
    /// It failed: the error is counted, and the connection rests a moment.
    Failed(String),
}

/// What is sent, and what is made of the answers.
pub(crate) trait Traffic: Send {
    /// Appends the next request of a place, which bears [`Place::opaque`]. False: this place is not needed any more.
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool;

    /// Takes the answer to the request of a place.
    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict;

    /// Takes a request of the broker. `out` goes to it.
    fn asked(&mut self, _link: usize, _request: &Command, _out: &mut BytesMut) {}

    /// Nobody answers the requests.
    fn one_way(&self) -> bool {
        false
    }

    /// Counts a request that nobody answers: it is queued.
    fn queued(&mut self, _tally: &mut Tally) {}

    /// What it was for is reached: requests in flight are left alone.
    fn is_over(&mut self, _now: u64) -> bool {
        false
    }

    /// What makes it pointless to go on.
    fn failure(&mut self) -> Option<BenchError> {
        None
    }

    /// At the end of the time, requests in flight are left alone: a long poll may take its time.
    fn abandons(&self) -> bool {
        false
    }
}

/// The connections, and what goes over them.
pub(crate) struct Engine<T> {
    links: Vec<Link>,
    waiter: Waiter,
    recogniser: Recogniser,
    /// What is sent.
    pub traffic: T,
    /// What came of it, in this phase.
    pub tally: Tally,
    progress: Arc<Progress>,
    clock: Clock,
    issued: u64,
    in_flight: usize,
    /// The connection whose turn it is in paced traffic.
    turn: usize,
    /// What is due waits for a slot.
    starved: bool,
    /// Connections with requests that were not written yet.
    unflushed: Vec<usize>,
    /// When the first of the resting connections goes on.
    resume_at: u64,
    heard: u64,
}

impl<T: Traffic> Engine<T> {
    /// Takes over connections, each with what was read of it and its number of slots.
    pub(crate) fn new(
        connections: Vec<(TcpStream, Vec<u8>, u32)>,
        traffic: T,
        clock: Clock,
    ) -> Result<Self, BenchError> {
        let waiter = Waiter::new()?;
        let mut links = Vec::with_capacity(connections.len());
        for (at, (stream, read, slots)) in connections.into_iter().enumerate() {
            stream.set_nonblocking(true).map_err(|error| BenchError::system("cannot prepare a connection", error))?;
            waiter.add(&stream, at)?;
            links.push(Link::new(stream, read, slots));
        }
        Ok(Self {
            links,
            waiter,
            recogniser: Recogniser::default(),
            traffic,
            tally: Tally::default(),
            progress: Arc::default(),
            clock,
            issued: 0,
            in_flight: 0,
            turn: 0,
            starved: false,
            unflushed: Vec::new(),
            resume_at: u64::MAX,
            heard: 0,
        })
    }

    /// How far it is, for who watches.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Sends until the phase is over, and takes the answers.
    pub(crate) fn run(&mut self, phase: &Phase) -> Result<(), BenchError> {
        self.tally = Tally::default();
        self.issued = 0;
        let (mut buffer, mut events) = (vec![0; READ], Events::new());
        let mut now = self.clock.now();
        self.heard = now;
        self.resume_at = now;
        loop {
            let open = self.is_open(phase, now);
            if self.traffic.is_over(now) || (!open && self.traffic.abandons()) {
                break;
            }
            if let Some(error) = self.traffic.failure() {
                return Err(error);
            }
            if open {
                self.fill(phase, now)?;
            }
            if self.in_flight == 0 && self.links.iter().all(Link::is_flushed) && self.is_done(phase, now) {
                break;
            }
            if self.in_flight > 0 && now.saturating_sub(self.heard) > PATIENCE {
                let seconds = PATIENCE / SECOND;
                return Err(BenchError::new(format!(
                    "{} requests are not answered; none was for {seconds} s",
                    self.in_flight
                )));
            }
            self.wait(phase, open, &mut events)?;
            while let Some(at) = events.next() {
                self.serve(at, phase, &mut buffer)?;
            }
            now = self.clock.now();
            self.progress.messages.store(self.tally.messages, Ordering::Relaxed);
            self.progress.errors.store(self.tally.errors.count(), Ordering::Relaxed);
        }
        self.progress.messages.store(self.tally.messages, Ordering::Relaxed);
        Ok(())
    }

    /// Whether new requests may be sent.
    fn is_open(&self, phase: &Phase, now: u64) -> bool {
        phase.end().is_none_or(|end| now < end) && phase.operations.is_none_or(|all| self.issued < all)
    }

    /// Nothing is in flight: whether nothing will be any more.
    fn is_done(&self, phase: &Phase, now: u64) -> bool {
        !self.is_open(phase, now) || self.links.iter().all(|link| link.free.is_empty())
    }

    /// Sends what may be sent now on connections that no event speaks of.
    fn fill(&mut self, phase: &Phase, now: u64) -> Result<(), BenchError> {
        if now >= self.resume_at {
            self.resume_at = u64::MAX;
            for at in 0..self.links.len() {
                let until = self.links[at].paused_until;
                if until > now {
                    self.resume_at = self.resume_at.min(until);
                } else if phase.pace.is_none() {
                    self.fill_link(at, phase, now)?;
                }
            }
        }
        let Some(pace) = &phase.pace else { return Ok(()) };
        // Whoever waited for a slot is late by the server's doing, not by ours.
        let starved = std::mem::take(&mut self.starved);
        while self.is_open(phase, now) {
            let intended = pace.intended(phase.start, self.issued);
            if intended > now {
                break;
            }
            let Some(at) = self.next_with_slot(now) else {
                self.starved = true;
                break;
            };
            if !starved {
                self.tally.lateness.record(now - intended);
            }
            if self.links[at].is_flushed() {
                self.unflushed.push(at);
            }
            self.issue(at, intended, now);
        }
        while let Some(at) = self.unflushed.pop() {
            self.flush(at)?;
        }
        Ok(())
    }

    /// The next connection in turn that can take a request.
    fn next_with_slot(&mut self, now: u64) -> Option<usize> {
        let count = self.links.len();
        let at = (0..count).map(|step| (self.turn + step) % count).find(|&at| {
            let link = &self.links[at];
            !link.free.is_empty() && link.paused_until <= now && link.has_room()
        })?;
        self.turn = (at + 1) % count;
        Some(at)
    }

    /// Sends all that a connection has slots for.
    fn fill_link(&mut self, at: usize, phase: &Phase, now: u64) -> Result<(), BenchError> {
        if self.links[at].paused_until > now || self.links[at].blocked {
            return Ok(());
        }
        loop {
            let mut more = true;
            while more && self.links[at].has_room() {
                more = self.is_open(phase, now) && !self.links[at].free.is_empty();
                if more {
                    self.issue(at, now, now);
                }
            }
            if self.links[at].is_flushed() {
                return Ok(());
            }
            self.flush(at)?;
            if !more || self.links[at].blocked {
                return Ok(());
            }
            if self.traffic.one_way() {
                // Others have their turn, and the clock is looked at.
                self.resume_at = now;
                return Ok(());
            }
        }
    }

    /// Queues one request of a connection that has a slot.
    fn issue(&mut self, at: usize, intended: u64, now: u64) {
        let link = &mut self.links[at];
        let Some(slot) = link.free.pop() else { return };
        if !self.traffic.request(Place { link: at, slot }, now, &mut link.out) {
            return;
        }
        self.issued += 1;
        if self.traffic.one_way() {
            link.free.push(slot);
            self.traffic.queued(&mut self.tally);
        } else {
            link.intended[slot as usize] = intended;
            if self.in_flight == 0 {
                self.heard = now;
            }
            self.in_flight += 1;
        }
    }

    fn flush(&mut self, at: usize) -> Result<(), BenchError> {
        let link = &mut self.links[at];
        let was_blocked = link.blocked;
        link.write()?;
        if link.blocked != was_blocked {
            self.waiter.watch_writes(&link.stream, at, link.blocked)?;
        }
        Ok(())
    }

    /// Reads what came over a connection, and sends what follows from it.
    fn serve(&mut self, at: usize, phase: &Phase, buffer: &mut [u8]) -> Result<(), BenchError> {
        loop {
            let length = self.links[at].read(buffer)?;
            let now = self.clock.now();
            if length > 0 {
                self.heard = now;
                self.take(at, &buffer[..length], now)?;
            }
            // Less than it asked for: there was no more.
            if length < buffer.len() {
                if !self.links[at].is_flushed() {
                    self.flush(at)?;
                }
                return if phase.pace.is_none() { self.fill_link(at, phase, now) } else { Ok(()) };
            }
        }
    }

    /// Handles the frames that are complete with these bytes.
    fn take(&mut self, at: usize, bytes: &[u8], now: u64) -> Result<(), BenchError> {
        if self.links[at].partial.is_empty() {
            let used = self.frames(at, bytes, now)?;
            self.links[at].partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.links[at].partial);
        partial.extend_from_slice(bytes);
        let used = self.frames(at, &partial, now)?;
        partial.drain(..used);
        self.links[at].partial = partial;
        Ok(())
    }

    /// Handles all whole frames; returns how many bytes they were.
    fn frames(&mut self, at: usize, bytes: &[u8], now: u64) -> Result<usize, BenchError> {
        let mut used = 0;
        while let Some((header, length)) = cut(&bytes[used..])? {
            let (opaque, mut answer) = self.recogniser.recognise(&bytes[used..used + length], header)?;
            used += length;
            if let Answer::Other(command) = &mut answer
                && !command.is_response()
            {
                self.traffic.asked(at, command, &mut self.links[at].out);
                continue;
            }
            let link = &mut self.links[at];
            let slot = opaque.wrapping_sub(FIRST_OPAQUE) as u32;
            let intended = link.intended.get_mut(slot as usize).map_or(FREE, |slot| std::mem::replace(slot, FREE));
            if intended == FREE {
                return Err(BenchError::new(format!("the broker answered a request {opaque} that is not open")));
            }
            let (place, timing) = (Place { link: at, slot }, Timing { intended, now });
            let verdict = self.traffic.answer(place, &answer, timing, &mut self.tally);
            if let Verdict::Again = verdict
                && self.traffic.request(place, now, &mut link.out)
            {
                link.intended[slot as usize] = intended;
                continue;
            }
            link.free.push(slot);
            self.in_flight -= 1;
            if let Verdict::Failed(text) = verdict {
                self.tally.errors.add(&text);
                link.paused_until = now + PAUSE;
                self.resume_at = self.resume_at.min(link.paused_until);
            }
        }
        Ok(used)
    }

    /// Waits for an event, for the next request's time, or for the end.
    fn wait(&mut self, phase: &Phase, open: bool, events: &mut Events) -> Result<(), BenchError> {
        let now = self.clock.now();
        let mut until = now + LOOK;
        if open {
            until = until.min(phase.end().unwrap_or(u64::MAX)).min(self.resume_at);
        }
        // What is due already and waits for a slot waits for no moment.
        let pace = phase.pace.as_ref().filter(|_| open && !self.starved);
        let next = pace.map(|pace| pace.intended(phase.start, self.issued));
        if next.is_some_and(|next| next <= now) {
            until = now;
        }
        self.waiter.wait(now, until, next, events)
    }
}
