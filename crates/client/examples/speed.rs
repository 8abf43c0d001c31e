//! What a message costs this client, to compare with others: `speed NAMESRV TOPIC MODE MESSAGES WARM_UP`.
//!
//! Modes: `sync` sends one message after the other; `async` keeps 256 under way; `consume` takes them in a group of its
//! own. Prints a line of JSON: messages, seconds, CPU seconds of the process, most memory that it held in bytes.

#![allow(clippy::print_stdout)] // What it shows.

use std::fs;
use std::time::{Duration, Instant};

use apogee_client::{Client, Message, Producer};
use tokio::task::JoinSet;

const BODY: usize = 1_024;
const UNDER_WAY: u64 = 256;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    // In a task, as in a server: the main thread is none of the runtime's own, and would have to be woken each time.
    tokio::spawn(run()).await?
}

async fn run() -> Outcome {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [namesrv, topic, mode, messages, warm_up] = &words[..] else {
        return Err("usage: speed NAMESRV TOPIC sync|async|consume MESSAGES WARM_UP".into());
    };
    let (messages, warm_up): (u64, u64) = (messages.parse()?, warm_up.parse()?);
    let client = Client::new(&**namesrv)?;
    let (started, used);
    match &**mode {
        "sync" | "async" => {
            let under_way = if mode == "sync" { 1 } else { UNDER_WAY };
            let producer = client.producer("SpeedProducers")?;
            send(&producer, topic, warm_up, under_way).await?;
            (started, used) = (Instant::now(), cpu()?);
            send(&producer, topic, messages, under_way).await?;
        }
        "consume" => {
            let group = format!("Speed{}", std::process::id());
            let mut consumer = client.consumer(group).subscribe(&**topic).from_first().join().await?;
            let mut take = async |count| {
                for _ in 0..count {
                    consumer.next().await.ok_or("closed")?.ack();
                }
                Ok::<_, &str>(())
            };
            take(warm_up).await?;
            (started, used) = (Instant::now(), cpu()?);
            take(messages).await?;
        }
        other => return Err(format!("no mode {other}").into()),
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), (cpu()? - used).as_secs_f64());
    println!(r#"{{"messages":{messages},"seconds":{seconds:.3},"cpu_seconds":{cpu:.3},"memory":{}}}"#, memory()?);
    client.close().await;
    Ok(())
}

async fn send(producer: &Producer, topic: &str, count: u64, under_way: u64) -> Result<(), apogee_client::Error> {
    let body = bytes::Bytes::from(vec![b'x'; BODY]);
    if under_way == 1 {
        for _ in 0..count {
            producer.send(Message::new(topic, body.clone())).await?;
        }
        return Ok(());
    }
    let mut senders = JoinSet::new();
    for _ in 0..under_way {
        let (producer, topic, body) = (producer.clone(), topic.to_owned(), body.clone());
        senders.spawn(async move {
            for _ in 0..count / under_way {
                producer.send(Message::new(&*topic, body.clone())).await?;
            }
            Ok(())
        });
    }
    senders.join_all().await.into_iter().collect()
}

/// CPU time of this process so far, from the times of its threads in nanoseconds.
fn cpu() -> std::io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += schedstat.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// Most memory that was held, in bytes.
fn memory() -> std::io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kilobytes.unwrap_or(0_u64) * 1024)
}
