//! `apogee consume`: messages become lines.

use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use apogee_client::{Client, Delivery, From, Received};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Cluster, Failure};

const AFTER: &str = "\
A format may have: %b the body, %t the topic, %B the broker, %q the queue, %o the offset, %i the id, %g the tag,
%k the keys, %T when it was stored (milliseconds since 1970), %P{NAME} a property, %% a percent sign, \\n and \\t.";

/// Messages that are printed before they are acknowledged, at most.
const BATCH: u64 = 256;
/// How long leaving a group may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Options of `apogee consume`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct ConsumeArgs {
    /// The topic.
    topic: String,
    #[command(flatten)]
    cluster: Cluster,
    /// Take part in this group: get its share of the messages, and commit what was printed. Without it, all messages are
    /// read, and nothing is committed.
    #[arg(short, long)]
    group: Option<String>,
    /// Where to begin: first, last, an offset of each queue, a time (2026-01-31T12:00:00Z), or how long ago (10m). With a
    /// group, in queues that it was never in. [default: last]
    #[arg(short, long, value_parser = from)]
    from: Option<From>,
    /// End after so many messages; without it, whatever comes is printed as it comes.
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Only messages with one of some tags: 'a || b'.
    #[arg(short, long)]
    tag: Option<String>,
    /// Only messages that a SQL92 expression matches: "price > 10".
    #[arg(short, long, conflicts_with = "tag")]
    sql: Option<String>,
    /// How a message is printed; see below.
    #[arg(long, default_value = "%b\\n", value_parser = format)]
    format: Format,
    /// One JSON object a line, with all that a message has; a body that is no text as base64.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

fn from(text: &str) -> Result<From, String> {
    if let Ok(offset) = text.parse() {
        return Ok(From::Offset(offset));
    }
    match text {
        "first" => return Ok(From::First),
        "last" => return Ok(From::Last),
        _ => {}
    }
    let ago = || SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?);
    let time = humantime::parse_rfc3339_weak(text).ok().or_else(ago);
    time.map(From::Time).ok_or_else(|| "first, last, an offset, a time, or how long ago is expected".to_owned())
}

pub(super) async fn run(args: ConsumeArgs) -> Result<(), Failure> {
    let client = args.cluster.client()?;
    let printed = match &args.group {
        Some(group) => consume(&client, group, &args).await,
        None => read(&client, &args).await,
    };
    client.close().await;
    printed
}

/// Reads all queues.
async fn read(client: &Client, args: &ConsumeArgs) -> Result<(), Failure> {
    let mut reader = client.reader(&*args.topic).from(args.from.unwrap_or(From::Last));
    if let Some(tags) = &args.tag {
        reader = reader.tags(tags);
    }
    if let Some(expression) = &args.sql {
        reader = reader.sql(expression);
    }
    let mut reader = reader.open().await?;
    let mut out = Output::new(args);
    while out.left > 0 {
        let message = match reader.next_now() {
            Some(message) => message,
            // Nothing more is there: what was printed is to be seen.
            None => {
                out.flush()?;
                match reader.next().await {
                    Some(message) => message,
                    None => break,
                }
            }
        }?;
        out.print(&message)?;
    }
    out.flush()
}

/// Takes part in a group: what was printed is acknowledged.
async fn consume(client: &Client, group: &str, args: &ConsumeArgs) -> Result<(), Failure> {
    let consumer = client.consumer(group).from(args.from.unwrap_or(From::Last));
    let consumer = match (&args.tag, &args.sql) {
        (Some(tags), _) => consumer.subscribe_tags(&*args.topic, tags),
        (None, Some(expression)) => consumer.subscribe_sql(&*args.topic, expression),
        (None, None) => consumer.subscribe(&*args.topic),
    };
    let mut consumer = consumer.join().await?;
    let mut out = Output::new(args);
    let printed = async {
        let mut stop = pin!(stop());
        while out.left > 0 {
            let most = out.left.min(BATCH) as usize;
            let batch = tokio::select! {
                batch = consumer.next_batch(most) => batch,
                () = &mut stop => break,
            };
            let Some(batch) = batch else { break };
            for delivery in &batch {
                out.print(delivery)?;
            }
            // Before they are acknowledged: what nobody saw comes again.
            out.flush()?;
            batch.into_iter().for_each(Delivery::ack);
        }
        Ok(())
    };
    let printed = printed.await;
    // It commits, and others get its queues at once.
    let left = consumer.close(PATIENCE).await;
    printed.and(left.map_err(Failure::from))
}

/// Waits for Ctrl-C or a request to end.
async fn stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // One that cannot be heard ends the process by itself.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Standard output, and how many messages it still takes.
struct Output<'a> {
    args: &'a ConsumeArgs,
    out: BufWriter<io::Stdout>,
    left: u64,
}

impl<'a> Output<'a> {
    fn new(args: &'a ConsumeArgs) -> Self {
        Self { args, out: BufWriter::new(io::stdout()), left: args.count.unwrap_or(u64::MAX) }
    }

    fn print(&mut self, message: &Received) -> Result<(), Failure> {
        let printed = if self.args.json {
            serde_json::to_writer(&mut self.out, &object(message))
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"))
        } else {
            self.args.format.write(message, &mut self.out)
        };
        self.left -= 1;
        printed.map_err(Failure::output)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::output)
    }
}

fn object(message: &Received) -> Value {
    let properties: Map<_, _> =
        message.properties().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let mut object = json!({
        "topic": message.topic(), "broker": &*message.queue.broker, "queue": message.queue.id, "offset": message.offset,
        "messageId": message.message_id(), "offsetId": message.offset_id(), "tag": message.tag(),
        "keys": message.keys().collect::<Vec<_>>(), "bornTimestamp": message.born_timestamp,
        "storeTimestamp": message.store_timestamp, "reconsumeTimes": message.reconsume_times, "properties": properties,
    });
    let (name, body) = match std::str::from_utf8(&message.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("bodyBase64", STANDARD.encode(&message.body)),
    };
    object[name] = body.into();
    object
}

/// How a message is printed.
#[derive(Debug, Clone, PartialEq)]
struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// The letter behind a percent sign.
    Of(char),
    Property(String),
}

fn format(text: &str) -> Result<Format, String> {
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text.chars());
    while let Some(character) = rest.next() {
        let part = match character {
            '\\' => {
                plain.push(match rest.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('\\') => '\\',
                    other => return Err(format!("\\{} is none of \\n, \\t and \\\\", other.unwrap_or(' '))),
                });
                continue;
            }
            '%' => match rest.next() {
                Some('%') => {
                    plain.push('%');
                    continue;
                }
                Some('P') => {
                    let name = rest.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    let (name, after) = name.ok_or("%P is followed by the name of a property in braces")?;
                    rest = after.chars();
                    Part::Property(name.to_owned())
                }
                Some(letter) if "btBqoigkT".contains(letter) => Part::Of(letter),
                other => return Err(format!("%{} means nothing", other.unwrap_or(' '))),
            },
            other => {
                plain.push(other);
                continue;
            }
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(part);
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(Format(parts))
}

impl Format {
    fn write(&self, message: &Received, out: &mut impl Write) -> io::Result<()> {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => out.write_all(text.as_bytes()),
            Part::Property(name) => out.write_all(message.property(name).unwrap_or_default().as_bytes()),
            Part::Of('t') => out.write_all(message.topic().as_bytes()),
            Part::Of('B') => out.write_all(message.queue.broker.as_bytes()),
            Part::Of('q') => write!(out, "{}", message.queue.id),
            Part::Of('o') => write!(out, "{}", message.offset),
            Part::Of('i') => out.write_all(message.message_id().as_bytes()),
            Part::Of('g') => out.write_all(message.tag().unwrap_or_default().as_bytes()),
            Part::Of('k') => out.write_all(message.property("KEYS").unwrap_or_default().as_bytes()),
            Part::Of('T') => write!(out, "{}", message.store_timestamp),
            Part::Of(_) => out.write_all(&message.body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_or_refused_with_its_reason() {
        let parts = format("%o\\t%P{region}: 100%%%b\\n").map(|format| format.0);
        let text = |text: &str| Part::Text(text.to_owned());
        let expected =
            [Part::Of('o'), text("\t"), Part::Property("region".to_owned()), text(": 100%"), Part::Of('b'), text("\n")];
        assert_eq!(parts, Ok(expected.to_vec()));
        assert_eq!(format("%z"), Err("%z means nothing".to_owned()));
        assert!(format("%P").is_err() && format("%").is_err() && format("\\").is_err());
    }

    #[test]
    fn a_beginning_is_a_word_an_offset_a_time_or_how_long_ago() {
        assert_eq!(from("first"), Ok(From::First));
        assert_eq!(from("42"), Ok(From::Offset(42)));
        assert_eq!(
            from("1970-01-01T00:00:01Z"),
            Ok(From::Time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1)))
        );
        assert!(matches!(from("10m"), Ok(From::Time(time)) if time < SystemTime::now()));
        assert!(from("yesterday").is_err());
    }
}
