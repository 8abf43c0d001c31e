//! One slave's connection, from the master's side (upstream `DefaultHAConnection`).
//!
//! What the slave says is read while the log is sent; slices of the log leave as they are mapped, many frames in one
//! write.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_replication::switch::{self, Head};
use apogee_replication::{Facts, Heard, NoSlave, Session, Turned, plain};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::master::inform;
use super::pace::Pace;
use crate::broker::Broker;

/// Bytes of the log in one write.
const WRITE: usize = 1 << 20;
/// A slave that lacks no more follows what is written: how fast it is sent the log has no limit, since messages wait for it.
const IN_STEP: i64 = 16 << 20;
/// How soon a slave learns that more is confirmed, when nothing else is sent.
const TELL: Duration = Duration::from_millis(100);
/// The copy has not begun.
const NOWHERE: i64 = -1;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
    #[error("it said nothing for {0:?} (haHousekeepingInterval)")]
    Silent(Duration),
    #[error("the slave is refused: {0}")]
    Turned(#[from] Turned),
    #[error("the slave is refused: {0}")]
    NoSlave(#[from] NoSlave),
    #[error("a slave by its number has connected again")]
    Replaced,
    #[error("it needs the log from {0} on, which is not there any more: move its store away, and it copies anew")]
    Gone(i64),
}

/// A connection, as its two directions share it.
struct Link<'b> {
    broker: &'b Broker,
    number: u64,
    peer: SocketAddr,
    /// Where the copy goes on; [`NOWHERE`] until it begins.
    next: AtomicI64,
    /// What is to be said before the log.
    answers: Mutex<Vec<u8>>,
    /// There is something new to say.
    begun: Notify,
}

/// Serves one slave until its connection ends.
pub(super) async fn serve(broker: Arc<Broker>, stream: TcpStream, peer: SocketAddr, number: u64) {
    // Frames are written whole; where the system refuses, they are slower.
    let _ = stream.set_nodelay(true);
    let (reads, mut writes) = stream.into_split();
    let link = Link {
        broker: &broker,
        number,
        peer,
        next: AtomicI64::new(NOWHERE),
        answers: Mutex::default(),
        begun: Notify::new(),
    };
    let ended = tokio::select! {
        ended = link.hear(reads) => ended,
        ended = link.send(&mut writes) => ended,
    };
    if let Some(mut leader) = broker.replication.leader() {
        leader.gone(number);
    }
    let Err(reason) = ended;
    match &reason {
        Ended::Turned(_) | Ended::NoSlave(_) => {
            tracing::error!(slave = %peer, %reason, "a slave's connection is closed");
            link.refuse(&reason, &mut writes).await;
        }
        Ended::Gone(_) => tracing::error!(slave = %peer, %reason, "a slave's connection is closed"),
        Ended::Closed if link.next() == NOWHERE => tracing::debug!(%peer, "somebody looked at the port of slaves"),
        _ => tracing::warn!(slave = %peer, %reason, "a slave's connection is closed"),
    }
    inform(&broker);
}

/// What never returns but for an end.
type Until = Result<std::convert::Infallible, Ended>;

impl Link<'_> {
    fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    async fn hear(&self, mut reads: OwnedReadHalf) -> Until {
        let (store, replication) = (&self.broker.store, &self.broker.replication);
        let (mut session, mut received) = (Session::default(), BytesMut::with_capacity(1 << 10));
        let epochs = replication.epochs();
        loop {
            let settings = self.broker.settings.load();
            let patience = Duration::from_millis(settings.ha_housekeeping_interval);
            let read = tokio::time::timeout(patience, reads.read_buf(&mut received)).await;
            if read.map_err(|_| Ended::Silent(patience))?? == 0 {
                return Err(Ended::Closed);
            }
            let facts = Facts {
                begin: store.log_min_offset(),
                end: store.log_max_offset(),
                file_size: store.log_file_size(),
                from_last_file: settings.is_sync_from_last_file,
                epochs: epochs.as_deref(),
            };
            while let Some(heard) = session.received(&mut received, &facts)? {
                self.heard(&heard, &facts)?;
            }
            inform(self.broker);
        }
    }

    fn heard(&self, heard: &Heard, facts: &Facts<'_>) -> Result<(), Ended> {
        let (now, peer) = (self.broker.now(), self.peer);
        let Some(mut leader) = self.broker.replication.leader() else { return Err(Ended::Closed) };
        match heard {
            Heard::Handshake(handshake) => {
                let who = (handshake.broker_id, handshake.is_learner);
                leader.connected(self.number, peer.to_string(), Some(who), now)?;
                self.answers.lock().unwrap_or_else(PoisonError::into_inner).extend(Session::reply(facts));
                self.next.store(NOWHERE, Ordering::Relaxed);
                self.begun.notify_one();
            }
            Heard::Begins { has, from } => {
                if facts.epochs.is_none() {
                    leader.connected(self.number, peer.to_string(), None, now)?;
                }
                if !leader.begins(self.number, *from, *has, now) {
                    return Err(Ended::Replaced);
                }
                tracing::info!(slave = %peer, has, from, behind = facts.end - from, "a slave begins to copy the log");
                self.next.store(*from, Ordering::Relaxed);
                self.begun.notify_one();
            }
            Heard::Acked(end) => {
                if !leader.acked(self.number, *end, now) {
                    return Err(Ended::Replaced);
                }
            }
        }
        Ok(())
    }

    async fn send(&self, writes: &mut OwnedWriteHalf) -> Until {
        let news = &self.broker.replication.news;
        let (mut said, mut told, mut greeted) = (Instant::now(), 0, false);
        let mut pace = Pace::new(said);
        loop {
            let mut written = std::pin::pin!(news.written.notified());
            // Registered before the look: what comes between the two is not missed.
            written.as_mut().enable();
            let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
            if !answers.is_empty() {
                writes.write_all(&answers).await?;
            }
            let confirmed = self.confirmed();
            let pieces = self.pieces(confirmed)?;
            if !pieces.is_empty() {
                write_all(writes, &pieces).await?;
                (said, told, greeted) = (Instant::now(), confirmed, true);
                let settings = self.broker.settings.load();
                let behind = self.broker.store.log_max_offset() - self.next();
                if settings.ha_flow_control_enable && behind > IN_STEP {
                    let bytes = pieces.iter().map(Bytes::len).sum();
                    let pause = pace.sent(bytes, settings.max_ha_transfer_byte_in_second, said);
                    // Not kept over the pause: an operator may change it.
                    drop(settings);
                    if let Some(pause) = pause {
                        tokio::time::sleep_until(pause).await;
                    }
                }
                continue;
            }
            let beat = said + Duration::from_millis(self.broker.settings.load().ha_send_heartbeat_interval);
            // Slaves show what is confirmed, and that may grow while nothing is written.
            let look = if self.broker.replication.epochs.is_some() { beat.min(Instant::now() + TELL) } else { beat };
            tokio::select! {
                () = written => {}
                () = self.begun.notified() => {}
                () = tokio::time::sleep_until(look) => {}
            }
            let (next, confirmed) = (self.next(), self.confirmed());
            // A slave that has everything learns at once that it is accepted.
            let is_new = next != NOWHERE && !greeted;
            if Instant::now() >= beat || confirmed > told || is_new {
                if next != NOWHERE && next == self.broker.store.log_max_offset() {
                    writes.write_all(&self.head(next, 0, confirmed)).await?;
                    (told, greeted) = (confirmed, true);
                }
                said = Instant::now();
            }
        }
    }

    /// Up to where all replicas in sync have the log; 0 without a controller.
    fn confirmed(&self) -> i64 {
        self.broker.replication.leader().map_or(0, |mut leader| leader.confirmed())
    }

    /// What is there to send, as frames: heads and slices of the log in turn.
    fn pieces(&self, confirmed: i64) -> Result<Vec<Bytes>, Ended> {
        let (store, mut at) = (&self.broker.store, self.next());
        let mut pieces = Vec::new();
        if at == NOWHERE {
            return Ok(pieces);
        }
        let most = self.broker.settings.load().ha_transfer_batch_size;
        let epochs = self.broker.replication.epochs();
        // Looked at first: what comes meanwhile is for the next time.
        let (mut left, end) = (WRITE, store.log_max_offset());
        while left > 0 {
            let epoch_end = epochs.as_ref().and_then(|epochs| epochs.end_at(at));
            let within = epoch_end.map_or(most, |end| most.min((end - at) as usize));
            let Some(slice) = store.log_slice(at, within) else { break };
            pieces.push(self.head(at, slice.len() as u32, confirmed).into());
            at += slice.len() as i64;
            left = left.saturating_sub(slice.len());
            pieces.push(slice);
        }
        if pieces.is_empty() && at < end {
            return Err(Ended::Gone(at));
        }
        self.next.store(at, Ordering::Relaxed);
        Ok(pieces)
    }

    fn head(&self, offset: i64, size: u32, confirmed: i64) -> Vec<u8> {
        match self.broker.replication.epochs().and_then(|epochs| epochs.at(offset)) {
            Some(epoch) => switch::head(size, &Head { offset, epoch, confirmed }).to_vec(),
            None => plain::head(offset, size).to_vec(),
        }
    }

    /// Tells a slave why it is refused, where the protocol has room for it.
    async fn refuse(&self, reason: &Ended, writes: &mut OwnedWriteHalf) {
        // In the middle of the log nothing else can be said; and an empty log would take it for its beginning.
        if self.next() != NOWHERE {
            return;
        }
        let text = reason.to_string();
        let frame = match (self.broker.replication.epochs(), reason) {
            (Some(_), _) => switch::refusal(&text),
            (None, Ended::Turned(Turned::Ahead { .. } | Turned::Behind { .. })) => plain::refusal(&text),
            _ => return,
        };
        // It is closed all the same.
        let _ = tokio::time::timeout(TELL, writes.write_all(&frame)).await;
        let _ = tokio::time::timeout(TELL, writes.shutdown()).await;
    }
}

/// Writes everything, in as few calls as the system allows.
async fn write_all(writes: &mut OwnedWriteHalf, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = writes.write_vectored(left).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}
