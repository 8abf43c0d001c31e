//! A master that comes back while a slave stands in for it takes over what that one did before it registers, and before
//! it delivers anything (upstream `BrokerPreOnlineService`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{OwnedConn, Tcp, Unasked};
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::ExchangeHAInfoRequestHeader;
use tokio::time::Instant;

use super::settle;
use crate::broker::Broker;
use crate::replication::MasterPlace;
use crate::slave::{self, HANDED_OVER};

/// How often it is looked whether the name servers have told who is up, and slaves are asked again.
const LOOK: Duration = Duration::from_millis(100);
/// Name servers that do not answer are waited for so long while others do.
const OTHERS: Duration = Duration::from_secs(3);
/// How long a slave may take to hand over what it did.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a slave takes for handing over, before it lets the master ask again. Apache's masters wait for 3 s.
const HANDING_OVER: Duration = Duration::from_secs(2);
/// Entries of this broker's own ledger that are taken over together.
const PART: usize = 4_096;

/// Makes a master available once it knows what was done in its place; one that is available already does nothing.
pub(crate) async fn come_online(broker: Arc<Broker>) {
    if broker.acting.is_online() {
        return;
    }
    let at = Arc::clone(&broker);
    let own = tokio::task::spawn_blocking(move || take_over_own(&at)).await;
    if let Err(error) = own.unwrap_or_else(|error| Err(error.to_string())) {
        tracing::error!(
            error,
            "what this broker delivered as a slave cannot be noted, and may come twice: the error says what to look at"
        );
    }
    if broker.settings.load().enable_slave_acting_master && !broker.settings.load().namesrv_addr.is_empty() {
        take_over_from_slaves(&broker).await;
    }
    broker.acting.online.send_replace(true);
    broker.schedule.bell.ring();
    broker.timer.bell.ring();
    broker.transactions.bell.ring();
}

/// What this broker delivered while it was a slave.
fn take_over_own(broker: &Broker) -> Result<(), String> {
    loop {
        let part = broker.ledger.untold(PART);
        if part.is_empty() {
            return broker.ledger.forget_covered(broker.store.confirmed_offset()).map_err(|error| error.to_string());
        }
        let end = settle::take_over(broker, &broker.advertised, &part)?;
        broker.ledger.told(part.len(), end);
    }
}

/// Has all slaves that the name servers know hand over what they did. Not for ever: nothing is served meanwhile.
async fn take_over_from_slaves(broker: &Arc<Broker>) {
    let (began, patience) = (Instant::now(), Duration::from_millis(broker.acting.patience_ms.unsigned_abs()));
    let mut others = loop {
        if let Some(others) = slaves(broker, began) {
            break others;
        }
        if began.elapsed() >= patience {
            tracing::warn!(
                "no name server tells which slaves are up: this master begins without asking them, and what they delivered in its place may come twice; check namesrvAddr, and whether it is up"
            );
            return;
        }
        tokio::time::sleep(LOOK).await;
    };
    // A slave that does not answer is gone from the name servers by then, unless only this broker does not reach it.
    while began.elapsed() < 2 * patience {
        let mut failed = BTreeMap::new();
        for (id, address) in others {
            match ask(broker, &address).await {
                Ok(()) => tracing::info!(slave = address, "a slave knows that its master is back"),
                Err(error) => {
                    tracing::debug!(slave = address, error, "a slave has not handed over what it did");
                    failed.insert(id, address);
                }
            }
        }
        if failed.is_empty() {
            return;
        }
        tokio::time::sleep(LOOK).await;
        let up = slaves(broker, began).unwrap_or_default();
        others = failed.into_iter().filter(|(id, address)| up.get(id) == Some(address)).collect();
    }
    tracing::warn!(
        slaves = ?others.values(),
        "slaves that the name servers know do not answer: this master begins without them, and what they delivered in its place may come twice; see whether they can be reached from here"
    );
}

/// The slaves that are up, as far as the name servers have told.
fn slaves(broker: &Broker, began: Instant) -> Option<BTreeMap<i64, String>> {
    let name_servers =
        broker.settings.load().namesrv_addr.split(';').filter(|address| !address.trim().is_empty()).count();
    broker.acting.others(name_servers, began.elapsed() < OTHERS, broker.now())
}

/// Tells a slave that its master is back. It answers once it has handed over what it did; one of Apache's is asked for it.
async fn ask(broker: &Arc<Broker>, address: &str) -> Result<(), String> {
    let conn = OwnedConn::connect(&Tcp, address, Arc::new(Unasked), HANDING_OVER).await;
    let conn = conn.map_err(|error| error.to_string())?;
    let header = ExchangeHAInfoRequestHeader {
        master_ha_address: Some(&broker.ha_address),
        master_flush_offset: Some(broker.log_end_at_start),
        master_address: Some(&broker.advertised),
    };
    let answer = conn.call(Command::request(code::EXCHANGE_BROKER_HA_INFO).with_header(&header), PATIENCE).await;
    match answer.map_err(|error| error.to_string())? {
        answer if answer.fields.get(HANDED_OVER).is_some() => Ok(()),
        answer if answer.code == response::SUCCESS => slave::take_back(broker, address).await,
        answer => Err(format!("code {}: {}", answer.code, answer.remark.unwrap_or_default())),
    }
}

/// A slave's master says that it is back, and where: the slave stands down, and hands over what it did. On threads that
/// may wait.
pub(crate) fn master_is_back(broker: &Arc<Broker>, ha: &str, address: Option<&str>) -> Result<(), String> {
    tracing::info!(master = address, ha, "the master says that it is back");
    broker.acting.yields(broker.now());
    let Some(address) = address else { return Ok(()) };
    if broker.looks_for_master() {
        let set = broker.settings.load().ha_master_address.clone();
        let ha = if set.is_empty() { ha.to_owned() } else { set };
        broker.replication.follow(MasterPlace { broker: Some(address.to_owned()), ha: Some(ha) });
    }
    let handed_over = async { tokio::time::timeout(HANDING_OVER, slave::hand_over(broker, address)).await };
    tokio::runtime::Handle::current()
        .block_on(handed_over)
        .unwrap_or_else(|_| Err("this slave has not handed over all that it did in so short a time: ask again".into()))
}
