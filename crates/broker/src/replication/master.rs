//! Listening to slaves, and telling the store who has what (upstream `DefaultHAService`, `GroupTransferService`).

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{ReplicationEvent, Role, rules, sending};
use crate::broker::Broker;
use crate::role::BrokerRole;
use crate::settings::FlushDiskType;

/// Most connections of slaves at a time.
const MOST_SLAVES: usize = 64;
/// How often it is looked who is in sync.
const LOOK: Duration = Duration::from_millis(500);
/// The same where nobody waits for copies.
const SELDOM: Duration = Duration::from_secs(5);
/// How often it is looked whether the controller knows who is in sync.
const ASK: Duration = Duration::from_millis(100);
/// A wish that the controller has not answered is told again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Pause after a connection could not be taken: there are too many open files, or no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves slaves, and keeps the store informed, until dropped.
pub(super) async fn lead(broker: &Arc<Broker>, listener: Option<TcpListener>) {
    tokio::join!(accept(broker, listener), keep_store_informed(broker), ask_for_in_sync(broker));
}

async fn accept(broker: &Arc<Broker>, listener: Option<TcpListener>) {
    let Some(listener) = listener else { return };
    let mut slaves: JoinSet<()> = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Those that ended make room.
            Some(_) = slaves.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) if slaves.len() >= MOST_SLAVES => {
                tracing::warn!(%peer, most = MOST_SLAVES, "too many connections of slaves: this one is closed; see who connects to haListenPort");
                drop::<TcpStream>(stream);
            }
            Ok((stream, peer)) => {
                number += 1;
                slaves.spawn(sending::serve(Arc::clone(broker), stream, peer, number));
            }
            Err(error) => {
                tracing::warn!(%error, "a slave's connection cannot be taken; trying again: see how many files the process may open");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Tells the store how far copies are when its own log has come further, and those who waited for too long.
async fn keep_store_informed(broker: &Arc<Broker>) {
    let waits = broker.role == BrokerRole::SyncMaster || broker.replication.epochs.is_some();
    loop {
        let written = broker.replication.news.written.notified();
        let flushed = broker.replication.news.flushed.notified();
        let (mut written, mut flushed) = (std::pin::pin!(written), std::pin::pin!(flushed));
        // Registered before the look: what comes between the two is not missed.
        written.as_mut().enable();
        flushed.as_mut().enable();
        inform(broker);
        let next = if waits { broker.store.copies_step().min(LOOK) } else { SELDOM };
        tokio::select! {
            () = tokio::time::sleep(next) => {
                if let Some(mut leader) = broker.replication.leader() {
                    leader.set_rules(rules(&broker.settings.load()));
                }
            }
            () = written, if waits => {}
            () = flushed, if waits => {}
        }
    }
}

/// Takes to the store what is known of copies at this moment.
pub(super) fn inform(broker: &Broker) {
    let (copied, confirmed, shortage) = {
        let Some(mut leader) = broker.replication.leader() else { return };
        leader.written(safe_end(broker));
        (leader.copied(), leader.confirmed(), leader.shortage())
    };
    broker.store.refuse_for_copies(shortage);
    // Who is told that his message is safe finds it.
    broker.store.show_to(confirmed);
    broker.store.copied_to(copied);
}

/// Up to where this broker's own copy counts: what is flushed with `SYNC_FLUSH`, else what is written.
pub(super) fn safe_end(broker: &Broker) -> i64 {
    match broker.settings.load().flush_disk_type {
        FlushDiskType::Sync => broker.store.flushed_offset(),
        FlushDiskType::Async => broker.store.log_max_offset(),
    }
}

/// Asks the controller to know who is in sync, where it is not as it knows.
async fn ask_for_in_sync(broker: &Arc<Broker>) {
    if !matches!(broker.replication.role, Role::Master(_)) {
        return;
    }
    let mut asked = None;
    loop {
        let wanted = broker.replication.leader().and_then(|mut leader| leader.wanted(broker.now()));
        let is_due = |(last, at): &(_, Instant)| Some(last) != wanted.as_ref() || at.elapsed() >= ASK_AGAIN;
        if let Some(wanted) = wanted.as_ref().filter(|_| asked.as_ref().is_none_or(is_due)) {
            let (members, replaces) = (wanted.members.clone(), wanted.replaces);
            tracing::info!(
                ?members,
                replaces,
                "the set of replicas in sync should be another one; asking the controller"
            );
            if broker.replication.tell(ReplicationEvent::InSyncWanted { members, replaces }) {
                asked = Some((wanted.clone(), Instant::now()));
            }
        }
        if wanted.is_none() {
            asked = None;
        }
        tokio::time::sleep(ASK).await;
    }
}
