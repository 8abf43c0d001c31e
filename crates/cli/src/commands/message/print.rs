//! Printing messages of a topic or a queue.

use std::collections::HashMap;
use std::time::SystemTime;

use apogee_client::{PullConsumer, Queue, Received};
use clap::Args;
use serde_json::json;

use super::range::{Range, Times, written};
use super::shown::{Charset, json, line};
use crate::commands::time;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Group of tools that read: every broker knows it.
pub const TOOLS: &str = "TOOLS_CONSUMER";
/// Tags that are counted one by one; the others are counted together.
const MOST_TAGS: usize = 100_000;

/// Which messages are printed, and how.
#[derive(Args, Debug)]
pub struct Choice {
    /// Charset of bodies
    #[arg(short = 'c', long = "charsetName", value_name = "CHARSET", value_parser = Charset::parser())]
    charset: Option<Charset>,
    /// Only messages with one of these tags, such as TagA || TagB
    #[arg(short = 's', long = "subExpression", value_name = "TAGS", default_value = "*")]
    tags: String,
    /// Stored at or after: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in UTC
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = time::parse)]
    begin: Option<SystemTime>,
    /// Stored before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = time::parse)]
    end: Option<SystemTime>,
}

impl Choice {
    fn consumer(&self, context: &Context) -> Result<PullConsumer, CliError> {
        let builder = context.client().pull_consumer(TOOLS);
        let builder = if self.tags.trim() == "*" { builder } else { builder.tags(self.tags.trim()) };
        Ok(builder.build()?)
    }

    fn times(&self) -> Times {
        Times { begin: self.begin, end: self.end }
    }

    fn charset(&self, with_body: bool) -> Option<Charset> {
        with_body.then(|| self.charset.unwrap_or_default())
    }
}

/// Flags of `printMsg`.
#[derive(Args, Debug)]
pub struct Topic {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[command(flatten)]
    choice: Choice,
    /// With bodies
    #[arg(short = 'd', long = "printBody", default_value_t = true, action = clap::ArgAction::Set)]
    with_body: bool,
    /// The topic whose queues it is in: for light topics, which have no route
    #[arg(short = 'l', long = "lmqParentTopic", value_name = "TOPIC")]
    parent: Option<String>,
}

/// Prints the messages of a topic, queue by queue.
pub async fn topic(context: &Context, flags: &Topic) -> Result<Report, CliError> {
    let topic = flags.topic.trim();
    if let Some(parent) = &flags.parent {
        context.admin.route_by(topic, parent.trim());
    }
    let consumer = flags.choice.consumer(context)?;
    let charset = flags.choice.charset(flags.with_body);
    for queue in consumer.queues(topic).await? {
        let range = Range::of(&consumer, queue, flags.choice.times()).await?;
        let (first, end, queue) = (range.first, range.end, written(&range.queue));
        let heading = Report::new().line(format!("minOffset={first}, maxOffset={end}, {queue}"));
        let about =
            json!({ "broker": &*range.queue.broker, "queue": range.queue.id, "minOffset": first, "maxOffset": end });
        context.tell(&heading.data("queue", about))?;
        range.read(&consumer, |messages| context.tell(&printed(Report::new(), &messages, charset))).await?;
        context.tell(&Report::new().line("-".repeat(56)))?;
    }
    Ok(Report::new())
}

/// Adds messages that were read, or why they could not be.
fn printed(report: Report, messages: &[Result<Received, String>], charset: Option<Charset>) -> Report {
    messages.iter().fold(report, |report, message| match message {
        Ok(message) => report.line(line(message, charset)).data_item("messages", json(message, charset.is_some())),
        Err(error) => report.line(error.as_str()).data_item("messages", json!({ "error": error })),
    })
}

/// Flags of `printMsgByQueue`.
#[derive(Args, Debug)]
pub struct ByQueue {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Name of the broker
    #[arg(short = 'a', long = "brokerName")]
    broker: String,
    /// Queue
    #[arg(short = 'i', long = "queueId")]
    queue: i32,
    #[command(flatten)]
    choice: Choice,
    /// Print the messages
    #[arg(short = 'p', long = "printMsg", default_value_t = false, action = clap::ArgAction::Set)]
    print: bool,
    /// With bodies
    #[arg(short = 'd', long = "printBody", default_value_t = false, action = clap::ArgAction::Set)]
    with_body: bool,
    /// Count them by tag
    #[arg(short = 'f', long = "calculate", default_value_t = false, action = clap::ArgAction::Set)]
    count: bool,
}

/// Prints the messages of a queue, or counts them by tag.
pub async fn by_queue(context: &Context, flags: &ByQueue) -> Result<Report, CliError> {
    let consumer = flags.choice.consumer(context)?;
    let queue = Queue { topic: flags.topic.trim().into(), broker: flags.broker.trim().into(), id: flags.queue };
    is_there(&consumer, &queue).await?;
    let range = Range::of(&consumer, queue, flags.choice.times()).await?;
    let charset = flags.choice.charset(flags.with_body);
    let mut tags = Tags::default();
    let read = range.read(&consumer, |messages| {
        if flags.count {
            messages.iter().flatten().filter_map(Received::tag).for_each(|tag| tags.add(tag));
        }
        if flags.print { context.tell(&printed(Report::new(), &messages, charset)) } else { Ok(()) }
    });
    let count = read.await?;
    let report = if flags.count { tags.report() } else { Report::new() };
    context.tell(&report.data("read", count))?;
    Ok(Report::new())
}

/// Refuses a queue that the topic does not have, and says which it has.
pub async fn is_there(consumer: &PullConsumer, queue: &Queue) -> Result<(), CliError> {
    let queues = consumer.queues(&queue.topic).await?;
    if queues.contains(queue) {
        return Ok(());
    }
    let mut brokers: Vec<&str> = queues.iter().map(|queue| &*queue.broker).collect();
    brokers.dedup();
    let Queue { topic, broker, id } = queue;
    Err(CliError::not_found(match brokers.contains(&&**broker) {
        true => format!("topic {topic} has no queue {id} to read on {broker}"),
        false => format!("topic {topic} is not on the broker {broker}; it is on: {}", brokers.join(", ")),
    }))
}

/// How many messages have which tag.
#[derive(Default)]
struct Tags {
    counts: HashMap<String, u64>,
    others: u64,
}

impl Tags {
    fn add(&mut self, tag: &str) {
        if let Some(count) = self.counts.get_mut(tag) {
            *count += 1;
        } else if self.counts.len() < MOST_TAGS {
            self.counts.insert(tag.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    fn report(self) -> Report {
        let mut counts: Vec<_> = self.counts.into_iter().collect();
        counts.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
        let told = |report: Report, (tag, count): (String, u64)| {
            report
                .line(format!("Tag: {tag:<30} Count: {count}"))
                .data_item("tags", json!({ "tag": tag, "count": count }))
        };
        let report = counts.into_iter().fold(Report::new(), told);
        match self.others {
            0 => report,
            others => report.line(format!("Other tags: {others}")).data("otherTags", others),
        }
    }
}

/// Flags of `consumeMessage`.
#[derive(Args, Debug)]
pub struct Consume {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Only from the broker with this name
    #[arg(short = 'b', long = "brokerName")]
    broker: Option<String>,
    /// Only from this queue of the broker
    #[arg(short = 'i', long = "queueId", requires = "broker")]
    queue: Option<i32>,
    /// From this offset of the queue on
    #[arg(short = 'o', long = "offset", requires = "queue")]
    offset: Option<i64>,
    /// In the name of this group, whose offsets stay as they are
    #[arg(short = 'g', long = "consumerGroup", default_value = TOOLS)]
    group: String,
    /// Stored at or after: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in UTC
    #[arg(short = 's', long = "beginTimestamp", value_name = "TIME", value_parser = time::parse)]
    begin: Option<SystemTime>,
    /// Stored before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = time::parse)]
    end: Option<SystemTime>,
    /// How many messages, all queues together
    #[arg(short = 'c', long = "MessageNumber", default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..))]
    most: i64,
}

/// Reads some messages, and leaves offsets alone.
pub async fn consume(context: &Context, flags: &Consume) -> Result<Report, CliError> {
    if let (Some(begin), Some(end)) = (flags.begin, flags.end)
        && begin > end
    {
        return Err(CliError::usage("the time to begin with (-s) is after the one to end with (-e)"));
    }
    let consumer = context.client().pull_consumer(flags.group.trim()).build()?;
    let topic = flags.topic.trim();
    let queues = match (flags.broker.as_deref().map(str::trim), flags.queue) {
        (Some(broker), Some(id)) => {
            let queue = Queue { topic: topic.into(), broker: broker.into(), id };
            is_there(&consumer, &queue).await?;
            vec![queue]
        }
        (broker, _) => {
            let mut queues = consumer.queues(topic).await?;
            queues.retain(|queue| broker.is_none_or(|broker| *queue.broker == *broker));
            queues
        }
    };
    let mut left = flags.most;
    for queue in queues {
        let mut range = Range::of(&consumer, queue, Times { begin: flags.begin, end: flags.end }).await?;
        range.first = range.first.max(flags.offset.unwrap_or(0));
        if range.end - range.first > left {
            let text = format!("The older {left} message of the {} queue will be provided", range.queue.id);
            context.tell(&Report::new().line(text))?;
            range.end = range.first + left;
        }
        let charset = Some(Charset::default());
        let tell = |messages: Vec<_>| context.tell(&printed(Report::new().line("Consume ok"), &messages, charset));
        left -= range.read(&consumer, tell).await? as i64;
        if left <= 0 {
            break;
        }
    }
    if left == flags.most {
        context.tell(&Report::new().line("There is no such message.").data("messages", json!([])))?;
    }
    Ok(Report::new())
}
