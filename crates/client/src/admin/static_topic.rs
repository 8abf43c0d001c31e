//! Static topics: their queues are numbered over all brokers, and stay what they are when brokers come and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, LogicQueueMappingItem, TopicConfigAndQueueMapping, TopicQueueMappingDetail, TopicRemappingDetailWrapper,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{CreateTopicRequestHeader, GetTopicConfigRequestHeader, RpcFields};

use super::{Admin, body};
use crate::peers::accepted;
use crate::{Error, Queue};

/// Offsets of a queue that moved begin at a multiple of this, with room for those that its old broker still gives out.
const BLOCK: i64 = 10_000;
/// How much newer a changed mapping is at least, in milliseconds.
const NEWER: i64 = 1_000;

/// Where the queues of a static topic are (upstream `TopicRemappingDetailWrapper`). Made by [`Admin::static_topic`], or
/// from what was written before.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let now = admin.static_topic("Orders").await?;
/// let grown = now.grown_to(8, &["broker-a", "broker-b"])?;
/// std::fs::write("orders.before", now.to_json()).expect("written");
/// admin.put_static_topic(&grown, false).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StaticTopic {
    name: String,
    /// By the broker's name.
    brokers: BTreeMap<String, TopicConfigAndQueueMapping>,
    /// Brokers that queues move to, and those that they leave.
    moves: [BTreeSet<String>; 2],
    epoch: i64,
    now: i64,
}

impl StaticTopic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the mapping: a time in milliseconds since 1970.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The broker that has each queue now.
    pub fn owners(&self) -> BTreeMap<i32, &str> {
        let mut owners = BTreeMap::new();
        for (name, config) in &self.brokers {
            let hosted = config.mapping_detail.iter().flat_map(|detail| &detail.hosted_queues);
            let own = hosted.filter(|(_, stays)| is_last(stays, name));
            owners.extend(own.map(|(global, _)| (*global, name.as_str())));
        }
        owners
    }

    /// Whether queues move with it.
    pub fn moves(&self) -> bool {
        self.moves.iter().any(|brokers| !brokers.is_empty())
    }

    /// As JSON, which upstream's tools read.
    pub fn to_json(&self) -> Vec<u8> {
        let [into, out] = self.moves.clone().map(|brokers| brokers.into_iter().collect());
        let kind = if self.moves() { "REMAPPING" } else { "CREATE_OR_UPDATE" };
        let wrapper = TopicRemappingDetailWrapper {
            broker_config_map: self.brokers.clone(),
            broker_to_map_in: into,
            broker_to_map_out: out,
            epoch: self.epoch,
            topic: Some(self.name.clone()),
            kind: Some(kind.to_owned()),
        };
        wrapper.encode()
    }

    /// From JSON that this or upstream's tools wrote.
    ///
    /// # Errors
    /// When it is none, or its parts contradict each other.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let wrapper = TopicRemappingDetailWrapper::decode(json)
            .map_err(|error| Error::Argument(format!("this is no mapping of a topic: {error}")))?;
        let moves = [wrapper.broker_to_map_in, wrapper.broker_to_map_out];
        let topic = Self {
            name: wrapper.topic.unwrap_or_default(),
            brokers: wrapper.broker_config_map,
            moves: moves.map(|brokers| brokers.into_iter().collect()),
            epoch: wrapper.epoch,
            now: wrapper.epoch,
        };
        names::check_topic(&topic.name)?;
        topic.check()?;
        Ok(topic)
    }

    /// With so many queues, the new ones on the brokers of these names that have the fewest.
    ///
    /// # Errors
    /// When it has as many or more, no broker is named, or what brokers have contradicts itself.
    pub fn grown_to(&self, queues: u16, brokers: &[&str]) -> Result<Self, Error> {
        self.check()?;
        let owners = self.owners();
        let (queues, there) = (i32::from(queues), owners.len() as i32);
        if queues <= there {
            let name = &self.name;
            return Err(Error::Argument(format!("static topic {name} has {there} queues: give more than that")));
        }
        let mut counts: BTreeMap<&str, usize> = brokers.iter().map(|name| (*name, 0)).collect();
        owners.values().for_each(|owner| *counts.entry(owner).or_default() += 1);
        let mut grown = self.changed();
        for global in 0..queues {
            if owners.contains_key(&global) {
                continue;
            }
            let fewest = counts.iter_mut().min_by_key(|(name, count)| (**count, **name));
            let Some((name, count)) = fewest else {
                return Err(Error::Argument("no broker is named that could have the queues".to_owned()));
            };
            *count += 1;
            let name = (*name).to_owned();
            let stay = |queue_id| LogicQueueMappingItem {
                bname: Some(name.clone()),
                queue_id,
                ..LogicQueueMappingItem::default()
            };
            let (detail, queue_id) = grown.one_more(&name);
            detail.hosted_queues.insert(global, vec![stay(queue_id)]);
        }
        grown.settle(queues)
    }

    /// With its queues shared evenly among the brokers of these names, moving as few of them as possible.
    ///
    /// # Errors
    /// When the topic is not there, no broker is named, or what brokers have contradicts itself.
    pub fn moved_to(&self, brokers: &[&str]) -> Result<Self, Error> {
        self.check()?;
        let owners = self.owners();
        let names: BTreeSet<&str> = brokers.iter().copied().collect();
        if owners.is_empty() || names.is_empty() {
            let name = &self.name;
            return Err(Error::Argument(format!("static topic {name} has no queue that could move, or nowhere to go")));
        }
        let has = |name: &str| owners.values().filter(|owner| **owner == name).count();
        // Who has the most keeps the one more where it doesn't come out even.
        let mut by_count: Vec<_> = names.into_iter().collect();
        by_count.sort_by_key(|name| (std::cmp::Reverse(has(name)), *name));
        let (each, more) = (owners.len() / by_count.len(), owners.len() % by_count.len());
        let shares = by_count.iter().enumerate().map(|(at, name)| (*name, each + usize::from(at < more)));
        let mut shares: BTreeMap<&str, usize> = shares.collect();
        let mut homeless = VecDeque::new();
        for (global, owner) in &owners {
            match shares.get_mut(owner).filter(|share| **share > 0) {
                Some(share) => *share -= 1,
                None => homeless.push_back((*global, *owner)),
            }
        }
        let mut moved = self.changed();
        for (name, share) in shares {
            for (global, from) in homeless.drain(..share.min(homeless.len())) {
                moved.move_queue(global, from, name);
            }
        }
        let total = self.total();
        moved.settle(total)
    }

    fn total(&self) -> i32 {
        let totals = self.brokers.values().filter_map(|config| config.mapping_detail.as_ref());
        totals.map(|detail| detail.total_queues).max().unwrap_or(0)
    }

    fn changed(&self) -> Self {
        let epoch = self.now.max(self.epoch.saturating_add(NEWER));
        Self { epoch, moves: Default::default(), ..self.clone() }
    }

    /// The mapping of a broker, which has one queue more now, and the number of that one.
    fn one_more(&mut self, broker: &str) -> (&mut TopicQueueMappingDetail, i32) {
        let name = self.name.clone();
        let empty = || TopicConfigAndQueueMapping {
            topic_name: Some(name.clone()),
            read_queue_nums: 0,
            write_queue_nums: 0,
            ..TopicConfigAndQueueMapping::default()
        };
        let config = self.brokers.entry(broker.to_owned()).or_insert_with(empty);
        let queue_id = config.write_queue_nums.max(config.read_queue_nums);
        (config.write_queue_nums, config.read_queue_nums) = (queue_id + 1, queue_id + 1);
        let empty = || TopicQueueMappingDetail {
            bname: Some(broker.to_owned()),
            topic: Some(name.clone()),
            ..TopicQueueMappingDetail::default()
        };
        (config.mapping_detail.get_or_insert_with(empty), queue_id)
    }

    fn move_queue(&mut self, global: i32, from: &str, to: &str) {
        let stays = self.brokers.get(from).and_then(|config| config.mapping_detail.as_ref());
        let mut stays = stays.and_then(|detail| detail.hosted_queues.get(&global)).cloned().unwrap_or_default();
        let generation = stays.last().map_or(0, |last| last.generation + 1);
        let (detail, queue_id) = self.one_more(to);
        // Where it begins is known when its old broker takes no more messages.
        let (bname, logic_offset) = (Some(to.to_owned()), -1);
        stays.push(LogicQueueMappingItem { bname, queue_id, generation, logic_offset, ..Default::default() });
        detail.hosted_queues.insert(global, stays.clone());
        if let Some(detail) = self.brokers.get_mut(from).and_then(|config| config.mapping_detail.as_mut()) {
            detail.hosted_queues.insert(global, stays);
        }
        let [into, out] = &mut self.moves;
        into.insert(to.to_owned());
        out.insert(from.to_owned());
    }

    fn settle(mut self, total: i32) -> Result<Self, Error> {
        for config in self.brokers.values_mut() {
            if let Some(detail) = &mut config.mapping_detail {
                (detail.epoch, detail.total_queues) = (self.epoch, total);
            }
        }
        self.check()?;
        Ok(self)
    }

    /// What brokers have must be of one topic, and each queue one broker's.
    fn check(&self) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::Argument(format!("static topic {}: {reason}", self.name)));
        let (mut owned, mut held) = (BTreeSet::new(), BTreeSet::new());
        for (name, config) in &self.brokers {
            let Some(detail) = &config.mapping_detail else {
                return wrong(format!("on broker {name} it is an ordinary topic: delete it there first"));
            };
            if detail.topic.as_deref() != Some(&*self.name) || detail.bname.as_deref() != Some(name) {
                return wrong(format!("the mapping of broker {name} is that of another topic or broker"));
            }
            for (global, stays) in &detail.hosted_queues {
                let Some(last) = stays.last() else { return wrong(format!("queue {global} is nowhere")) };
                if last.bname.as_deref() != Some(name) {
                    continue;
                }
                if !(0..detail.total_queues).contains(global) || !owned.insert(*global) {
                    return wrong(format!("queue {global} of broker {name} is one too many"));
                }
                if last.queue_id >= config.write_queue_nums || !held.insert((name, last.queue_id)) {
                    return wrong(format!("queue {} of broker {name} is not there, or two queues' one", last.queue_id));
                }
            }
        }
        match usize::try_from(self.total()) == Ok(owned.len()) {
            true => Ok(()),
            false => wrong(format!("{} of its {} queues are there", owned.len(), self.total())),
        }
    }
}

fn is_last(stays: &[LogicQueueMappingItem], broker: &str) -> bool {
    stays.last().is_some_and(|last| last.bname.as_deref() == Some(broker))
}

impl Admin {
    /// Where the queues of a static topic are; of one that is not there, nowhere.
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn static_topic(&self, topic: &str) -> Result<StaticTopic, Error> {
        names::check_topic(topic)?;
        // With the mapping, which Apache's broker leaves out otherwise.
        let rpc = RpcFields { logical: Some(true), ..RpcFields::default() };
        let header = GetTopicConfigRequestHeader { topic, rpc };
        let question = Command::request(request::GET_TOPIC_CONFIG).with_header(&header);
        let mut brokers = BTreeMap::new();
        for broker in self.brokers().await?.into_iter().filter(|broker| broker.is_master()) {
            let answer = self.ask(&broker.address, &question).await?;
            if answer.code != response::TOPIC_NOT_EXIST {
                brokers.insert(broker.name, body(&broker.address, &accepted(&broker.address, answer)?)?);
            }
        }
        let epochs = brokers.values().filter_map(|config: &TopicConfigAndQueueMapping| config.mapping_detail.as_ref());
        let epoch = epochs.map(|detail| detail.epoch).max().unwrap_or(0);
        Ok(StaticTopic { name: topic.to_owned(), brokers, moves: Default::default(), epoch, now: self.shared.now_ms() })
    }

    /// Has brokers create or change a static topic. Queues that move do so in steps: their new brokers get them, their
    /// old ones take no more messages, and then their new ones learn where they begin. `force` is for mappings that
    /// are not newer than what a broker has, such as one from before a change that went wrong.
    ///
    /// # Errors
    /// When a broker is not there, refuses or doesn't answer. What was done before stays: the same may be done again.
    pub async fn put_static_topic(&self, topic: &StaticTopic, force: bool) -> Result<(), Error> {
        topic.check()?;
        let mut topic = topic.clone();
        let mut addresses = BTreeMap::new();
        for broker in self.brokers().await?.into_iter().filter(|broker| broker.is_master()) {
            addresses.insert(broker.name, broker.address);
        }
        if let Some(missing) = topic.brokers.keys().find(|name| !addresses.contains_key(*name)) {
            return Err(Error::NoMaster(missing.clone()));
        }
        let [into, out] = topic.moves.clone();
        for name in into.iter().chain(&out) {
            self.put_mapping(&addresses[name], &topic.brokers[name], force).await?;
        }
        for name in &out {
            self.begin_moved(&mut topic, name, &addresses[name]).await?;
        }
        let others = topic.brokers.keys().filter(|name| !into.contains(*name) && !out.contains(*name));
        for name in into.iter().chain(others) {
            self.put_mapping(&addresses[name], &topic.brokers[name], force).await?;
        }
        Ok(())
    }

    /// Finds out where the queues begin on their new brokers that a broker gave away.
    async fn begin_moved(&self, topic: &mut StaticTopic, broker: &str, address: &str) -> Result<(), Error> {
        let stats = self.broker(address).topic_stats(&topic.name).await?;
        let Some(detail) = topic.brokers.get(broker).and_then(|config| config.mapping_detail.clone()) else {
            return Ok(());
        };
        for (global, mut stays) in detail.hosted_queues {
            let [.., before, last] = &mut stays[..] else { continue };
            if last.logic_offset > 0 || before.bname.as_deref() != Some(broker) {
                continue;
            }
            let queue = Queue { topic: (&*topic.name).into(), broker: broker.into(), id: before.queue_id };
            let end = stats.queues.iter().find(|range| range.queue == queue).map(|range| range.end);
            let Some(end) = end.filter(|end| *end >= before.start_offset) else {
                return Err(Error::Argument(format!("broker {broker} does not tell where queue {queue} ends")));
            };
            last.logic_offset = round_up(before.logic_offset + end - before.start_offset);
            let to = last.bname.clone().unwrap_or_default();
            if let Some(detail) = topic.brokers.get_mut(&to).and_then(|config| config.mapping_detail.as_mut()) {
                detail.hosted_queues.insert(global, stays);
            }
        }
        Ok(())
    }

    async fn put_mapping(&self, address: &str, config: &TopicConfigAndQueueMapping, force: bool) -> Result<(), Error> {
        let Some(detail) = &config.mapping_detail else { return Ok(()) };
        let set: Vec<_> = config.attributes.iter().map(|(name, value)| format!("+{name}={value}")).collect();
        let attributes = set.join(",");
        let header = CreateTopicRequestHeader {
            topic: config.topic_name.as_deref().unwrap_or_default(),
            default_topic: names::AUTO_CREATE_TOPIC,
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            topic_filter_type: config.topic_filter_type.name(),
            topic_sys_flag: Some(config.topic_sys_flag),
            order: config.order,
            attributes: Some(&*attributes).filter(|text| !text.is_empty()),
            force: Some(force),
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::UPDATE_AND_CREATE_STATIC_TOPIC).with_header(&header);
        self.call(address, &question.with_body(detail.encode())).await.map(drop)
    }
}

/// The next beginning of a block, with half of one to spare.
fn round_up(offset: i64) -> i64 {
    let blocks = if offset % BLOCK < BLOCK / 2 { 1 } else { 2 };
    (offset / BLOCK + blocks) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> StaticTopic {
        StaticTopic { name: "T".into(), brokers: BTreeMap::new(), moves: Default::default(), epoch: 0, now: 5_000 }
    }

    #[test]
    fn queues_come_evenly_and_stay_where_they_are() {
        let four = empty().grown_to(4, &["a", "b"]).expect("grown");
        assert_eq!(four.owners(), BTreeMap::from([(0, "a"), (1, "b"), (2, "a"), (3, "b")]));
        assert_eq!((four.epoch(), four.brokers["a"].write_queue_nums), (5_000, 2));
        // The new broker has none yet.
        let six = four.grown_to(6, &["a", "b", "c"]).expect("grown");
        assert_eq!(six.owners(), BTreeMap::from([(0, "a"), (1, "b"), (2, "a"), (3, "b"), (4, "c"), (5, "c")]));
        assert_eq!((six.epoch(), six.moves()), (6_000, false));
        assert!(six.grown_to(6, &["a"]).is_err() && empty().grown_to(1, &[]).is_err());
        let read = StaticTopic::from_json(&six.to_json()).expect("read");
        assert_eq!((read.brokers, read.moves, read.epoch), (six.brokers, six.moves, six.epoch));
    }

    #[test]
    fn as_few_queues_move_as_possible() {
        let four = empty().grown_to(4, &["a", "b"]).expect("grown");
        let moved = four.moved_to(&["b", "c"]).expect("moved");
        assert_eq!(moved.owners(), BTreeMap::from([(0, "c"), (1, "b"), (2, "c"), (3, "b")]));
        assert_eq!(moved.moves, [BTreeSet::from(["c".to_owned()]), BTreeSet::from(["a".to_owned()])]);
        let stays = &moved.brokers["a"].mapping_detail.as_ref().expect("a mapping").hosted_queues[&2];
        let told: Vec<_> = stays.iter().map(|stay| (stay.bname.as_deref(), stay.queue_id, stay.generation)).collect();
        assert_eq!(told, [(Some("a"), 1, 0), (Some("c"), 1, 1)]);
        assert!(!four.moved_to(&["a", "b"]).expect("the same").moves());
        assert!(empty().moved_to(&["a"]).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut four = empty().grown_to(4, &["a", "b"]).expect("grown");
        four.brokers.get_mut("b").expect("b").mapping_detail = None;
        let error = four.grown_to(5, &["a"]).expect_err("ordinary").to_string();
        assert_eq!(error, "static topic T: on broker b it is an ordinary topic: delete it there first");
        four.brokers.remove("b");
        let error = StaticTopic::from_json(&four.to_json()).expect_err("half of it").to_string();
        assert_eq!(error, "static topic T: 2 of its 4 queues are there");
        assert!(StaticTopic::from_json(b"[]").is_err());
    }

    #[test]
    fn offsets_begin_anew_well_after_the_old_ones() {
        assert_eq!([0, 4_999, 5_000, 10_000].map(round_up), [10_000, 10_000, 20_000, 20_000]);
    }
}
