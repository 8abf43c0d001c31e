//! Upstream's families of what happens to messages on their way: transactions, dead letters, times of their own; and
//! of administration.

use std::collections::HashMap;

use apogee_message::names;
use apogee_telemetry::{Family, Label, Shown, Snapshot, Text};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};

use super::collect::OTHER;
use super::rare::{Rare, cells};
use super::store;
use super::topics::topic_and_group;
use crate::broker::Broker;
use crate::transactions::HalfRecord;

/// Bounds in seconds of the time until a transaction is decided.
const DECIDED_S: [u64; 6] = [5, 60, 600, 3_600, 43_200, 86_400];
/// Bounds in seconds of the time for which messages are put off.
const PUT_OFF_S: [u64; 6] = [60, 600, 3_600, 43_200, 86_400, 259_200];
/// Bounds in milliseconds of the time that the creation of a topic or group takes.
const CREATED_MS: [u64; 5] = [10, 100, 1_000, 3_000, 5_000];
/// Ends in seconds from now on of the spans in which waiting messages are counted.
const SPANS_S: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];
/// Half messages whose topics are looked up; of more, the rest has none.
const MOST_HALVES: usize = 10_000;
/// Queues that upstream's POP keeps its notes in.
const REVIVE_QUEUES: usize = 8;

const LONG: usize = cells(6);
const SHORT: usize = cells(5);

/// Counts events, by topic.
#[derive(Default)]
pub(crate) struct Events {
    committed: Rare<1>,
    rolled_back: Rare<1>,
    decided: Rare<LONG>,
    dead: Rare<1>,
    put_off: Rare<LONG>,
    topics_created: Rare<SHORT>,
    groups_created: Rare<SHORT>,
}

/// Which names are told.
#[derive(Default)]
pub(super) struct Choice {
    committed: Shown<1>,
    rolled_back: Shown<1>,
    decided: Shown<LONG>,
    dead: Shown<1>,
    put_off: Shown<LONG>,
    delivered: Shown<1>,
    created: Shown<SHORT>,
    /// Topics of half messages that were looked up.
    halves: HashMap<i64, Box<str>>,
}

impl Events {
    /// A half message, born at some time, was committed.
    pub fn committed(&self, topic: &str, born_ms: i64, now_ms: i64) {
        self.committed.add(topic);
        self.decided.record(topic, now_ms.saturating_sub(born_ms).max(0) as u64 / 1_000, &DECIDED_S);
    }

    /// A half message was rolled back.
    pub fn rolled_back(&self, topic: &str) {
        self.rolled_back.add(topic);
    }

    /// A message of a topic goes to the dead letters of a group.
    pub fn dead(&self, topic: &str, group: &str) {
        self.dead.add(&format!("{topic}@{group}"));
    }

    /// A message was taken that is to be delivered after a time.
    pub fn put_off(&self, topic: &str, delay_ms: i64) {
        self.put_off.record(topic, delay_ms.max(0) as u64 / 1_000, &PUT_OFF_S);
    }

    /// A request was answered, after so many nanoseconds.
    pub fn answered(&self, asked: &Command, answer: i32, nanoseconds: u64) {
        let milliseconds = nanoseconds / 1_000_000;
        let status = if answer == response::SUCCESS { "success" } else { "failure" };
        match asked.code {
            request::UPDATE_AND_CREATE_TOPIC | request::UPDATE_AND_CREATE_TOPIC_LIST => {
                let is_system = asked.fields.get("topic").is_some_and(names::is_system_topic);
                self.topics_created.record(&format!("{status}@{is_system}"), milliseconds, &CREATED_MS);
            }
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
                self.groups_created.record(status, milliseconds, &CREATED_MS);
            }
            _ => {}
        }
    }

    /// Forgets topics or groups that are gone.
    pub fn forget(&self, gone: impl Fn(&str) -> bool) {
        for rare in [&self.committed, &self.rolled_back, &self.dead] {
            rare.forget(&gone);
        }
        self.decided.forget(&gone);
        self.put_off.forget(&gone);
    }

    /// Creation of topics and groups.
    pub(super) fn creations(&self, choice: &mut Choice) -> [Family; 2] {
        let mut topics =
            Family::histogram("rocketmq_topic_create_execution_time", "milliseconds", "Creation of topics");
        self.topics_created.tell_histograms(&mut topics, &CREATED_MS, (16, &mut choice.created), |name| {
            let (status, is_system) = name.split_once('@').unwrap_or((name, "false"));
            vec![("invocation_status", text(status)), ("is_system", text(is_system))]
        });
        let mut groups =
            Family::histogram("rocketmq_consumer_group_create_execution_time", "milliseconds", "Creation of groups");
        self.groups_created.tell_histograms(&mut groups, &CREATED_MS, (16, &mut Shown::default()), |status| {
            vec![("invocation_status", text(status))]
        });
        [topics, groups]
    }

    /// Messages that went to the dead letters.
    pub(super) fn dead_letters(&self, most: usize, choice: &mut Choice) -> Family {
        let mut dead = Family::counter("rocketmq_send_to_dlq_messages_total", "Messages that went to dead letters");
        self.dead.tell(&mut dead, most, &mut choice.dead, |name| {
            let (topic, group) = name.split_once('@').unwrap_or((name, name));
            topic_and_group(topic, group, names::is_system_topic(topic) || names::is_system_group(group))
        });
        dead
    }

    /// Transactions.
    pub(super) fn transactions(&self, broker: &Broker, most: usize, choice: &mut Choice) -> [Family; 4] {
        let mut committed = Family::counter("rocketmq_commit_messages_total", "Transactions that were committed");
        self.committed.tell(&mut committed, most, &mut choice.committed, of_topic);
        let mut rolled_back = Family::counter("rocketmq_rollback_messages_total", "Transactions that were rolled back");
        self.rolled_back.tell(&mut rolled_back, most, &mut choice.rolled_back, of_topic);
        // Upstream tells seconds under this unit.
        let mut decided = Family::histogram("rocketmq_finish_message_latency", "ms", "Seconds until a commit");
        self.decided.tell_histograms(&mut decided, &DECIDED_S, (most, &mut choice.decided), of_topic);
        let mut halves = Family::gauge("rocketmq_half_messages", "", "Half messages that are undecided");
        let mut known = half_topics(broker, &mut choice.halves);
        // Those of whom nothing is undecided any more are told all the same.
        for topic in self.committed.counts().into_keys().chain(self.rolled_back.counts().into_keys()) {
            known.entry(topic).or_default();
        }
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let rest: u64 = known.drain(known.len().min(most)..).map(|(_, count)| count).sum();
        known.extend((rest > 0).then(|| (OTHER.into(), rest)));
        known.iter().for_each(|(topic, count)| halves.add(of_topic(topic), *count as f64));
        [committed, rolled_back, decided, halves]
    }

    /// Messages with times of their own.
    pub(super) fn timer(&self, broker: &Broker, most: usize, choice: &mut Choice) -> Vec<Family> {
        let (timer, now) = (&broker.timer, broker.now());
        let of_store = |topic: &str| [store::labels(), of_topic(topic)].concat();
        let one = |family: Family, number: f64| family.of_all([(store::labels(), number)]);
        let mut enqueued = Family::counter("rocketmq_timer_enqueue_total", "Messages put off to a time");
        let mut latency =
            Family::histogram("rocketmq_delay_message_latency", "seconds", "For how long they are put off");
        self.put_off.tell_histograms(&mut latency, &PUT_OFF_S, (most, &mut choice.put_off), of_store);
        for point in &latency.points {
            if let apogee_telemetry::Value::Histogram(snapshot) = &point.value {
                enqueued.add(point.labels.clone(), snapshot.count() as f64);
            }
        }
        let mut dequeued = Family::counter("rocketmq_timer_dequeue_total", "Messages whose time came");
        timer.delivered.tell(&mut dequeued, most, &mut choice.delivered, of_store);
        let (behind, since) = timer.backlog(&broker.store, now);
        let help = "Messages that the timer has not taken in yet";
        let late = timer.late_ms(now);
        let mut families = vec![
            enqueued,
            latency,
            dequeued,
            one(Family::gauge("rocketmq_timer_enqueue_lag", "", help), behind as f64),
            one(
                Family::gauge("rocketmq_timer_enqueue_latency", "milliseconds", "Age of the first of them"),
                since as f64,
            ),
            one(
                Family::gauge("rocketmq_timer_dequeue_latency", "milliseconds", "How late the next delivery is"),
                late as f64,
            ),
        ];
        let ends: Vec<i64> = [0].iter().chain(&SPANS_S).map(|seconds| now + seconds * 1_000).collect();
        families.push(waiting(broker, most, of_store));
        match timer.due_before(&ends) {
            Ok(before) => {
                families.push(one(
                    Family::gauge("rocketmq_timer_dequeue_lag", "", "Messages that are due and not delivered"),
                    before[0] as f64,
                ));
                let spans = SPANS_S.iter().zip(before.windows(2)).map(|(end, counts)| {
                    let labels = [store::labels(), vec![("timer_bound_s", end.to_string().into())]].concat();
                    (labels, counts[1].saturating_sub(counts[0]) as f64)
                });
                let help = "Messages that become due within so many seconds, and not within the bound before";
                families.push(Family::gauge("rocketmq_timer_message_snapshot", "", help).of_all(spans));
            }
            Err(error) => tracing::debug!(%error, "cannot count the messages that wait for their times"),
        }
        families
    }
}

/// Messages that wait for their times, by topic.
fn waiting(broker: &Broker, most: usize, labels: impl Fn(&str) -> Vec<Label>) -> Family {
    let mut family = Family::gauge("rocketmq_timing_messages", "", "Messages that wait for their times");
    let counts = broker.timer.metrics().timing_count;
    let mut topics: Vec<_> = counts.into_iter().map(|(topic, metric)| (topic, metric.count)).collect();
    topics.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let rest: i64 = topics.drain(topics.len().min(most)..).map(|(_, count)| count).sum();
    topics.extend((rest > 0).then(|| (OTHER.to_owned(), rest)));
    topics.iter().for_each(|(topic, count)| family.add(labels(topic), *count as f64));
    family
}

/// Upstream's POP keeps notes in a buffer and in queues. Those of our queues are looked at when it is their time: there
/// is no lag to tell of.
pub(super) fn pop(broker: &Broker) -> Vec<Family> {
    const BOUNDS_MS: [f64; 6] = [1.0, 10.0, 100.0, 1_000.0, 2_000.0, 3_000.0];
    let scan = Snapshot { bounds: BOUNDS_MS.to_vec(), counts: vec![0; BOUNDS_MS.len() + 1], sum: 0.0 };
    let queues = || (0..REVIVE_QUEUES).map(|queue| (vec![("queue_id", queue.to_string().into())], 0.0));
    vec![
        Family::histogram("rocketmq_pop_buffer_scan_time_consume", "milliseconds", "Looks through the buffer of POP")
            .of_histogram(scan),
        Family::gauge("rocketmq_pop_offset_buffer_size", "", "Offsets in the buffer of POP").of(0.0),
        Family::gauge("rocketmq_pop_checkpoint_buffer_size", "", "Notes in the buffer of POP")
            .of(broker.pop.batches() as f64),
        Family::gauge("rocketmq_pop_revive_lag", "milliseconds", "Notes of POP not looked at").of_all(queues()),
        Family::gauge("rocketmq_pop_revive_latency", "milliseconds", "Age of the first of them").of_all(queues()),
    ]
}

/// How many half messages are undecided, by the topics that they are for.
fn half_topics(broker: &Broker, looked_up: &mut HashMap<i64, Box<str>>) -> HashMap<Box<str>, u64> {
    let (offsets, all) = broker.transactions.undecided_offsets(MOST_HALVES);
    let undecided: std::collections::HashSet<i64> = offsets.iter().copied().collect();
    looked_up.retain(|offset, _| undecided.contains(offset));
    let mut topics = HashMap::<Box<str>, u64>::new();
    for offset in offsets {
        let topic = looked_up.entry(offset).or_insert_with(|| {
            let unit = broker.store.unit(names::TRANS_HALF_TOPIC, 0, offset);
            let bytes = unit.and_then(|unit| broker.store.record_at(unit.physical_offset));
            let half = bytes.as_ref().and_then(HalfRecord::read);
            half.and_then(|half| Some(half.target()?.0.into())).unwrap_or_else(|| OTHER.into())
        });
        *topics.entry(topic.clone()).or_default() += 1;
    }
    let told: u64 = topics.values().sum();
    if all > told {
        *topics.entry(OTHER.into()).or_default() += all - told;
    }
    topics
}

fn text(text: &str) -> Text {
    text.to_owned().into()
}

fn of_topic(topic: &str) -> Vec<Label> {
    vec![("topic", text(topic))]
}
