//! Whether two logs are of one origin: the last record that a slave has is looked up in its master's log before a
//! byte is appended behind it.

use std::sync::Arc;
use std::time::Duration;

use apogee_base::settings::properties;
use apogee_message::record::Record;
use apogee_net::{OwnedConn, Tcp, Unasked};
use apogee_store::Store;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    DecodeHeader, ExchangeHAInfoRequestHeader, ExchangeHAInfoResponseHeader, ViewMessageRequestHeader,
};
use bytes::Bytes;

use crate::settings::BrokerSettings;

/// How long a master may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Units of a queue looked at together.
const UNITS: usize = 64;

/// What a comparison brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The record is the same in both.
    Same,
    /// There is no record to compare.
    Nothing,
    /// The one at this place is not.
    Other(i64),
    /// The master did not say.
    Unknown(String),
}

/// Compares the last record that ends at or before `to`.
pub(super) async fn compare(store: &Store, master: &str, to: i64) -> Asked {
    let Some((at, record)) = last_record(store, to) else { return Asked::Nothing };
    let question = Command::request(request::VIEW_MESSAGE_BY_ID)
        .with_header(&ViewMessageRequestHeader { topic: None, offset: at });
    match ask(master, question).await {
        Ok(answer) if answer.code == response::SUCCESS && answer.body == record => Asked::Same,
        Ok(answer) if answer.code == response::SUCCESS => Asked::Other(at),
        // What every broker says of a place where no record begins.
        Ok(answer) if answer.remark.as_deref().is_some_and(|remark| remark.starts_with("can not find message")) => {
            Asked::Other(at)
        }
        Ok(answer) => {
            Asked::Unknown(answer.remark.map_or_else(|| format!("code {}", answer.code), |remark| remark.to_string()))
        }
        Err(reason) => Asked::Unknown(reason),
    }
}

/// Why this broker cannot be a slave of a master, by what the master says of itself; `None` when it can be, or the
/// master doesn't say.
pub(super) async fn mismatch(master: &str, settings: &BrokerSettings) -> Option<String> {
    let answer = ask(master, Command::request(request::GET_BROKER_CONFIG)).await.ok()?;
    let text = String::from_utf8_lossy(&answer.body);
    let told = properties::parse(&text);
    let own = [
        ("brokerClusterName", settings.broker_cluster_name.clone()),
        ("brokerName", settings.broker_name.clone()),
        ("mappedFileSizeCommitLog", settings.mapped_file_size_commit_log.to_string()),
    ];
    own.iter().find_map(|(key, own)| {
        let entry = told.iter().find(|entry| entry.key == *key)?;
        let differs = entry.value != *own;
        differs.then(|| {
            format!("the master {master} has {key}={}, and this slave {key}={own}: set the same on both", entry.value)
        })
    })
}

/// Where a master sends its log from.
pub(super) async fn ha_address(master: &str) -> Option<String> {
    let question = Command::request(request::EXCHANGE_BROKER_HA_INFO).with_header(&ExchangeHAInfoRequestHeader {
        master_ha_address: None,
        master_flush_offset: None,
        master_address: None,
    });
    let answer = ask(master, question).await.inspect_err(|reason| {
        tracing::debug!(master, reason, "the master cannot be asked where it sends its log from");
    });
    let answer = answer.ok().filter(|answer| answer.code == response::SUCCESS)?;
    let header = ExchangeHAInfoResponseHeader::decode(&answer.fields).ok()?;
    header.master_ha_address.map(str::to_owned)
}

async fn ask(master: &str, question: Command) -> Result<Command, String> {
    let conn = OwnedConn::connect(&Tcp, master, Arc::new(Unasked), PATIENCE).await;
    let conn = conn.map_err(|error| error.to_string())?;
    conn.call(question, PATIENCE).await.map_err(|error| error.to_string())
}

/// The last record in any queue that ends at or before `to`, and where it is; in the log where no queue has any.
fn last_record(store: &Store, to: i64) -> Option<(i64, Bytes)> {
    let queues = store.topics();
    let queues = queues.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, *id)));
    let at = queues.filter_map(|(topic, id)| last_unit(store, topic, id, to)).max();
    let queued = at.and_then(|at| Some((at, store.record_at(at)?)));
    queued.or_else(|| last_in_log(store, to))
}

/// The same by the file of the log that holds what is before `to`: topics may have been deleted.
fn last_in_log(store: &Store, to: i64) -> Option<(i64, Bytes)> {
    let (begin, size) = (store.log_min_offset(), store.log_file_size().max(1) as i64);
    let file = begin + (to - 1 - begin).max(0) / size * size;
    let places = store.records(file).filter_map(|bytes| {
        let at = Record::read(&bytes).ok()?.physical_offset;
        Some((at, bytes))
    });
    places.take_while(|(at, bytes)| at + bytes.len() as i64 <= to).last()
}

/// Where the last record of a queue is that ends at or before `to`: most often its last one.
fn last_unit(store: &Store, topic: &str, id: i32, to: i64) -> Option<i64> {
    let (min, mut end) = store.queue_range(topic, id)?;
    while end > min {
        let from = (end - UNITS as i64).max(min);
        let units = store.units(topic, id, from, (end - from) as usize);
        let ends = units.iter().rev().find(|unit| unit.size > 0 && unit.physical_offset + i64::from(unit.size) <= to);
        if let Some(unit) = ends {
            return Some(unit.physical_offset);
        }
        end = from;
    }
    None
}
