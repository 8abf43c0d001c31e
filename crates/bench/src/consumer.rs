//! Consumers: pulls that follow one another through queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apogee_message::record::Record;
use apogee_wire::bodies::{Body, HeartbeatData, SubscriptionData};
use apogee_wire::codes::{request, response};
use apogee_wire::{Command, frame};
use bytes::{Buf, BytesMut};

use crate::caller::{Caller, code_and_remark};
use crate::engine::frames::{Answer, number};
use crate::engine::{Place, SECOND, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::pull::{self, Filter, Pull};
use crate::workloads::connections::{consumer, group};

/// How long a broker keeps a pull that finds nothing, as official clients ask for, in milliseconds.
const WAIT_MILLIS: u32 = 15_000;
/// Groups in a heartbeat: brokers bound its size.
const HEARTBEAT_GROUPS: usize = 500;
/// From one heartbeat to the next, in nanoseconds.
const HEARTBEAT: u64 = 30 * SECOND;

/// What is read, and how.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub topic: String,
    pub queues: u32,
    /// Groups that read all of it, each for itself.
    pub groups: u32,
    pub filter: Filter,
    /// Messages at most in an answer.
    pub count: u32,
    /// Long polls of a group that sends heartbeats, as clients do that push to their application. Else
    /// pulls that are answered at once, up to where the queues end.
    pub live: bool,
    /// Distinguishes the clients of this run from those of others.
    pub id: u64,
}

/// Counts that the threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Messages received, in all phases; or acknowledged, where those count.
    pub received: AtomicU64,
    /// Messages popped, in all phases.
    pub popped: AtomicU64,
    /// How many make it enough.
    pub enough: AtomicU64,
    /// Nobody waits for more from then on, in nanoseconds of the clock.
    pub give_up: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        let never = || AtomicU64::new(u64::MAX);
        Self { received: none(), popped: none(), enough: never(), give_up: never() }
    }
}

impl Shared {
    /// Whether enough was received, or nobody waits for more.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        load(&self.received) >= load(&self.enough) || now >= load(&self.give_up)
    }
}

/// What is made of received messages.
pub(crate) trait Sink: Send {
    /// Takes the records of an answer; returns how many they are.
    fn take(&mut self, records: &[u8], timing: Timing, tally: &mut Tally) -> Result<u64, BenchError>;
}

/// Counts them, and how long the pulls took that brought them.
pub(crate) struct Count {
    /// A long poll is not timed: it takes as long as nothing comes.
    pub timed: bool,
}

impl Sink for Count {
    fn take(&mut self, mut records: &[u8], timing: Timing, tally: &mut Tally) -> Result<u64, BenchError> {
        if self.timed {
            tally.latencies.record(timing.latency());
        }
        let mut count = 0;
        // Their sizes are enough: reading them is the application's work.
        while !records.is_empty() {
            let size = if records.len() < 4 { 0 } else { (&records[..4]).get_u32() as usize };
            if size < 8 || size > records.len() {
                return Err(BenchError::new("the broker's answer to a pull does not consist of messages"));
            }
            records = &records[size..];
            count += 1;
        }
        Ok(count)
    }
}

/// Gives each record of an answer to a function, with the bytes that it begins; returns how many they are.
pub(crate) fn each(mut records: &[u8], mut take: impl FnMut(&Record<'_>, &[u8])) -> Result<u64, BenchError> {
    let mut count = 0;
    while !records.is_empty() {
        let record = Record::read(records);
        let record = record.map_err(|error| BenchError::system("a pulled message cannot be read", error))?;
        take(&record, records);
        records = &records[record.size as usize..];
        count += 1;
    }
    Ok(count)
}

/// One group's place in one queue.
#[derive(Debug, Clone)]
struct Cursor {
    group: u32,
    queue: u32,
    offset: i64,
    /// Where it ends.
    end: i64,
}

/// The part of a connection.
#[derive(Debug, Default)]
struct Client {
    /// Cursors that wait for a slot.
    ready: VecDeque<Cursor>,
    /// Whose pull is in which slot.
    pulling: Vec<Option<Cursor>>,
    heartbeats: Vec<u8>,
    beaten: u64,
}

/// Pulls of one thread's connections.
pub(crate) struct Consumer<S> {
    reading: Reading,
    clients: Vec<Client>,
    shared: Arc<Shared>,
    /// What is made of messages.
    pub sink: S,
    /// How many messages the queues moved on by, matched by the filter or not.
    pub scanned: u64,
    failed: Option<BenchError>,
}

impl Reading {
    /// Groups and queues that belong to a connection: whole groups, unless there are fewer groups than connections.
    fn of_link(&self, link: usize, links: u32) -> Vec<(u32, u32)> {
        let (link, queues) = (link as u32, self.queues);
        if self.groups >= links {
            let groups = (link..self.groups).step_by(links as usize);
            return groups.flat_map(|group| (0..queues).map(move |queue| (group, queue))).collect();
        }
        let cursors = (link..self.groups * queues).step_by(links as usize);
        cursors.map(|cursor| (cursor / queues, cursor % queues)).collect()
    }

    /// Slots that a connection needs when it may have so many requests in flight.
    pub(crate) fn slots(&self, link: usize, links: u32, in_flight: u32) -> u32 {
        let all = self.of_link(link, links).len() as u32;
        if self.live { all } else { all.min(in_flight) }
    }

    /// The heartbeats of a connection's client, each with a bounded number of groups.
    fn heartbeats(&self, link: usize, links: u32) -> Vec<Command> {
        if !self.live {
            return Vec::new();
        }
        let subscription = SubscriptionData {
            topic: self.topic.clone(),
            sub_string: Some(self.filter.expression().to_owned()),
            expression_type: Some(self.filter.kind().to_owned()),
            tags_set: self.filter.tags().map(str::to_owned).collect(),
            code_set: self.filter.tags().map(apogee_message::tag::java_hash).collect(),
            sub_version: pull::VERSION,
            ..Default::default()
        };
        let mut groups: Vec<u32> = self.of_link(link, links).iter().map(|(group, _)| *group).collect();
        groups.dedup();
        let heartbeat = |groups: &[u32]| {
            let groups = groups.iter().map(|&number| consumer(&group(number), subscription.clone()));
            let client_id = format!("bench@{:x}@{link}", self.id);
            let data = HeartbeatData { client_id, consumer_data_set: groups.collect(), ..Default::default() };
            Command::request(request::HEART_BEAT).with_body(data.encode())
        };
        groups.chunks(HEARTBEAT_GROUPS).map(heartbeat).collect()
    }

    /// Makes a connection known to the broker, where that is needed.
    pub(crate) fn introduce(&self, caller: &mut Caller, link: usize, links: u32) -> Result<(), BenchError> {
        for heartbeat in self.heartbeats(link, links) {
            let answer = caller.call(heartbeat)?;
            if answer.code != response::SUCCESS {
                let text = code_and_remark(&answer);
                return Err(BenchError::new(format!("the broker refuses a heartbeat: {text}")));
            }
        }
        Ok(())
    }
}

impl<S: Sink> Consumer<S> {
    /// Of the connections `thread`, `thread + threads` and so on of `links`. `ranges` says for each queue where
    /// it is read from and to.
    pub(crate) fn new(
        reading: Reading,
        ranges: &[(i64, i64)],
        (thread, threads): (u64, u64),
        links: u32,
        shared: Arc<Shared>,
        sink: S,
    ) -> Self {
        let mut clients = Vec::new();
        for link in (thread as usize..links as usize).step_by(threads as usize) {
            let mut client = Client::default();
            // Nobody waits for the answers of those that come later.
            for heartbeat in reading.heartbeats(link, links) {
                client.heartbeats.extend_from_slice(&frame::to_bytes(&heartbeat.oneway()));
            }
            for (group, queue) in reading.of_link(link, links) {
                let Some(&(offset, end)) = ranges.get(queue as usize) else { continue };
                if reading.live || offset < end {
                    client.ready.push_back(Cursor { group, queue, offset, end });
                }
            }
            clients.push(client);
        }
        Self { reading, clients, shared, sink, scanned: 0, failed: None }
    }

    fn pull(&self, cursor: &Cursor) -> Command {
        let pull = Pull {
            group: &group(cursor.group),
            topic: &self.reading.topic,
            queue: cursor.queue,
            filter: &self.reading.filter,
            subscribed: self.reading.live,
            count: self.reading.count,
            wait_millis: if self.reading.live { WAIT_MILLIS } else { 0 },
            // As official clients do: what was handed out before is done with.
            commit: (self.reading.live && cursor.offset > 0).then_some(cursor.offset),
        };
        pull.request(cursor.offset)
    }
}

impl<S: Sink> Traffic for Consumer<S> {
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool {
        let client = &mut self.clients[place.link];
        if !client.heartbeats.is_empty() && now >= client.beaten + HEARTBEAT {
            if client.beaten > 0 {
                out.extend_from_slice(&client.heartbeats);
            }
            client.beaten = now;
        }
        let Some(cursor) = client.ready.pop_front() else { return false };
        let mut command = self.pull(&cursor);
        command.opaque = place.opaque();
        frame::encode(&command, out);
        let pulling = &mut self.clients[place.link].pulling;
        pulling.resize(pulling.len().max(place.slot as usize + 1), None);
        pulling[place.slot as usize] = Some(cursor);
        true
    }

    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        let client = &mut self.clients[place.link];
        let Some(mut cursor) = client.pulling[place.slot as usize].take() else { return Verdict::Next };
        let (next, body) = match answer {
            Answer::Success { header, body } => (number(header, "nextBeginOffset"), *body),
            Answer::Other(command) if pull::is_usual(command.code) && command.body.is_empty() => {
                (command.fields.get("nextBeginOffset").and_then(|offset| offset.parse().ok()), &[][..])
            }
            Answer::Other(command) => {
                client.ready.push_back(cursor);
                return Verdict::Failed(code_and_remark(command));
            }
        };
        let next = next.unwrap_or(cursor.offset);
        if !body.is_empty() {
            match self.sink.take(body, timing, tally) {
                Ok(count) => {
                    tally.messages += count;
                    tally.bytes += body.len() as u64;
                    self.shared.received.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) => self.failed = Some(error),
            }
        }
        self.scanned += (next - cursor.offset).max(0) as u64;
        cursor.offset = next;
        if self.reading.live || cursor.offset < cursor.end {
            client.ready.push_back(cursor);
        }
        Verdict::Next
    }

    fn is_over(&mut self, now: u64) -> bool {
        self.shared.is_over(now)
    }

    fn abandons(&self) -> bool {
        self.reading.live
    }

    fn failure(&mut self) -> Option<BenchError> {
        self.failed.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_of_every_group_belongs_to_one_connection() {
        for (groups, queues, links) in [(1, 8, 16), (1, 8, 3), (5, 3, 4), (4, 3, 4), (100, 2, 7), (3, 4, 12)] {
            let reading =
                Reading { topic: "T".to_owned(), queues, groups, filter: Filter::All, count: 32, live: true, id: 0 };
            let of_links: Vec<_> = (0..links as usize).map(|link| reading.of_link(link, links)).collect();
            let mut all = of_links.concat();
            all.sort_unstable();
            let expected: Vec<_> = (0..groups).flat_map(|group| (0..queues).map(move |queue| (group, queue))).collect();
            assert_eq!(all, expected, "{groups} groups, {queues} queues, {links} connections");
            let most = of_links.iter().map(Vec::len).max();
            assert!(most <= Some(groups.div_ceil(links).max(1) as usize * queues as usize), "{most:?}");
            assert!((0..links as usize).all(|link| reading.heartbeats(link, links).len() <= 1));
        }
    }

    #[test]
    fn an_answer_that_holds_no_messages_is_told() {
        let (timing, mut tally) = (Timing { intended: 0, now: 1 }, Tally::default());
        for bytes in [&b"xy"[..], &[0, 0, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 99, 0, 0, 0, 0, 0, 0]] {
            assert!(Count { timed: true }.take(bytes, timing, &mut tally).is_err());
            assert!(each(bytes, |_, _| {}).is_err());
        }
    }
}
