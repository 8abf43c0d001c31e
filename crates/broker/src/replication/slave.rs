//! Following a master (upstream `DefaultHAClient`, `AutoSwitchHAClient`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use apogee_replication::switch::Handshake;
use apogee_replication::{Epochs, Follower, Following, Refusal, Step};
use apogee_store::CopyError;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::Instant;

use super::master::safe_end;
use super::origin::{self, Asked};
use super::{KeptEpochs, MasterPlace, ReplicationEvent, Role};
use crate::broker::Broker;
use crate::settings::BrokerSettings;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Pause before a master that was lost is tried again. Upstream waits 5 s.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after something that somebody has to look after.
const LONG_PAUSE: Duration = Duration::from_secs(5);
/// Bytes that are read at a time.
const READ: usize = 1 << 20;

/// Why a slave follows no more, for now.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the master closed the connection")]
    Closed,
    #[error("{0}")]
    Failed(#[from] io::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("the master sent nothing for {0:?} (haHousekeepingInterval)")]
    Silent(Duration),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Copy(#[from] CopyError),
    #[error("{0}")]
    Epochs(String),
    #[error("{0}")]
    Foreign(String),
    #[error("the copy has to begin elsewhere")]
    Restart(ReplicationEvent),
    #[error("the master is another one now")]
    Moved,
}

impl Ended {
    /// Whether trying again is no help by itself.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Copy(_) | Self::Epochs(_) | Self::Foreign(_))
    }
}

type Until = Result<Infallible, Ended>;

/// Follows the master, whoever that is, until dropped.
pub(super) async fn follow(broker: &Arc<Broker>) {
    let mut master = broker.replication.master();
    let mut complaint = String::new();
    loop {
        let place = master.borrow_and_update().clone();
        let Some(address) = address(&place).await else {
            tokio::select! {
                _ = master.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            continue;
        };
        let Err(ended) = copy(broker, &place, &address, &mut master).await;
        broker.replication.copying().ends();
        let pause = if ended.is_refusal() { LONG_PAUSE } else { PAUSE };
        match ended {
            Ended::Moved => continue,
            Ended::Restart(event) => {
                tracing::warn!(
                    master = address,
                    ?event,
                    "this slave's log is not a part of its master's: it has to be cut, or begun anew, before it follows"
                );
                broker.replication.tell(event);
            }
            ended => {
                let reason = ended.to_string();
                // Once for each reason, not every second.
                if complaint != reason {
                    if ended.is_refusal() {
                        tracing::error!(master = address, reason, "this slave does not follow its master");
                    } else {
                        tracing::warn!(master = address, reason, "this slave lost its master; trying again");
                    }
                    complaint.clone_from(&reason);
                }
                if ended.is_refusal() {
                    broker.replication.tell(ReplicationEvent::Refused(reason));
                }
            }
        }
        tokio::select! {
            changed = master.changed() => if changed.is_ok() { complaint.clear() },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Where the master's log is sent from, as far as anybody says.
async fn address(place: &MasterPlace) -> Option<String> {
    match (&place.ha, &place.broker) {
        (Some(ha), _) => Some(ha.clone()),
        (None, Some(broker)) => origin::ha_address(broker).await,
        (None, None) => None,
    }
}

/// One connection to the master.
struct Link<'b> {
    broker: &'b Broker,
    place: &'b MasterPlace,
    writes: OwnedWriteHalf,
    follower: Follower,
    said: Instant,
    reported: i64,
}

async fn copy(broker: &Broker, place: &MasterPlace, address: &str, master: &mut watch::Receiver<MasterPlace>) -> Until {
    let settings = broker.settings.load();
    if let Some(master) = &place.broker
        && let Some(reason) = origin::mismatch(master, &settings).await
    {
        return Err(Ended::Foreign(reason));
    }
    // What a slave says first counts as what it has: so it is to be durable.
    let flushed = broker.store.flush_step();
    flushed.map_err(CopyError::Write)?;
    let (begin, end) = (broker.store.log_min_offset(), broker.store.log_max_offset());
    let following = following(broker, &settings);
    if begin < end && matches!(following, Following::Plain) {
        of_one_origin(broker, place, end).await?;
    }
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| Ended::NoAnswer(CONNECT))??;
    stream.set_nodelay(true)?;
    let (mut reads, writes) = stream.into_split();
    let follower = Follower::new(following, begin, end);
    let mut link = Link { broker, place, writes, follower, said: Instant::now(), reported: end };
    let hello = link.follower.hello();
    link.say(&hello).await?;
    broker.replication.copying().begins(address, end);
    tracing::info!(master = address, from = end, "this slave follows its master");

    let patience = Duration::from_millis(settings.ha_housekeeping_interval);
    let beat = Duration::from_millis(settings.ha_send_heartbeat_interval);
    let news = &broker.replication.news;
    let (mut received, mut heard) = (BytesMut::with_capacity(READ), Instant::now());
    loop {
        let mut flushed = std::pin::pin!(news.flushed.notified());
        // Registered before the look: what comes between the two is not missed.
        flushed.as_mut().enable();
        link.report(false).await?;
        received.reserve(READ / 4);
        tokio::select! {
            read = reads.read_buf(&mut received) => {
                if read? == 0 {
                    return Err(Ended::Closed);
                }
                heard = Instant::now();
                link.received(&mut received).await?;
            }
            () = flushed => {}
            () = tokio::time::sleep_until(link.said + beat) => link.report(true).await?,
            () = tokio::time::sleep_until(heard + patience) => return Err(Ended::Silent(patience)),
            changed = master.changed() => if changed.is_ok() { return Err(Ended::Moved) },
        }
    }
}

fn following(broker: &Broker, settings: &BrokerSettings) -> Following {
    match (&broker.replication.role, broker.replication.epochs()) {
        (Role::Slave(follows), Some(epochs)) => Following::Switch {
            handshake: Handshake {
                from_last_file: settings.is_sync_from_last_file,
                is_learner: settings.async_learner,
                broker_id: follows.broker_id,
            },
            epochs: Epochs::clone(&epochs),
        },
        _ => Following::Plain,
    }
}

/// Looks whether the log up to a place is what the master has there.
async fn of_one_origin(broker: &Broker, place: &MasterPlace, to: i64) -> Result<(), Ended> {
    let Some(master) = &place.broker else {
        tracing::debug!("nobody says where the master serves clients: it is not asked for the last record");
        return Ok(());
    };
    match origin::compare(&broker.store, master, to).await {
        Asked::Same | Asked::Nothing => Ok(()),
        Asked::Unknown(reason) => {
            tracing::debug!(master, reason, "the master cannot be asked for the last record that this slave has");
            Err(Ended::Failed(io::Error::other(reason)))
        }
        Asked::Other(at) => Err(Ended::Foreign(format!(
            "the record at {at} of this slave's log is another one in the log of the master {master}: they are logs of different groups, or one was begun anew; if the master's is the right one, move this broker's store away and it copies anew"
        ))),
    }
}

impl Link<'_> {
    async fn say(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let said = tokio::time::timeout(CONNECT, self.writes.write_all(bytes)).await;
        said.map_err(|_| Ended::NoAnswer(CONNECT))??;
        self.said = Instant::now();
        Ok(())
    }

    /// Tells the master what is safe here, if that is news or in any case.
    async fn report(&mut self, again: bool) -> Result<(), Ended> {
        let safe = safe_end(self.broker);
        let Some(report) = self.follower.report(safe).filter(|_| again || safe > self.reported) else {
            // Before the copy begins there is nothing to tell, and it is not its turn for a while.
            self.said = if again { Instant::now() } else { self.said };
            return Ok(());
        };
        self.reported = safe;
        self.say(&report).await
    }

    /// Does what came.
    async fn received(&mut self, received: &mut BytesMut) -> Result<(), Ended> {
        let (broker, replication) = (self.broker, &self.broker.replication);
        while let Some(step) = self.follower.received(received)? {
            match step {
                Step::Keep(epochs) => {
                    if let Some(kept) = &replication.epochs {
                        tracing::info!(
                            epoch = epochs.last().map(|last| last.number),
                            from = epochs.last().map(|last| last.start),
                            "the master's log goes on in a new epoch"
                        );
                        KeptEpochs::keep(kept, epochs).map_err(Ended::Epochs)?;
                    }
                }
                Step::Begin => {
                    let end = self.follower.end();
                    if end > broker.store.log_min_offset() {
                        of_one_origin(broker, self.place, end).await?;
                    }
                    self.report(true).await?;
                }
                Step::Append { offset, bytes } => {
                    broker.store.append_copy(offset, &bytes)?;
                    replication.copying().came(broker.now(), offset, bytes.len());
                }
                Step::Nothing => replication.copying().heard(broker.now()),
                Step::CutTo(to) => {
                    // A log of another group may have an epoch by the same number at the same place.
                    of_one_origin(broker, self.place, to).await?;
                    return Err(Ended::Restart(ReplicationEvent::CutTo(to)));
                }
                Step::BeginAnew => return Err(Ended::Restart(ReplicationEvent::BeginAnew)),
            }
        }
        if replication.epochs.is_some() {
            broker.store.show_to(self.follower.confirmed());
            replication.confirmed_to(self.follower.confirmed());
        }
        Ok(())
    }
}
