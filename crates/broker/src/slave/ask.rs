//! What a slave asks its master, Apache's or ours.

use std::sync::Arc;
use std::time::Duration;

use apogee_net::{OwnedConn, Tcp, Unasked};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ConsumerOffsetSerializeWrapper, DataVersion, DelayOffsetSerializeWrapper, HARuntimeInfo,
    MessageRequestModeSerializeWrapper, SubscriptionGroupWrapper, TopicConfigAndMappingSerializeWrapper,
};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{RpcFields, UpdateConsumerOffsetRequestHeader};

use crate::acting::Delivered;
use crate::timer::Inherited;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Entries of a page, as upstream asks for them.
const PAGE: usize = 2_000;
/// Field of the request by which a slave tells what it delivered, beside upstream's: where the slave is,
pub(crate) const DELIVERED_BY: &str = "deliveredBy";
/// and of the answer: the place in the master's log before which that is noted.
pub(crate) const NOTED_TO: &str = "notedTo";
/// Field of a slave's answer to its master that is back, beside upstream's: it has handed over what it did.
pub(crate) const HANDED_OVER: &str = "handedOver";
/// Field of the answer about what waits, beside upstream's: the place in the log from which on popped messages need it.
pub(crate) const POPPED_FROM: &str = "poppedFrom";
/// How often a table that changes while it is read is begun anew.
const TRIES: usize = 5;

/// A connection to the master.
pub(super) struct Master {
    address: String,
    conn: OwnedConn,
}

/// How far the master has come with what waits.
pub(super) struct Waiting {
    /// The delay levels.
    pub delays: DelayOffsetSerializeWrapper,
    /// Where the marks of what is settled are; a master that does not name what it settles has none.
    pub marks: Option<Marks>,
    /// How far Apache's timer is, as its file `timercheck` has it; none where the log tells everything.
    pub timer: Option<Vec<u8>>,
    /// The place of the first popped message that is out, if any is.
    pub popped_from: Option<i64>,
}

/// Places in the log before which progress knows all that was settled, see `settled.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub schedule: i64,
    pub transactions: i64,
    /// What an Apache broker's timer delivered before, of which the log says nothing.
    pub inherited: Option<Inherited>,
}

impl Marks {
    const SCHEDULE: &str = "settledSchedule";
    const TRANSACTIONS: &str = "settledTransactions";
    const READ_TIME: &str = "inheritedReadTime";
    const QUEUE_OFFSET: &str = "inheritedQueueOffset";

    /// Puts them beside the answer's own fields, where upstream's slave passes over them.
    pub fn put(self, answer: &mut Command) {
        answer.fields.set_number(Self::SCHEDULE, self.schedule);
        answer.fields.set_number(Self::TRANSACTIONS, self.transactions);
        if let Some(Inherited { read_time, queue_offset }) = self.inherited {
            answer.fields.set_number(Self::READ_TIME, read_time);
            answer.fields.set_number(Self::QUEUE_OFFSET, queue_offset);
        }
    }

    fn of(answer: &Command) -> Option<Self> {
        let number = |name| answer.fields.get(name)?.parse::<i64>().ok();
        let inherited = || {
            let (read_time, queue_offset) = (number(Self::READ_TIME)?, number(Self::QUEUE_OFFSET)?);
            Some(Inherited { read_time, queue_offset })
        };
        let (schedule, transactions) = (number(Self::SCHEDULE)?, number(Self::TRANSACTIONS)?);
        Some(Self { schedule, transactions, inherited: inherited() })
    }
}

/// A table that comes in pages.
trait Paged: Body {
    /// Names of the fields: where a page begins, how long it is, how long the table is.
    const FIELDS: [&str; 3];
    const CODE: i32;
    type Version: PartialEq;

    fn version(&self) -> Option<Self::Version>;
    fn len(&self) -> usize;
    fn add(&mut self, page: Self);
}

impl Paged for TopicConfigAndMappingSerializeWrapper {
    const FIELDS: [&str; 3] = ["topicSeq", "maxTopicNum", "totalTopicNum"];
    const CODE: i32 = code::GET_ALL_TOPIC_CONFIG;
    type Version = (DataVersion, DataVersion);

    fn version(&self) -> Option<Self::Version> {
        Some((self.data_version?, self.mapping_data_version.unwrap_or_default()))
    }

    fn len(&self) -> usize {
        self.topic_config_table.len()
    }

    fn add(&mut self, page: Self) {
        self.topic_config_table.extend(page.topic_config_table);
        self.topic_queue_mapping_detail_map.extend(page.topic_queue_mapping_detail_map);
    }
}

impl Paged for SubscriptionGroupWrapper {
    const FIELDS: [&str; 3] = ["groupSeq", "maxGroupNum", "totalGroupNum"];
    const CODE: i32 = code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
    type Version = DataVersion;

    fn version(&self) -> Option<DataVersion> {
        self.data_version
    }

    fn len(&self) -> usize {
        self.subscription_group_table.len()
    }

    fn add(&mut self, page: Self) {
        self.subscription_group_table.extend(page.subscription_group_table);
        self.forbidden_table.extend(page.forbidden_table);
    }
}

impl Master {
    pub async fn connect(address: &str) -> Result<Self, String> {
        let connected = OwnedConn::connect(&Tcp, address, Arc::new(Unasked), Duration::from_secs(3));
        let conn = connected.await.map_err(|error| error.to_string())?;
        Ok(Self { address: address.to_owned(), conn })
    }

    pub fn is_at(&self, address: &str) -> bool {
        self.address == address && self.conn.is_open()
    }

    /// The topics and their mappings; `None` when they are of the version that is known.
    pub async fn topics(
        &self,
        known: (DataVersion, DataVersion),
    ) -> Result<Option<TopicConfigAndMappingSerializeWrapper>, String> {
        self.pages(known).await
    }

    /// The groups; `None` when they are of the version that is known.
    pub async fn groups(&self, known: DataVersion) -> Result<Option<SubscriptionGroupWrapper>, String> {
        self.pages(known).await
    }

    /// How groups ask for messages, where an administrator said so.
    pub async fn modes(&self) -> Result<MessageRequestModeSerializeWrapper, String> {
        self.body(code::GET_ALL_MESSAGE_REQUEST_MODE).await
    }

    /// The offsets of all groups.
    pub async fn offsets(&self) -> Result<ConsumerOffsetSerializeWrapper, String> {
        self.body(code::GET_ALL_CONSUMER_OFFSET).await
    }

    /// How far it has come with what waits for its time.
    pub async fn waiting(&self) -> Result<Waiting, String> {
        let answer = self.ask(Command::request(code::GET_ALL_DELAY_OFFSET)).await?;
        let marks = Marks::of(&answer);
        let popped_from = answer.fields.get(POPPED_FROM).and_then(|place| place.parse().ok());
        let delays = decode(&answer)?;
        let timer = match marks {
            // Its deliveries are known by the log, but for those of before.
            Some(marks) => marks.inherited.map(Inherited::checkpoint),
            None => Some(self.ask(Command::request(code::GET_TIMER_CHECK_POINT)).await?.body.to_vec()),
        };
        Ok(Waiting { delays, marks, timer, popped_from })
    }

    /// Progress of the delay levels.
    pub async fn delays(&self) -> Result<DelayOffsetSerializeWrapper, String> {
        self.body(code::GET_ALL_DELAY_OFFSET).await
    }

    /// End of its log.
    pub async fn log_end(&self) -> Result<i64, String> {
        let status: HARuntimeInfo = self.body(code::GET_BROKER_HA_STATUS).await?;
        Ok(status.master_commit_log_max_offset)
    }

    /// Commits an offset; says whether the master took it.
    pub async fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Result<bool, String> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group,
            topic,
            queue_id,
            commit_offset: offset,
            rpc: RpcFields::default(),
        };
        let request = Command::request(code::UPDATE_CONSUMER_OFFSET).with_header(&header);
        let answer = self.conn.call(request, PATIENCE).await.map_err(|error| error.to_string())?;
        Ok(answer.code == response::SUCCESS)
    }

    /// Tells what a slave, which is at `by`, delivered in its place. Returns the place in its log before which the master
    /// has noted that; `None`: it does not know what is meant.
    pub async fn settled(&self, by: &str, delivered: &[Delivered]) -> Result<Option<i64>, String> {
        let mut request = Command::request(code::EXCHANGE_BROKER_HA_INFO).with_body(Delivered::encode(delivered));
        request.fields.set_str(DELIVERED_BY, by);
        let answer = self.ask(request).await?;
        Ok(answer.fields.get(NOTED_TO).and_then(|place| place.parse().ok()))
    }

    async fn pages<T: Paged>(&self, known: T::Version) -> Result<Option<T>, String> {
        for _ in 0..TRIES {
            // One entry tells the version.
            let (mut table, total) = self.page::<T>(0, 1).await?;
            if table.version().is_some_and(|version| version == known) {
                return Ok(None);
            }
            while table.len() < total {
                let (page, _) = self.page::<T>(table.len(), PAGE).await?;
                if page.version() != table.version() || page.len() == 0 {
                    break;
                }
                table.add(page);
            }
            if table.len() >= total {
                return Ok(Some(table));
            }
        }
        Err(format!("its table of code {} changes while it is read", T::CODE))
    }

    /// A page, and how long the table is. Masters before 5.4 give the whole table, and don't say so.
    async fn page<T: Paged>(&self, first: usize, most: usize) -> Result<(T, usize), String> {
        let mut request = Command::request(T::CODE);
        let [begin, length, whole] = T::FIELDS;
        request.fields.set_number(begin, first as i64);
        request.fields.set_number(length, most as i64);
        let answer = self.ask(request).await?;
        let table: T = decode(&answer)?;
        let total = answer.fields.get(whole).and_then(|total| total.parse().ok()).unwrap_or(table.len());
        Ok((table, total))
    }

    async fn body<T: Body>(&self, code: i32) -> Result<T, String> {
        decode(&self.ask(Command::request(code)).await?)
    }

    /// The answer, whatever it is.
    pub async fn call(&self, request: Command) -> Result<Command, String> {
        self.conn.call(request, PATIENCE).await.map_err(|error| error.to_string())
    }

    async fn ask(&self, request: Command) -> Result<Command, String> {
        let number = request.code;
        let answer = self.conn.call(request, PATIENCE).await;
        let answer = answer.map_err(|error| format!("request {number}: {error}"))?;
        match answer.code {
            response::SUCCESS => Ok(answer),
            code => {
                Err(format!("it answered request {number} with code {code}: {}", answer.remark.unwrap_or_default()))
            }
        }
    }
}

fn decode<T: Body>(answer: &Command) -> Result<T, String> {
    T::decode(&answer.body).map_err(|error| format!("its answer cannot be understood: {error}"))
}
