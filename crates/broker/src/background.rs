//! What goes on beside requests: threads for the store's steps and, on a master, for delayed messages, tasks for
//! pulls that wait and for what is to be done from time to time.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::handlers::{pop, pull};
use crate::life::Stage;
use crate::settings::FlushDiskType;
use crate::stats::SAMPLE_SECONDS;

/// Topics and groups that came into being by themselves are saved so often, the timer's state at every other time.
const SAVE_TABLES: Duration = Duration::from_millis(500);
/// Clients that fell silent are looked for so often.
const EXPIRE_CLIENTS: Duration = Duration::from_secs(10);
/// Time between two checkpoints of the store.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// How long the indexer lets records gather: who asks by key has what waits put first, so nobody sees it, and
/// each time it wakes costs as much as some messages.
const GATHER: Duration = Duration::from_millis(50);
/// Delayed messages that come, or are due, within so short a time are dealt with together: they share a wake-up, a
/// write and a flush. A message is late by no more than this for it, and one that is alone not at all.
const TOGETHER: Duration = Duration::from_millis(4);
/// Popped messages that are to be noted, or come again, within so short a time share a write and two flushes.
const NOTE_TOGETHER: Duration = Duration::from_millis(20);
/// A slave's timer takes in together what comes within so short a time.
const FOLLOW: Duration = Duration::from_millis(200);
/// Deadlines are looked at this often even if none is near: the clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a thread with nothing to do sleeps at most; a stop wakes it.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Answers pulls whose time is up.
pub(crate) async fn answer_expired(broker: Arc<Broker>) {
    loop {
        let now = broker.now();
        for parked in broker.longpoll.expired(now) {
            pull::pull_again(&broker, &parked);
        }
        for waiter in broker.pop.waiters.expired(now) {
            pop::again(&broker, waiter);
        }
        let next = [broker.longpoll.next_deadline(), broker.pop.waiters.next_deadline()].into_iter().flatten().min();
        let next = next
            .map_or(LONGEST_SLEEP, |deadline| Duration::from_millis((deadline - now).max(1) as u64).min(LONGEST_SLEEP));
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = broker.deadline.notified() => {}
        }
    }
}

/// What is to be done from time to time.
pub(crate) async fn keep_house(broker: Arc<Broker>) {
    let settings = broker.settings.load();
    let mut tables = tokio::time::interval(SAVE_TABLES);
    let mut offsets = tokio::time::interval(Duration::from_millis(settings.flush_consumer_offset_interval));
    let mut delays = tokio::time::interval(Duration::from_millis(settings.flush_delay_offset_interval));
    let mut clients = tokio::time::interval(EXPIRE_CLIENTS);
    let mut lite = tokio::time::interval(Duration::from_millis(settings.lite_ttl_check_interval));
    let mut looks = tokio::time::interval(Duration::from_millis(settings.lite_event_full_dispatch_delay_time));
    let mut samples = tokio::time::interval(Duration::from_secs(SAMPLE_SECONDS));
    loop {
        let broker = Arc::clone(&broker);
        let on_disk: Option<fn(&Broker)> = tokio::select! {
            _ = tables.tick() => Some(|broker| {
                broker.save_tables();
                broker.timer.save_step(&broker.store, broker.now());
            }),
            _ = offsets.tick() => Some(|broker| {
                if let Err(error) = broker.offsets.save(broker.now()) {
                    tracing::error!(%error, "consumer offsets cannot be saved; trying again: see whether the disk is full or failed");
                }
            }),
            _ = delays.tick() => Some(|broker| {
                if let Err(error) = broker.save_delays() {
                    tracing::error!(%error, "offsets of delayed messages cannot be saved; trying again: see whether the disk is full or failed");
                }
            }),
            _ = lite.tick() => Some(Broker::remove_expired_lite),
            _ = looks.tick(), if !broker.lite.is_idle() => Some(Broker::look_for_all),
            _ = clients.tick() => {
                broker.clients(&broker.settings.load()).expire();
                broker.forget_silent_readers();
                None
            }
            _ = samples.tick() => {
                broker.stats.sample(broker.now());
                None
            }
        };
        if let Some(work) = on_disk {
            // Ends with the process; nothing is awaited on it that could be lost.
            let _ = tokio::task::spawn_blocking(move || work(&broker)).await;
        }
    }
}

/// The store's steps and the delivery of delayed messages, a thread each.
pub(crate) fn start_threads(broker: &Arc<Broker>) -> io::Result<Vec<thread::JoinHandle<()>>> {
    let spawn = |name: &str, work: fn(&Broker)| {
        let broker = Arc::clone(broker);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !broker.life.is_at(Stage::Ended) {
                work(&broker);
            }
        })
    };
    let flush: fn(&Broker) = match broker.settings.load().flush_disk_type {
        FlushDiskType::Sync => |broker| {
            if broker.store.wait_for_flush_work(LOOK_UP) {
                // The store says why when a flush fails.
                let _ = broker.store.flush_step();
            }
        },
        FlushDiskType::Async => |broker| {
            if broker.store.wait_for_unflushed(LOOK_UP) {
                let window = Duration::from_millis(broker.settings.load().flush_interval_commit_log);
                broker.store.wait_for_flush_work(window / 2);
                let _ = broker.store.flush_step();
            }
        },
    };
    let mut threads = vec![
        spawn("store-flush", flush)?,
        spawn("store-queues", flush_queues)?,
        spawn("store-index", |broker| {
            if !broker.store.wait_for_index_work(LOOK_UP) {
                return;
            }
            thread::sleep(GATHER);
            if let Err(error) = broker.store.index_step() {
                tracing::error!(%error, "messages cannot be indexed, and will not be found by key: see to the disk, then restart");
            }
        })?,
        spawn("retention", |broker| {
            let sleep = broker.retention.step(broker);
            broker.retention.bell.sleep(sleep);
        })?,
    ];
    if broker.store.compacts() {
        threads.push(spawn("compaction", |broker| {
            let sleep = broker.compaction.step(broker);
            broker.compaction.bell.sleep(sleep);
        })?);
    }
    if !broker.role.delivers() {
        threads.push(spawn("timer", |broker| {
            let sleep = broker.timer.follow(&broker.store, broker.now());
            broker.timer.bell.sleep_at_least(FOLLOW, sleep);
        })?);
    } else {
        threads.extend([
            spawn("schedule", |broker| {
                if !broker.acting.is_online() {
                    return broker.schedule.bell.sleep(LOOK_UP);
                }
                let tell = |topic: &str, bytes| broker.count_delivery(topic, bytes);
                let sleep = broker.schedule.step_telling(&broker.store, broker.now(), tell);
                broker.schedule.bell.sleep_at_least(TOGETHER, sleep);
            })?,
            spawn("timer", |broker| {
                if !broker.acting.is_online() {
                    return broker.timer.bell.sleep(LOOK_UP);
                }
                let sleep = broker.timer.step(&broker.store, broker.now());
                broker.timer.bell.sleep_at_least(TOGETHER, sleep);
            })?,
            spawn("pop", |broker| {
                let sleep = broker.pop.step(broker);
                broker.pop.bell.sleep_at_least(NOTE_TOGETHER, sleep);
            })?,
            spawn("transactions", |broker| {
                if !broker.acting.is_online() {
                    return broker.transactions.bell.sleep(LOOK_UP);
                }
                let rules = broker.transaction_rules();
                let Broker { store, offsets, producers, transactions, .. } = broker;
                let sleep = transactions.step(store, offsets, producers, &rules, broker.now());
                transactions.bell.sleep(sleep);
            })?,
        ]);
    }
    Ok(threads)
}

/// Ends them, once the broker's life has.
pub(crate) fn end_threads(broker: &Broker, threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        // Again and again: one that was about to wait missed the first time.
        while !thread.is_finished() {
            broker.store.wake();
            thread.thread().unpark();
            thread::sleep(Duration::from_millis(1));
        }
        // A thread that panicked said so; the store is closed all the same.
        let _ = thread.join();
    }
}

/// Writes queue units every second, and makes a checkpoint every half minute.
fn flush_queues(broker: &Broker) {
    let interval = Duration::from_millis(broker.settings.load().flush_interval_consume_queue);
    let rounds = (CHECKPOINT.as_millis() / interval.as_millis().max(1)).max(1);
    for round in 0..rounds {
        let mut slept = Duration::ZERO;
        while slept < interval && !broker.life.is_at(Stage::Ended) && !broker.store.queues_are_urgent() {
            let began = Instant::now();
            thread::park_timeout(LOOK_UP.min(interval - slept));
            slept += began.elapsed();
        }
        if broker.life.is_at(Stage::Ended) {
            return;
        }
        let last = round + 1 == rounds || broker.store.checkpoint_is_urgent();
        let done = if last { broker.store.checkpoint_step() } else { broker.store.queues_step() };
        if let Err(error) = done {
            tracing::error!(%error, "consume queues cannot be written; trying again: see whether the disk is full or failed");
        }
        if last {
            return;
        }
    }
}
