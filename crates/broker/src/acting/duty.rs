//! What a slave does for its master while it stands in for him: what comes due is delivered through another broker that
//! has a master of the topic (upstream `enableRemoteEscape`), and noted in the slave's ledger.

use std::sync::Arc;
use std::time::Duration;

use super::due::{Due, Waiting};
use super::elsewhere::Elsewhere;
use crate::broker::Broker;
use crate::life::Stage;

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether the slave stands in, beside being told.
const IDLE: Duration = Duration::from_secs(1);

/// Does the master's work whenever this slave stands in for it, until the broker stops.
pub(crate) async fn work_for_master(broker: Arc<Broker>) {
    let mut duty = None;
    loop {
        let pause = {
            // Who makes this slave stand down waits for what is under way.
            let _turn = broker.acting.turn().await;
            step(&broker, &mut duty).await
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = broker.acting.changed.notified() => {}
            () = broker.life.reached(Stage::Leaving) => return,
        }
    }
}

/// What is at hand while the slave stands in.
struct Duty {
    waiting: Waiting,
    elsewhere: Elsewhere,
    delivered: usize,
}

/// Delivers a batch. Returns when to look again.
async fn step(broker: &Arc<Broker>, duty: &mut Option<Duty>) -> Duration {
    if !broker.acting.stands_in() || !broker.settings.load().enable_remote_escape {
        if let Some(Duty { delivered, .. }) = duty.take() {
            broker.timer.put_back();
            tracing::info!(delivered, "this slave delivers no more for its master");
        }
        return IDLE;
    }
    let Duty { mut waiting, mut elsewhere, delivered } = match duty.take() {
        Some(duty) => duty,
        None => match begin(broker).await {
            Ok(duty) => duty,
            Err(error) => {
                tracing::error!(
                    error,
                    "this slave cannot deliver for its master; trying again: the error says what to look at"
                );
                return IDLE;
            }
        },
    };
    let now = broker.now();
    let at = Arc::clone(broker);
    let taken = tokio::task::spawn_blocking(move || {
        let due = waiting.take(&at, now);
        (waiting, due)
    });
    let Ok((mut waiting, due)) = taken.await else { return IDLE };
    if due.is_empty() {
        *duty = Some(Duty { waiting, elsewhere, delivered });
        return LOOK;
    }
    let weak = broker.weak();
    let goes_on = move || weak.upgrade().is_some_and(|broker| broker.acting.stands_in());
    let sent = elsewhere.send(due.iter().map(|due: &Due| &due.message), goes_on).await;
    let count = sent.iter().filter(|sent| **sent).count();
    let at = Arc::clone(broker);
    let noted = tokio::task::spawn_blocking(move || {
        waiting.end(&at, due, &sent);
        waiting
    });
    let Ok(waiting) = noted.await else { return IDLE };
    *duty = Some(Duty { waiting, elsewhere, delivered: delivered + count });
    if count > 0 { Duration::ZERO } else { LOOK }
}

async fn begin(broker: &Arc<Broker>) -> Result<Duty, String> {
    // What an earlier duty took that ended by a bug.
    broker.timer.put_back();
    let at = Arc::clone(broker);
    let waiting = tokio::task::spawn_blocking(move || Waiting::begin(&at)).await;
    let waiting = waiting.unwrap_or_else(|error| Err(format!("a bug of its own: {error}")))?;
    tracing::warn!("this slave delivers what comes due through other brokers, until its master is back");
    Ok(Duty { waiting, elsewhere: Elsewhere::new(&broker.settings.load(), Arc::clone(&broker.routes)), delivered: 0 })
}
