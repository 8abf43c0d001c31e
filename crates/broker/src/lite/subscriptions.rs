//! Which clients read which lite topics. Pure: told the time; in memory only, as clients say it again from time to time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A client as a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub group: Arc<str>,
    pub client: Arc<str>,
}

/// What a client reads; `C` reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Reader<C> {
    pub parent: Arc<str>,
    /// Light queues of the lite topics.
    pub queues: BTreeSet<Arc<str>>,
    pub channel: C,
    /// When it was heard last, in milliseconds since 1970.
    pub seen_ms: i64,
    /// When it got a message last; 0: never.
    pub consumed_ms: i64,
    /// Of the last change of all that it reads.
    version: i64,
    /// Which queue is looked into first.
    turn: usize,
}

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Lite topics by one client.
    pub each: usize,
    /// Altogether, each counted for each of its readers.
    pub all: usize,
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Client(usize),
    Broker(usize),
}

/// What is to be changed.
#[derive(Debug)]
pub(crate) struct Change<C> {
    pub member: Member,
    pub parent: Arc<str>,
    pub queues: BTreeSet<Arc<str>>,
    /// These and no others; older ones of these changes are passed over.
    pub is_complete: Option<i64>,
    /// One reader of a group for each lite topic: the last that says so.
    pub is_exclusive: bool,
    pub channel: C,
    pub now_ms: i64,
}

/// What a change brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// What the client did not read before.
    pub new: Vec<Arc<str>>,
    /// Who reads what no more.
    pub displaced: Vec<(Member, Arc<str>)>,
}

/// See the module.
pub(crate) struct Subscriptions<C> {
    readers: HashMap<Member, Reader<C>>,
    by_queue: HashMap<Arc<str>, BTreeSet<Member>>,
    count: usize,
}

impl<C> Default for Subscriptions<C> {
    fn default() -> Self {
        Self { readers: HashMap::new(), by_queue: HashMap::new(), count: 0 }
    }
}

impl<C> Subscriptions<C> {
    /// A client reads more, or something else. Nothing is changed when that is too much.
    pub fn add(&mut self, change: Change<C>, limits: Limits) -> Result<Added, Full> {
        let Change { member, parent, queues, is_complete, is_exclusive, channel, now_ms } = change;
        let known = self.readers.get(&member);
        let nothing = Added { new: Vec::new(), displaced: Vec::new() };
        if known.zip(is_complete).is_some_and(|(known, version)| version < known.version) {
            return Ok(nothing);
        }
        let has = |queue: &Arc<str>| known.is_some_and(|known| known.queues.contains(queue));
        let new: Vec<Arc<str>> = queues.iter().filter(|queue| !has(queue)).cloned().collect();
        let before = known.map_or(0, |known| known.queues.len());
        let after = if is_complete.is_some() { queues.len() } else { before + new.len() };
        if after > before && after > limits.each {
            return Err(Full::Client(limits.each));
        }
        // One that reads nothing takes room, too.
        let is_one_too_many = known.is_none() && self.readers.len() >= limits.all;
        if is_one_too_many || after > before && self.count + after - before > limits.all {
            return Err(Full::Broker(limits.all));
        }
        if is_complete.is_some() {
            self.remove(&member, |queue| !queues.contains(queue));
        }
        let mut displaced = Vec::new();
        if is_exclusive {
            for queue in &queues {
                let others = self.by_queue.get(queue).into_iter().flatten();
                let others: Vec<Member> =
                    others.filter(|other| other.group == member.group && **other != member).cloned().collect();
                for other in others {
                    self.remove(&other, |of| of == queue);
                    displaced.push((other, Arc::clone(queue)));
                }
            }
        }
        for queue in &new {
            self.by_queue.entry(Arc::clone(queue)).or_default().insert(member.clone());
        }
        self.count += new.len();
        let reader = self.readers.entry(member).or_insert_with(|| Reader {
            parent: Arc::clone(&parent),
            queues: BTreeSet::new(),
            channel,
            seen_ms: now_ms,
            consumed_ms: 0,
            version: i64::MIN,
            turn: 0,
        });
        reader.queues.extend(new.iter().cloned());
        (reader.parent, reader.seen_ms) = (parent, now_ms);
        reader.version = is_complete.unwrap_or(reader.version);
        Ok(Added { new, displaced })
    }

    /// A client reads no more what `goes`. Returns that.
    pub fn remove(&mut self, member: &Member, goes: impl Fn(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        let Some(reader) = self.readers.get_mut(member) else { return Vec::new() };
        let gone: Vec<Arc<str>> = reader.queues.iter().filter(|queue| goes(queue)).cloned().collect();
        for queue in &gone {
            reader.queues.remove(queue);
            if let Some(members) = self.by_queue.get_mut(queue) {
                members.remove(member);
                if members.is_empty() {
                    self.by_queue.remove(queue);
                }
            }
        }
        self.count -= gone.len();
        gone
    }

    /// Forgets a client.
    pub fn forget(&mut self, member: &Member) {
        self.remove(member, |_| true);
        self.readers.remove(member);
    }

    /// Clients that were not heard since a time.
    pub fn silent(&self, since_ms: i64) -> Vec<Member> {
        self.readers.iter().filter(|(_, reader)| reader.seen_ms < since_ms).map(|(member, _)| member.clone()).collect()
    }

    /// A client asks for messages: what it reads, each time beginning with another one.
    pub fn asks(&mut self, member: &Member, channel: C, now_ms: i64) -> Option<Vec<Arc<str>>> {
        let reader = self.readers.get_mut(member)?;
        (reader.seen_ms, reader.channel) = (now_ms, channel);
        reader.turn = reader.turn.wrapping_add(1);
        let count = reader.queues.len().max(1);
        Some(reader.queues.iter().cycle().skip(reader.turn % count).take(reader.queues.len()).cloned().collect())
    }

    /// A client got messages.
    pub fn consumed(&mut self, member: &Member, now_ms: i64) {
        if let Some(reader) = self.readers.get_mut(member) {
            reader.consumed_ms = now_ms;
        }
    }

    /// Who reads a lite topic.
    pub fn readers_of(&self, queue: &str) -> impl Iterator<Item = &Member> {
        self.by_queue.get(queue).into_iter().flatten()
    }

    /// What a client reads.
    pub fn get(&self, member: &Member) -> Option<&Reader<C>> {
        self.readers.get(member)
    }

    /// All clients that read anything or asked lately.
    pub fn all(&self) -> impl Iterator<Item = (&Member, &Reader<C>)> {
        self.readers.iter()
    }

    /// Lite topics, each counted for each of its readers.
    pub fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { each: 3, all: 4 };

    fn member(client: &str) -> Member {
        Member { group: "G".into(), client: client.into() }
    }

    fn change(client: &str, queues: &[&str]) -> Change<()> {
        Change {
            member: member(client),
            parent: "P".into(),
            queues: queues.iter().map(|queue| Arc::from(*queue)).collect(),
            is_complete: None,
            is_exclusive: false,
            channel: (),
            now_ms: 5,
        }
    }

    fn reads(all: &Subscriptions<()>, client: &str) -> Vec<String> {
        let reader = all.get(&member(client));
        reader.into_iter().flat_map(|reader| &reader.queues).map(|queue| queue.to_string()).collect()
    }

    #[test]
    fn clients_read_what_they_say() {
        let mut all = Subscriptions::default();
        all.add(change("a", &["1", "2"]), LIMITS).unwrap();
        assert_eq!(all.add(change("a", &["2", "3"]), LIMITS).unwrap().new, ["3".into()]);
        assert_eq!(reads(&all, "a"), ["1", "2", "3"]);
        all.remove(&member("a"), |queue| &**queue == "1");
        let complete = |version, queues| Change { is_complete: Some(version), ..change("a", queues) };
        all.add(complete(7, &["4"]), LIMITS).unwrap();
        all.add(complete(6, &["5"]), LIMITS).unwrap();
        assert_eq!((reads(&all, "a"), all.len()), (vec!["4".to_owned()], 1));
        assert_eq!(all.readers_of("4").count() + all.readers_of("1").count() + all.readers_of("5").count(), 1);
        all.forget(&member("a"));
        assert_eq!((all.len(), all.all().count(), all.readers_of("4").count()), (0, 0, 0));
    }

    #[test]
    fn limits_are_kept_and_a_refusal_changes_nothing() {
        let mut all = Subscriptions::default();
        all.add(change("a", &["1", "2", "3"]), LIMITS).unwrap();
        assert_eq!(all.add(change("a", &["4"]), LIMITS), Err(Full::Client(3)));
        assert_eq!(all.add(change("b", &["1", "2"]), LIMITS), Err(Full::Broker(4)));
        all.add(change("b", &["1"]), LIMITS).unwrap();
        let idle = |client| Change { is_complete: Some(1), ..change(client, &[]) };
        assert!(all.add(idle("c"), LIMITS).is_ok() && all.add(idle("d"), LIMITS).is_ok());
        assert_eq!(all.add(idle("e"), LIMITS), Err(Full::Broker(4)));
        all.add(Change { is_complete: Some(1), ..change("a", &["4", "5"]) }, LIMITS).unwrap();
        assert_eq!((reads(&all, "a").len(), reads(&all, "b").len(), all.len()), (2, 1, 3));
    }

    #[test]
    fn an_exclusive_reader_takes_the_place_of_the_one_before() {
        let mut all = Subscriptions::default();
        all.add(change("a", &["1", "2"]), LIMITS).unwrap();
        let other_group = Change { member: Member { group: "H".into(), client: "a".into() }, ..change("a", &["1"]) };
        all.add(other_group, LIMITS).unwrap();
        let added = all.add(Change { is_exclusive: true, ..change("b", &["1"]) }, LIMITS).unwrap();
        assert_eq!(added.displaced, [(member("a"), Arc::from("1"))]);
        assert_eq!((reads(&all, "a"), reads(&all, "b")), (vec!["2".to_owned()], vec!["1".to_owned()]));
        assert_eq!(all.readers_of("1").count(), 2);
    }

    #[test]
    fn each_look_begins_with_another_one_and_the_silent_are_known() {
        let mut all = Subscriptions::default();
        all.add(change("a", &["1", "2", "3"]), LIMITS).unwrap();
        let firsts: BTreeSet<_> = (0..3).map(|_| all.asks(&member("a"), (), 10).unwrap()[0].to_string()).collect();
        assert_eq!(firsts.len(), 3);
        assert!(all.silent(10).is_empty() && all.asks(&member("b"), (), 10).is_none());
        assert_eq!(all.silent(11), [member("a")]);
    }
}
