//! `apogee bench connections`.

use apogee_message::names;
use apogee_wire::bodies::{
    Body, ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData, SubscriptionData,
};
use apogee_wire::codes::request;
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::caller::{Caller, code_and_remark};
use crate::engine::frames::Answer;
use crate::engine::{Pace, Phase, Place, SECOND, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::message::PRODUCER;
use crate::options::Common;
use crate::report::Report;
use crate::run::Run;
use crate::usage::Usage;

/// Opens connections and holds them, each of a client that sends its heartbeat and nothing else.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Clients are consumers, spread over so many groups that are subscribed to the topic; 0: they are producers.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    groups: u32,
    /// Seconds from one heartbeat of a client to its next; official clients take 30.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    heartbeat: u32,
}

/// Runs it.
pub(crate) fn run(mut options: ConnectionsArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    let common = &options.common;
    common.refuse(
        "connections",
        &[
            ("--in-flight", common.in_flight.is_some()),
            ("--size", common.size.is_some()),
            ("--rate", common.rate.is_some()),
            ("--messages", common.messages > 0),
            ("--warm-up", common.warm_up > 0),
            ("--verify", common.verify),
        ],
    )?;
    common.must_end()?;
    names::check_group(&group(options.groups)).map_err(|error| BenchError::new(error.to_string()))?;
    let run = Run::start(common.clone());
    Caller::connect(common)?.create(&common.topic, common.queues)?;
    let before = Usage::of(&common.server_pid)?;
    let (connections, threads) = (u64::from(common.connections), u64::from(common.threads));
    let began = run.clock.now();
    let (topic, groups) = (common.topic.clone(), options.groups);
    let id = run.clock.wall_nanos();
    let mut engines = run.engines(
        common.connections,
        |_| 1,
        |thread| Ok(Clients { topic: topic.clone(), groups, thread, threads, id }),
    )?;
    let connected = run.clock.now();
    let share = |thread| super::send::share(connections, thread, threads);
    let first = run.phase("first heartbeats", &mut engines, |thread| Phase {
        operations: Some(share(thread)),
        ..Phase::default()
    })?;
    let beating = run.clock.now();
    let rate = common.connections as f64 / f64::from(options.heartbeat);
    let measured = run.phase("connections", &mut engines, |thread| Phase {
        length: common.nanoseconds(),
        pace: Some(Pace::new(rate, thread, threads)),
        ..Phase::default()
    })?;
    let seconds = |from: u64, to: u64| (to - from) as f64 / SECOND as f64;
    let opened = json!({
        "connections": connections,
        "connect_seconds": seconds(began, connected),
        "first_heartbeats_seconds": seconds(connected, beating),
        "first_heartbeats_failed": first.tally.errors.count(),
    });
    let mut report = Report::new("connections", &options, &measured)?.with("opened", &opened)?;
    if let (Some(before), Some((_, after))) = (before, measured.server) {
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / connections as f64;
        let grown = json!({
            "resident_bytes_before": before.resident,
            "anonymous_bytes_before": before.anonymous,
            "resident_bytes_each": each(before.resident, after.resident),
            "anonymous_bytes_each": each(before.anonymous, after.anonymous),
        });
        report = report.with("memory", &grown)?;
    }
    Ok(report)
}

/// The name of a consumer group of this load generator.
pub(crate) fn group(number: u32) -> String {
    format!("ApogeeBenchGroup-{number:06}")
}

/// What a consumer that polls subscribes to.
pub(crate) fn consumer(group: &str, subscription: SubscriptionData) -> ConsumerData {
    ConsumerData {
        consume_from_where: Some(ConsumeFromWhere::LastOffset),
        consume_type: Some(ConsumeType::Passively),
        group_name: group.to_owned(),
        message_model: Some(MessageModel::Clustering),
        subscription_data_set: vec![subscription],
        unit_mode: false,
    }
}

/// Clients that are there and do nothing.
struct Clients {
    topic: String,
    groups: u32,
    thread: u64,
    threads: u64,
    /// Distinguishes the clients of this run from those of others.
    id: u64,
}

impl Traffic for Clients {
    fn request(&mut self, place: Place, _now: u64, out: &mut BytesMut) -> bool {
        let number = place.link as u64 * self.threads + self.thread;
        let mut data = HeartbeatData { client_id: format!("bench@{:x}@{number}", self.id), ..Default::default() };
        if self.groups == 0 {
            data.producer_data_set = vec![ProducerData { group_name: PRODUCER.to_owned() }];
        } else {
            let subscription = SubscriptionData {
                topic: self.topic.clone(),
                sub_string: Some("*".to_owned()),
                sub_version: 1,
                ..Default::default()
            };
            let group = group((number % u64::from(self.groups)) as u32);
            data.consumer_data_set = vec![consumer(&group, subscription)];
        }
        let mut command = Command::request(request::HEART_BEAT).with_body(data.encode());
        command.opaque = place.opaque();
        frame::encode(&command, out);
        true
    }

    fn answer(&mut self, _: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        match answer {
            Answer::Other(command) if command.code != 0 => Verdict::Failed(code_and_remark(command)),
            _ => {
                tally.messages += 1;
                tally.latencies.record(timing.latency());
                Verdict::Next
            }
        }
    }
}
