//! `apogee bench send`.

use apogee_message::names::property;
use bytes::BytesMut;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::body::Bodies;
use crate::caller::{Caller, code_and_remark};
use crate::create;
use crate::engine::frames::Answer;
use crate::engine::{Clock, Engine, Pace, Phase, Place, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::message::{Requests, Shape};
use crate::options::{Common, Topics};
use crate::report::Report;
use crate::run::{Measured, Run};
use crate::verify::{self, Numbers};

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// One request in flight on each connection, whatever --in-flight says.
    Sync,
    /// As many requests in flight as --in-flight says.
    Async,
    /// Nothing is answered: what is measured is how fast the server reads.
    OneWay,
}

/// Sends messages to all queues of its topics in turn.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Messages in a request.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// How messages are sent.
    #[arg(long, value_enum, default_value_t = Mode::Async)]
    mode: Mode,
    /// Topics: NAME-000000, NAME-000001 and so on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    topics: u64,
    /// Messages have this tag.
    #[arg(long, value_name = "TEXT", value_parser = tag)]
    tag: Option<String>,
    /// Only every so many messages have the tag; the others have another one.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tag", value_parser = clap::value_parser!(u64).range(1..))]
    tag_every: u64,
    /// Messages have this property; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// Each message has a key of its own, by which it could be found.
    #[arg(long)]
    keys: bool,
    /// Messages are delivered after this delay level, from 1 (a second) to 18 (two hours).
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=18))]
    delay_level: Option<u32>,
}

impl SendArgs {
    fn check(&mut self) -> Result<(), BenchError> {
        self.common.settle()?;
        self.common.settle_size(self.common.verify)?;
        self.common.must_end()?;
        if self.mode != Mode::Async {
            self.common.in_flight = Some(1);
        }
        self.common.settle_in_flight();
        if self.common.verify && self.delay_level.is_some() {
            return Err(BenchError::new("--verify reads at once what --delay-level delivers later: give one of them"));
        }
        Ok(())
    }

    fn shape(&self, run: u64) -> Result<Shape, BenchError> {
        let mut properties = self.property.clone();
        properties.extend(self.delay_level.map(|level| (property::DELAY.to_owned(), level.to_string())));
        Ok(Shape {
            topics: Topics::new(&self.common.topic, self.topics)?,
            queues: self.common.queues,
            bodies: Bodies::new(run, self.common.size.unwrap_or_default() as usize),
            batch: self.batch,
            tag: self.tag.clone().map(|tag| (tag, self.tag_every)),
            keys: self.keys,
            properties,
            due: None,
            sys_flag: 0,
            one_way: self.mode == Mode::OneWay,
        })
    }
}

/// Runs it.
pub(crate) fn run(mut options: SendArgs) -> Result<Report, BenchError> {
    options.check()?;
    let run = Run::start(options.common.clone());
    let shape = options.shape(run.clock.wall_nanos())?;
    create::topics(&run, &shape.topics)?;
    let starts = if options.common.verify { verify::ends(&options.common, &shape.topics)? } else { Vec::new() };

    let threads = u64::from(options.common.threads);
    let clock = run.clock;
    let in_flight = options.common.in_flight.unwrap_or(1);
    let sender = |thread| Sender::new(shape.clone(), clock, thread, threads, options.common.verify);
    let mut engines = run.engines(options.common.connections, |_| in_flight, sender)?;
    let batch = u64::from(options.batch);
    warm_up(&run, &mut engines, batch)?;
    let measured = measure("send", &run, &mut engines, batch)?;
    let mut verified = None;
    if options.common.verify {
        let mut sent = Numbers::default();
        engines.iter_mut().for_each(|engine| sent.add(std::mem::take(&mut engine.traffic.sent)));
        drop(engines);
        verified = Some(verify::verify(&options.common, &shape, &starts, &sent)?.result(&sent));
    } else if options.mode == Mode::OneWay {
        // The connections stay open until the broker has read what was sent.
        Caller::connect(&options.common)?.offsets(&shape.topics.name(0), 0)?;
    }
    Ok(Report::new("send", &options, &measured)?.with_verified(verified))
}

/// Sends the messages that don't count, if there are to be any; so many in a request.
pub(crate) fn warm_up(run: &Run, engines: &mut [Engine<Sender>], batch: u64) -> Result<(), BenchError> {
    let (all, threads) = (run.options.warm_up.div_ceil(batch), engines.len() as u64);
    if all > 0 {
        run.phase("warm-up", engines, |thread| Phase {
            operations: Some(share(all, thread, threads)),
            ..Phase::default()
        })?;
    }
    engines.iter_mut().for_each(|engine| engine.traffic.begin());
    Ok(())
}

/// Sends the messages that are measured, so many in a request.
pub(crate) fn measure(
    name: &str,
    run: &Run,
    engines: &mut [Engine<Sender>],
    batch: u64,
) -> Result<Measured, BenchError> {
    let (options, threads) = (&run.options, engines.len() as u64);
    run.phase(name, engines, |thread| Phase {
        length: options.nanoseconds(),
        operations: options.limit().map(|all| share(all.div_ceil(batch), thread, threads)),
        pace: options.rate.map(|rate| Pace::new(rate / batch as f64, thread, threads)),
        ..Phase::default()
    })
}

/// What one of several threads does of a whole.
pub(crate) fn share(all: u64, thread: u64, threads: u64) -> u64 {
    all / threads + u64::from(thread < all % threads)
}

/// Sends messages and takes the answers.
pub(crate) struct Sender {
    requests: Requests,
    clock: Clock,
    batch: u64,
    size: u64,
    one_way: bool,
    thread: u64,
    threads: u64,
    /// The next request's number among this thread's.
    next: u64,
    /// For those who ask later: what the broker took.
    pub sent: Numbers,
    verify: bool,
    /// The number of the request in each slot, by connection.
    slots: Vec<Vec<u64>>,
}

impl Sender {
    /// One of several that share the numbers of messages.
    pub(crate) fn new(shape: Shape, clock: Clock, thread: u64, threads: u64, verify: bool) -> Result<Self, BenchError> {
        Ok(Self {
            clock,
            batch: u64::from(shape.batch),
            size: shape.bodies.template().len() as u64,
            one_way: shape.one_way,
            requests: Requests::new(shape)?,
            thread,
            threads,
            next: 0,
            sent: Numbers::default(),
            verify,
            slots: Vec::new(),
        })
    }

    /// What was sent so far does not count.
    pub(crate) fn begin(&mut self) {
        self.sent = Numbers::default();
    }

    /// The number among this thread's of the request that comes next.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    fn note(&mut self, request: u64) {
        let number = request * self.threads + self.thread;
        (number * self.batch..(number + 1) * self.batch).for_each(|message| self.sent.insert(message));
    }
}

impl Traffic for Sender {
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool {
        self.requests.write(self.next * self.threads + self.thread, place, self.clock.wall_millis(now), out);
        if self.verify {
            if self.one_way {
                self.note(self.next);
            } else {
                self.slots.resize_with(self.slots.len().max(place.link + 1), Vec::new);
                let slots = &mut self.slots[place.link];
                slots.resize(slots.len().max(place.slot as usize + 1), 0);
                slots[place.slot as usize] = self.next;
            }
        }
        self.next += 1;
        true
    }

    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        match answer {
            Answer::Success { .. } => {}
            // One that had to be read in full.
            Answer::Other(command) if command.code == 0 => {}
            Answer::Other(command) => return Verdict::Failed(code_and_remark(command)),
        }
        tally.messages += self.batch;
        tally.bytes += self.batch * self.size;
        tally.latencies.record(timing.latency());
        if self.verify {
            self.note(self.slots[place.link][place.slot as usize]);
        }
        Verdict::Next
    }

    fn one_way(&self) -> bool {
        self.one_way
    }

    fn queued(&mut self, tally: &mut Tally) {
        tally.messages += self.batch;
        tally.bytes += self.batch * self.size;
    }
}

fn tag(text: &str) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("a tag here is letters, digits, _ and -".to_owned());
    }
    Ok(text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is NAME=VALUE".to_owned()),
    }
}
