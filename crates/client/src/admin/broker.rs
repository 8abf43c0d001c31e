//! State and settings of brokers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use apogee_base::settings::properties;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, BrokerStatsData, BrokerStatsItem, FINDINGS, Finding, FindingList, HARuntimeInfo, KVTable,
};
use apogee_wire::codes::request;
use apogee_wire::headers::ViewBrokerStatsDataRequestHeader;

use super::{Admin, At, time};
use crate::Error;

/// How a broker is. What it does not say is 0, false or none.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for broker in admin.broker_states().await? {
///     println!("{} {}: {} in a second", broker.address, broker.version, broker.puts_per_second[0]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BrokerState {
    /// Its version, such as `V5_5_0`.
    pub version: String,
    /// It takes messages.
    pub active: bool,
    /// When it started.
    pub started: Option<SystemTime>,
    /// Where its log begins, in bytes.
    pub log_first: i64,
    /// Where its log ends, in bytes.
    pub log_end: i64,
    /// How full the disk of its log is, from 0 to 1.
    pub log_disk_usage: f64,
    /// When the oldest message of its log was stored.
    pub oldest_message: Option<SystemTime>,
    /// Bytes of the log that queues don't have yet.
    pub dispatch_behind: i64,
    /// Messages sent to it, by second: in the last 10 s, minute and ten minutes.
    pub puts_per_second: [f64; 3],
    /// Messages read from it, by second, in the same times.
    pub gets_per_second: [f64; 3],
    /// Messages sent to it since it started.
    pub puts: i64,
    /// All that it says, by the names that it gives it.
    pub figures: BTreeMap<String, String>,
}

/// What a broker counts (upstream `Stats`); see [`Admin::counter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter<'a> {
    /// Messages sent to a topic.
    TopicPuts(&'a str),
    /// Bytes sent to a topic.
    TopicPutBytes(&'a str),
    /// Messages of a topic that a group got.
    GroupGets {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Bytes of a topic that a group got.
    GroupGetBytes {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Messages of a topic that a group sent back.
    SentBack {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Messages sent to brokers of a cluster, all together.
    Puts(&'a str),
    /// Messages read from brokers of a cluster, all together.
    Gets(&'a str),
}

/// What was counted in some time; see [`Admin::counter`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// In the last minute.
    pub minute: Rate,
    /// In the last hour.
    pub hour: Rate,
    /// In the last day.
    pub day: Rate,
}

/// What was counted; see [`Rates`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    /// Altogether.
    pub sum: i64,
    /// By second.
    pub per_second: f64,
    /// By event, such as a request to send.
    pub per_event: f64,
}

/// How a broker and its slaves stand.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for broker in admin.replication().await? {
///     println!("{}: {} slaves in step", broker.address, broker.in_step);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replication {
    /// Messages can be sent to it.
    pub is_master: bool,
    /// Where its log ends, in bytes.
    pub log_end: i64,
    /// Slaves that are not too far behind.
    pub in_step: u32,
    /// Its slaves.
    pub slaves: Vec<Replica>,
    /// What a slave says of itself.
    pub slave: SlaveState,
}

/// How a slave gets its master's log; see [`Replication`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlaveState {
    /// Where its master is.
    pub master: Option<String>,
    /// Where its log ends, in bytes.
    pub log_end: i64,
    /// Bytes that it gets in a second.
    pub bytes_per_second: i64,
    /// When it last got something.
    pub last_read: Option<SystemTime>,
    /// When it last told its master how far it is.
    pub last_write: Option<SystemTime>,
    /// Up to where its master's log is on disk.
    pub master_flushed: i64,
}

/// A slave, as its master sees it; see [`Replication`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Where it is, as `host:port`.
    pub address: String,
    /// How much of the log it has, in bytes.
    pub acknowledged: i64,
    /// How much it lacks, in bytes.
    pub behind: i64,
    /// It is not too far behind.
    pub in_step: bool,
    /// Bytes that it gets in a second.
    pub bytes_per_second: i64,
    /// Where in the log it gets them from.
    pub reading: i64,
}

impl BrokerState {
    fn of(figures: BTreeMap<String, String>) -> Self {
        let text = |name: &str| figures.get(name).map_or("", |value| value.trim());
        let number = |name: &str| text(name).parse::<i64>().unwrap_or(0);
        let rates = |name: &str| {
            let mut rates = text(name).split(' ').map(|rate| rate.parse().unwrap_or(0.0));
            std::array::from_fn(|_| rates.next().unwrap_or(0.0))
        };
        Self {
            version: text("brokerVersionDesc").to_owned(),
            active: text("brokerActive") == "true",
            started: time(number("bootTimestamp")),
            log_first: number("commitLogMinOffset"),
            log_end: number("commitLogMaxOffset"),
            log_disk_usage: text("commitLogDiskRatio").parse().unwrap_or(0.0),
            oldest_message: time(number("earliestMessageTimeStamp")),
            dispatch_behind: number("dispatchBehindBytes"),
            puts_per_second: rates("putTps"),
            gets_per_second: rates("getTransferredTps"),
            puts: number("putMessageTimesTotal"),
            figures,
        }
    }
}

impl Counter<'_> {
    /// Upstream's name and key of it.
    fn name(self) -> (&'static str, String) {
        match self {
            Self::TopicPuts(topic) => ("TOPIC_PUT_NUMS", topic.to_owned()),
            Self::TopicPutBytes(topic) => ("TOPIC_PUT_SIZE", topic.to_owned()),
            Self::GroupGets { group, topic } => ("GROUP_GET_NUMS", format!("{topic}@{group}")),
            Self::GroupGetBytes { group, topic } => ("GROUP_GET_SIZE", format!("{topic}@{group}")),
            Self::SentBack { group, topic } => ("SNDBCK_PUT_NUMS", format!("{topic}@{group}")),
            Self::Puts(cluster) => ("BROKER_PUT_NUMS", cluster.to_owned()),
            Self::Gets(cluster) => ("BROKER_GET_NUMS", cluster.to_owned()),
        }
    }
}

impl Rates {
    fn of(data: BrokerStatsData) -> Self {
        let rate = |item: Option<BrokerStatsItem>| {
            let item = item.unwrap_or_default();
            Rate { sum: item.sum, per_second: item.tps, per_event: item.avgpt }
        };
        Self { minute: rate(data.stats_minute), hour: rate(data.stats_hour), day: rate(data.stats_day) }
    }
}

impl Admin {
    /// How each master is.
    ///
    /// # Errors
    /// When one refuses or doesn't answer: ask each with [`Admin::broker`] where some may be down, slaves, too.
    pub async fn broker_states(&self) -> Result<Vec<At<BrokerState>>, Error> {
        let tables = self.all_bodies::<KVTable>(&Command::request(request::GET_BROKER_RUNTIME_INFO)).await?;
        let state = |table: At<KVTable>| At { value: BrokerState::of(table.value.table), address: table.address };
        Ok(tables.into_iter().map(state).collect())
    }

    /// What each master has found wrong with itself, its clients and its machine. Apache's brokers do not look: they
    /// find nothing, which is `None`.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for broker in admin.findings().await? {
    ///     for finding in broker.value.into_iter().flatten() {
    ///         println!("{}: {} {}", finding.subject, finding.what, finding.advice);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn findings(&self) -> Result<Vec<At<Option<Vec<Finding>>>>, Error> {
        let mut question = Command::request(request::GET_BROKER_RUNTIME_INFO);
        question.fields.set_str(FINDINGS, "true");
        let tables = self.all_bodies::<KVTable>(&question).await?;
        let read = |table: At<KVTable>| {
            let list = table.value.table.get(FINDINGS).map(|text| FindingList::decode(text.as_bytes()));
            let list = list.transpose().map_err(|error| Error::json(&table.address, &error))?;
            Ok(At { value: list.map(|list| list.findings), address: table.address })
        };
        tables.into_iter().map(read).collect()
    }

    /// The settings of each master, by name.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for broker in admin.broker_settings().await? {
    ///     println!("{}: {:?}", broker.address, broker.get("flushDiskType"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn broker_settings(&self) -> Result<Vec<At<BTreeMap<String, String>>>, Error> {
        let answers = self.call_all(&Command::request(request::GET_BROKER_CONFIG)).await?;
        Ok(answers.into_iter().map(|answer| At { value: settings(&answer.value), address: answer.address }).collect())
    }

    /// Changes settings of each master, for now and for later starts.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.broker("127.0.0.1:10911").set_broker_settings(&[("fileReservedTime", "48")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name or value is none, or a broker refuses or doesn't answer.
    pub async fn set_broker_settings(&self, settings: &[(&str, &str)]) -> Result<(), Error> {
        let question = Command::request(request::UPDATE_BROKER_CONFIG).with_body(text_of(settings)?);
        self.call_all(&question).await.map(drop)
    }

    /// What each master has counted. One that has never counted it refuses.
    ///
    /// ```no_run
    /// use apogee_client::admin::Counter;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for rates in admin.counter(Counter::TopicPuts("Orders")).await? {
    ///     println!("{}: {} in the last minute", rates.address, rates.minute.sum);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn counter(&self, counter: Counter<'_>) -> Result<Vec<At<Rates>>, Error> {
        let (stats_name, key) = counter.name();
        let header = ViewBrokerStatsDataRequestHeader { stats_name, stats_key: &key };
        let question = Command::request(request::VIEW_BROKER_STATS_DATA).with_header(&header);
        let all = self.all_bodies::<BrokerStatsData>(&question).await?;
        Ok(all.into_iter().map(|data| At { value: Rates::of(data.value), address: data.address }).collect())
    }

    /// How the slaves of each master stand.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn replication(&self) -> Result<Vec<At<Replication>>, Error> {
        let all = self.all_bodies::<HARuntimeInfo>(&Command::request(request::GET_BROKER_HA_STATUS)).await?;
        let replication = |info: At<HARuntimeInfo>| {
            let slaves = info.value.ha_connection_info.into_iter().map(|slave| Replica {
                address: slave.addr.unwrap_or_default(),
                acknowledged: slave.slave_ack_offset,
                behind: slave.diff,
                in_step: slave.in_sync,
                bytes_per_second: slave.transferred_byte_in_second,
                reading: slave.transfer_from_where,
            });
            let slave = info.value.ha_client_runtime_info;
            let value = Replication {
                is_master: info.value.master,
                log_end: info.value.master_commit_log_max_offset,
                in_step: info.value.in_sync_slave_nums.max(0) as u32,
                slaves: slaves.collect(),
                slave: SlaveState {
                    master: slave.master_addr,
                    log_end: slave.max_offset,
                    bytes_per_second: slave.transferred_byte_in_second,
                    last_read: time(slave.last_read_timestamp),
                    last_write: time(slave.last_write_timestamp),
                    master_flushed: slave.master_flush_offset,
                },
            };
            At { address: info.address, value }
        };
        Ok(all.into_iter().map(replication).collect())
    }

    /// Has each master remove queues whose topic is gone.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn remove_unused_topics(&self) -> Result<(), Error> {
        self.call_all(&Command::request(request::CLEAN_UNUSED_TOPIC)).await.map(drop)
    }

    /// Has each master remove files of queues whose messages are gone.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn remove_expired_queues(&self) -> Result<(), Error> {
        self.call_all(&Command::request(request::CLEAN_EXPIRED_CONSUMEQUEUE)).await.map(drop)
    }

    /// Has each master remove files of its log that are old enough, whatever the hour. They go after the answer.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.broker("127.0.0.1:10911").remove_expired_log().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn remove_expired_log(&self) -> Result<(), Error> {
        self.call_all(&Command::request(request::DELETE_EXPIRED_COMMITLOG)).await.map(drop)
    }
}

/// Settings as a property file in an answer.
pub(super) fn settings(answer: &Command) -> BTreeMap<String, String> {
    let entries = properties::parse(&String::from_utf8_lossy(&answer.body));
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// Settings as a property file.
pub(super) fn text_of(settings: &[(&str, &str)]) -> Result<String, Error> {
    let mut text = String::new();
    for (name, value) in settings {
        // Nothing that could become another setting.
        if name.is_empty()
            || !name.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
        {
            return Err(Error::Argument(format!("`{name}` is no name of a setting")));
        }
        text.push_str(&format!("{name}={}\n", properties::escape(value)));
    }
    match text.is_empty() {
        true => Err(Error::Argument("no setting is named".to_owned())),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_cannot_smuggle_in_another() {
        assert_eq!(text_of(&[("a", "1\nb=2")]).expect("written"), "a=1\\nb=2\n");
        for bad in [&[("a=1\nb", "2")][..], &[("", "1")], &[]] {
            assert!(text_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_broker_does_not_say_is_none() {
        let figures = [("putTps", "1.5 2.5"), ("bootTimestamp", "0"), ("commitLogMaxOffset", "12")];
        let state = BrokerState::of(figures.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!((state.puts_per_second, state.started, state.log_end), ([1.5, 2.5, 0.0], None, 12));
        assert!(!state.active);
    }
}
