//! A slave keeps what its master keeps beside the log: topics, groups, offsets, modes, and how far the master has
//! come with messages that wait (upstream `SlaveSynchronize`).
//!
//! | step | file |
//! |---|---|
//! | the questions, in pages where a table may be long | `ask.rs` |
//! | what happened here while the master was gone is given back to it | `give_back.rs` |
//! | older messages of compacted topics, which its log does not have | `history.rs` |
//! | what is different is taken over, as a whole: what the master does not have goes | `take.rs` |
//!
//! Tables of names count at once. How far the master has come with delayed messages and transactions may speak of
//! deliveries that this slave has not copied yet: that is taken once the log is as long as the master's was when it
//! answered, so that a slave that becomes master takes nothing for delivered that it does not have. Offsets of groups wait
//! for the same where messages are popped, since they pass messages that are noted in the log.

mod ask;
mod give_back;
mod history;
mod take;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told;

use std::sync::Arc;
use std::time::Duration;

use apogee_wire::bodies::TopicConfigAndMappingSerializeWrapper;
use tokio::time::Instant;

use crate::broker::Broker;
use ask::Master;
use take::Progress;

pub(crate) use ask::{DELIVERED_BY, HANDED_OVER, Marks, NOTED_TO, POPPED_FROM};
pub(crate) use history::take_history;
#[cfg(test)]
pub(crate) use told::Told;

/// Time between two rounds of questions; upstream's slave asks each 10 s.
const PERIOD: Duration = Duration::from_secs(3);
/// A round that takes long is not repeated so soon: it shall take no more than this part of the time,
const SHARE: u32 = 10;
/// but the pause is not longer than upstream's.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked whether the log is long enough for what waits for it.
const LOG_LOOK: Duration = Duration::from_millis(100);

/// Keeps the tables of a slave as its master's are, until the broker stops.
pub(crate) async fn follow_master(broker: Arc<Broker>) {
    let mut place = broker.replication.master();
    let (mut link, mut complained, mut due) = (None, false, Instant::now());
    loop {
        // One that sends no log is of another group, for all that is known: nothing of it is taken over.
        let follows = broker.copy_progress().is_some();
        let address = place.borrow_and_update().broker.clone().filter(|_| follows);
        if let Some(address) = address {
            let began = Instant::now();
            let asked = tokio::select! {
                asked = ask(&broker, &mut link, &address, began >= due) => asked,
                // A new master, most likely.
                _ = place.changed() => {
                    (link, due) = (None, began);
                    continue;
                }
            };
            if began >= due {
                due = Instant::now() + (began.elapsed() * SHARE).clamp(PERIOD, LONGEST_PAUSE);
            }
            match asked {
                Ok(()) if complained => {
                    tracing::info!(master = address, "learns topics, groups and offsets from its master again");
                    complained = false;
                }
                Ok(()) => {}
                Err(error) => {
                    if !complained {
                        tracing::warn!(
                            master = address,
                            error,
                            "cannot learn topics, groups and offsets from its master; trying again every few seconds: see whether the master is up"
                        );
                    }
                    (link, complained) = (None, true);
                }
            }
        }
        let is_waiting = link.as_ref().is_some_and(|link| link.progress.is_some());
        let look = if is_waiting { due.min(Instant::now() + LOG_LOOK) } else { due.max(Instant::now() + LOG_LOOK) };
        tokio::select! {
            () = tokio::time::sleep_until(look) => {}
            changed = place.changed() => {
                if changed.is_err() {
                    return;
                }
                (link, due) = (None, Instant::now());
            }
        }
    }
}

/// Gives a master that is back what happened here while it was away.
pub(crate) async fn hand_over(broker: &Arc<Broker>, address: &str) -> Result<(), String> {
    let master = Master::connect(address).await?;
    give_back::delivered(broker, &master).await?;
    let mut offsets = master.offsets().await?;
    give_back::give_back(broker, &master, &mut offsets).await
}

/// Takes over what a slave of Apache's did while it stood in for this master: it keeps no record of single deliveries,
/// but goes on in its tables, offsets of consumers and progress of delay levels.
pub(crate) async fn take_back(broker: &Arc<Broker>, address: &str) -> Result<(), String> {
    let slave = Master::connect(address).await?;
    let (delays, offsets) = (slave.delays().await?, slave.offsets().await?);
    blocking(broker, move |broker| {
        broker.schedule.advance(&broker.store, &delays);
        take::offsets_ahead(broker, &offsets)
    })
    .await
}

/// What is known of the master that is asked.
struct Link {
    master: Master,
    /// What waits for the log to be long enough.
    progress: Option<Progress>,
    /// Queues of topics may be here that the master has removed.
    has_strangers: bool,
}

/// Does what is to be done over the connection that there is, or a new one. `is_due`: everything is to be asked for.
async fn ask(broker: &Arc<Broker>, link: &mut Option<Link>, address: &str, is_due: bool) -> Result<(), String> {
    if is_due && link.as_ref().is_none_or(|link| !link.master.is_at(address)) {
        *link = Some(Link { master: Master::connect(address).await?, progress: None, has_strangers: true });
    }
    let Some(link) = link else { return Ok(()) };
    if is_due {
        link.round(broker).await?;
    }
    link.catch_up(broker).await
}

impl Link {
    /// Asks for everything, and takes over what is different.
    async fn round(&mut self, broker: &Arc<Broker>) -> Result<(), String> {
        let master = &self.master;
        let topics = self.topics(broker).await?;
        self.has_strangers |= topics.is_some();
        let groups = master.groups(broker.groups.version()).await?;
        let modes = master.modes().await?;
        blocking(broker, move |broker| take::tables(broker, topics, groups, modes)).await?;
        give_back::delivered(broker, master).await?;
        // Marks first: what is settled while the rest is asked for is above them.
        let waiting = master.waiting().await?;
        broker.pop.learn_held(waiting.popped_from);
        let mut offsets = master.offsets().await?;
        give_back::give_back(broker, master, &mut offsets).await?;
        let mut progress = Progress::new(waiting, &offsets, master.log_end().await?);
        // Where messages are popped, offsets rest on notes in the log.
        let offsets = match broker.topics.get(&broker.pop.revive_topic) {
            Some(_) => {
                progress.offsets = Some(offsets);
                None
            }
            None => Some(offsets),
        };
        // What has begun to wait for the log comes first: the log may never be as long as a busy master's.
        self.progress.get_or_insert(progress);
        match offsets {
            Some(offsets) => blocking(broker, move |broker| take::offsets(broker, offsets)).await,
            None => Ok(()),
        }
    }

    /// Takes over what waits for the log, once that is long enough.
    async fn catch_up(&mut self, broker: &Arc<Broker>) -> Result<(), String> {
        if broker.ledger.is_covered(broker.store.confirmed_offset()) {
            let forget = |broker: &Broker| broker.ledger.forget_covered(broker.store.confirmed_offset());
            blocking(broker, move |broker| forget(broker).map_err(|error| error.to_string())).await?;
        }
        let Some(progress) = self.progress.take_if(|progress| progress.is_covered(broker)) else { return Ok(()) };
        blocking(broker, move |broker| take::progress(broker, progress)).await?;
        if self.has_strangers { self.remove_strangers(broker).await } else { Ok(()) }
    }

    async fn topics(&self, broker: &Broker) -> Result<Option<TopicConfigAndMappingSerializeWrapper>, String> {
        self.master.topics((broker.topics.version(), broker.statics.version())).await
    }

    /// Removes queues of topics that the master has removed. A topic is in its table before a message of it is in the
    /// log: one whose messages are here, and that was in no table up to now, is no new one.
    async fn remove_strangers(&mut self, broker: &Arc<Broker>) -> Result<(), String> {
        let strangers = take::strangers(broker);
        if !strangers.is_empty() {
            if self.topics(broker).await?.is_some() {
                return Ok(());
            }
            blocking(broker, move |broker| take::remove_queues(broker, &strangers)).await?;
        }
        self.has_strangers = false;
        Ok(())
    }
}

/// Does what may wait for the disk.
async fn blocking(
    broker: &Arc<Broker>,
    work: impl FnOnce(&Broker) -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    let broker = Arc::clone(broker);
    let done = tokio::task::spawn_blocking(move || work(&broker)).await;
    done.unwrap_or_else(|error| Err(format!("failed by a bug of its own: {error}")))
}
