//! How a broker's parts work: replication's epochs, the reading of its log, its timers, its RocksDB; and brokers that
//! share a process (upstream `BrokerContainer`).

use std::time::SystemTime;

use apogee_wire::Command;
use apogee_wire::bodies::{CheckRocksdbCqWriteResult, EpochEntryCache};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    AddBrokerRequestHeader, CheckRocksdbCqWriteProgressRequestHeader, ExportRocksDBConfigToJsonRequestHeader,
    RemoveBrokerRequestHeader, ResetMasterFlushOffsetHeader,
};

use super::{Admin, At, milliseconds};
use crate::Error;

/// A broker could not compare its queues.
const CHECK_FAILED: i32 = 3;

/// The parts of a broker's log, by who was the master; see [`Admin::epochs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// The broker's cluster.
    pub cluster: String,
    /// The broker's name.
    pub broker: String,
    /// The broker's id.
    pub broker_id: i64,
    /// The parts, oldest first.
    pub parts: Vec<Epoch>,
}

/// A part of a log that one master wrote; see [`Epochs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub number: i32,
    /// Where it begins, in bytes of the log.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
}

/// How a broker reads its log; see [`Admin::set_read_ahead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAhead {
    /// The system reads ahead of what is asked for.
    Normal,
    /// It reads just what is asked for: for many groups that each read old messages.
    Random,
}

/// What a broker keeps messages with that wait for a time of their own; see [`Admin::set_timer_engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerEngine {
    /// A wheel in files.
    Wheel,
    /// RocksDB.
    RocksDb,
}

impl Admin {
    /// The epochs of each master's log. Only brokers under a controller have them: others refuse.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for epochs in admin.broker("127.0.0.1:10911").epochs().await? {
    ///     println!("{}: {:?}", epochs.broker, epochs.parts.last());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn epochs(&self) -> Result<Vec<At<Epochs>>, Error> {
        let all = self.all_bodies::<EpochEntryCache>(&Command::request(request::GET_BROKER_EPOCH_CACHE)).await?;
        let epochs = |At { address, value: cache }: At<EpochEntryCache>| {
            let mut parts: Vec<_> = cache
                .epoch_list
                .iter()
                .map(|epoch| Epoch { number: epoch.epoch, start: epoch.start_offset, end: epoch.end_offset })
                .collect();
            // The last one is still written.
            if let Some(last) = parts.last_mut() {
                last.end = cache.max_offset;
            }
            let value = Epochs {
                cluster: cache.cluster_name.unwrap_or_default(),
                broker: cache.broker_name.unwrap_or_default(),
                broker_id: cache.broker_id,
                parts,
            };
            At { address, value }
        };
        Ok(all.into_iter().map(epochs).collect())
    }

    /// Tells slaves up to where their master's log is on disk; masters do nothing with it.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn reset_master_flush_offset(&self, offset: i64) -> Result<(), Error> {
        let header = ResetMasterFlushOffsetHeader { master_flush_offset: offset };
        self.call_all(&Command::request(request::RESET_MASTER_FLUSH_OFFSET).with_header(&header)).await.map(drop)
    }

    /// Says how each master reads its log; returns what they say to it.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn set_read_ahead(&self, mode: ReadAhead) -> Result<Vec<At<String>>, Error> {
        let mode = match mode {
            ReadAhead::Normal => "0",
            ReadAhead::Random => "1",
        };
        let mut question = Command::request(request::SET_COMMITLOG_READ_MODE);
        question.fields.set_str("READ_AHEAD_MODE", mode);
        let said = |answer: At<Command>| At { address: answer.address, value: answer.value.remark.unwrap_or_default() };
        Ok(self.call_all(&question).await?.into_iter().map(said).collect())
    }

    /// Says with what each master keeps messages that wait for a time of their own.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn set_timer_engine(&self, engine: TimerEngine) -> Result<(), Error> {
        let mut question = Command::request(request::SWITCH_TIMER_ENGINE);
        let engine = match engine {
            TimerEngine::Wheel => "F",
            TimerEngine::RocksDb => "R",
        };
        question.fields.set_str("E_T", engine);
        self.call_all(&question).await.map(drop)
    }

    /// Has each master compare the queues that it keeps in RocksDB with those in files, of one topic or of all, from
    /// a time on. They write to their logs what they find; returns what is wrong already, if something is.
    ///
    /// # Errors
    /// When one refuses, as those may that have no RocksDB, or doesn't answer.
    pub async fn check_rocksdb_queues(
        &self,
        topic: Option<&str>,
        from: SystemTime,
    ) -> Result<Vec<At<Option<String>>>, Error> {
        let header = CheckRocksdbCqWriteProgressRequestHeader {
            topic: topic.unwrap_or_default(),
            check_store_time: Some(milliseconds(from)),
        };
        let question = Command::request(request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS).with_header(&header);
        let all = self.all_bodies::<CheckRocksdbCqWriteResult>(&question).await?;
        let wrong = |At { address, value }: At<CheckRocksdbCqWriteResult>| At {
            address,
            value: (value.check_status == CHECK_FAILED).then(|| value.check_result.unwrap_or_default()),
        };
        Ok(all.into_iter().map(wrong).collect())
    }

    /// Has each master write tables that it keeps in RocksDB as JSON files: some of `topics`, `subscriptionGroups` and
    /// `consumerOffsets`.
    ///
    /// # Errors
    /// When one refuses, as those may that have no RocksDB, or doesn't answer.
    pub async fn export_rocksdb_config(&self, tables: &[&str]) -> Result<(), Error> {
        let tables = tables.join(";");
        let header = ExportRocksDBConfigToJsonRequestHeader { config_type: &tables };
        self.call_all(&Command::request(request::EXPORT_ROCKSDB_CONFIG_TO_JSON).with_header(&header)).await.map(drop)
    }

    /// Has each master give records of POP that it keeps in RocksDB back to topics.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn export_pop_records(&self) -> Result<(), Error> {
        self.call_all(&Command::request(request::POP_ROLLBACK)).await.map(drop)
    }

    /// Has a container start a broker, from a property file on its machine.
    ///
    /// # Errors
    /// When it is no container, refuses or doesn't answer.
    pub async fn add_to_container(&self, container: &str, config_path: &str) -> Result<(), Error> {
        let header = AddBrokerRequestHeader { config_path };
        self.call(container, &Command::request(request::ADD_BROKER).with_header(&header)).await.map(drop)
    }

    /// Has a container stop a broker.
    ///
    /// # Errors
    /// When it is no container, does not have the broker, refuses or doesn't answer.
    pub async fn remove_from_container(
        &self,
        container: &str,
        cluster: &str,
        broker: &str,
        id: i64,
    ) -> Result<(), Error> {
        let header = RemoveBrokerRequestHeader { broker_cluster_name: cluster, broker_name: broker, broker_id: id };
        self.call(container, &Command::request(request::REMOVE_BROKER).with_header(&header)).await.map(drop)
    }
}
