//! Which clients read which lite topics, and where there may be something for them. Pure: told the time; in memory only,
//! as clients say it again from time to time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::ready::Ready;

/// Attempts of a client of which is known what they got.
const ATTEMPTS: usize = 4;

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
    /// Light queues of the lite topics; [`wild`] stands for all of the parent.
    pub queues: BTreeSet<Arc<str>>,
    pub channel: C,
    /// When it was heard last, in milliseconds since 1970.
    pub seen_ms: i64,
    /// When it got a message last; 0: never.
    pub consumed_ms: i64,
    /// Of the last change of all that it reads.
    version: i64,
    /// What may have something for it, and how many of them may wait.
    ready: Ready,
    most_ready: usize,
    /// What another one reads in its place, until it says anew that it wants to.
    lost: BTreeSet<Arc<str>>,
    /// What its last attempts got messages of: who asks again with an attempt gets them again.
    attempts: VecDeque<(Arc<str>, Vec<Arc<str>>)>,
}

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Lite topics by one client.
    pub each: usize,
    /// Altogether, each counted for each of its readers.
    pub all: usize,
    /// Lite topics that may wait to be looked into for one client.
    pub ready: usize,
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// What the client did not read before.
    pub new: Vec<Arc<str>>,
    /// Who reads what no more.
    pub displaced: Vec<(Member, Arc<str>)>,
    /// What the client names still, though another one took it over since.
    pub lost: Vec<Arc<str>>,
}

/// What a client looks into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What its pops wait for.
    pub key: Arc<str>,
    pub queues: Vec<Arc<str>>,
    /// No more wait.
    pub is_all: bool,
    /// There was no room for others that may have something.
    pub has_missed: bool,
}

/// See the module.
pub(crate) struct Subscriptions<C> {
    readers: HashMap<Member, Reader<C>>,
    by_queue: HashMap<Arc<str>, BTreeSet<Member>>,
    /// Groups that read all lite topics of a parent, and what may have something for them.
    wild: HashMap<Arc<str>, BTreeMap<Arc<str>, Ready>>,
    count: usize,
}

/// Stands for all lite topics of a parent, as a group reads them: no light queue has such a name.
pub(crate) fn wild(parent: &str, group: &str) -> Arc<str> {
    format!("{parent}@{group}").into()
}

/// What the pops of a client wait for, or those of a group that reads all: no topic has such a name.
pub(crate) fn key(parent: &str, client: Option<&str>) -> Arc<str> {
    format!("{parent}@{}", client.unwrap_or("*")).into()
}

impl<C> Default for Subscriptions<C> {
    fn default() -> Self {
        Self { readers: HashMap::new(), by_queue: HashMap::new(), wild: HashMap::new(), count: 0 }
    }
}

impl<C> Subscriptions<C> {
    /// A client reads more, or something else. Nothing is changed when that is too much.
    pub fn add(&mut self, change: Change<C>, limits: Limits) -> Result<Added, Full> {
        let Change { member, parent, mut queues, is_complete, is_exclusive, channel, now_ms } = change;
        let known = self.readers.get(&member);
        if known.zip(is_complete).is_some_and(|(known, version)| version < known.version) {
            return Ok(Added::default());
        }
        // What another one took over is not taken back by who says only what it read all along.
        let lost: Vec<Arc<str>> = match (known, is_complete) {
            (Some(known), Some(_)) => {
                let has_other = |queue: &&Arc<str>| self.others(&member, queue).next().is_some();
                known.lost.intersection(&queues).filter(has_other).cloned().collect()
            }
            _ => Vec::new(),
        };
        queues.retain(|queue| !lost.contains(queue));
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
                for other in self.others(&member, queue).cloned().collect::<Vec<_>>() {
                    self.remove(&other, |of| of == queue);
                    if let Some(reader) = self.readers.get_mut(&other) {
                        reader.lost.insert(Arc::clone(queue));
                    }
                    displaced.push((other, Arc::clone(queue)));
                }
            }
        }
        for queue in &new {
            self.by_queue.entry(Arc::clone(queue)).or_default().insert(member.clone());
            if *queue == wild(&parent, &member.group) {
                self.wild.entry(Arc::clone(&parent)).or_default().entry(Arc::clone(&member.group)).or_default();
            }
        }
        self.count += new.len();
        let reader = self.readers.entry(member).or_insert_with(|| Reader {
            parent: Arc::clone(&parent),
            queues: BTreeSet::new(),
            channel,
            seen_ms: now_ms,
            consumed_ms: 0,
            version: i64::MIN,
            ready: Ready::default(),
            most_ready: limits.ready,
            lost: BTreeSet::new(),
            attempts: VecDeque::new(),
        });
        reader.queues.extend(new.iter().cloned());
        (reader.parent, reader.seen_ms, reader.most_ready) = (parent, now_ms, limits.ready);
        new.iter().for_each(|queue| reader.ready.offer(queue, limits.ready));
        match is_complete {
            Some(version) => {
                reader.version = version;
                reader.lost.retain(|queue| lost.contains(queue));
            }
            None => reader.lost.retain(|queue| !queues.contains(queue)),
        }
        Ok(Added { new, displaced, lost })
    }

    /// Others of a client's group that read a lite topic.
    fn others<'s>(&'s self, member: &'s Member, queue: &str) -> impl Iterator<Item = &'s Member> {
        self.readers_of(queue).filter(move |other| other.group == member.group && *other != member)
    }

    /// A client reads no more what `goes`. Returns that.
    pub fn remove(&mut self, member: &Member, goes: impl Fn(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        let Some(reader) = self.readers.get_mut(member) else { return Vec::new() };
        let gone: Vec<Arc<str>> = reader.queues.iter().filter(|queue| goes(queue)).cloned().collect();
        for queue in &gone {
            reader.queues.remove(queue);
            reader.ready.forget(queue);
            let Some(members) = self.by_queue.get_mut(queue) else { continue };
            members.remove(member);
            if members.is_empty() {
                self.by_queue.remove(queue);
                self.wild.retain(|parent, groups| {
                    groups.retain(|group, _| **queue != *wild(parent, group));
                    !groups.is_empty()
                });
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

    /// A lite topic may have something for its readers, of one group or of all. Returns which pops are to be woken: of
    /// which group, waiting for what.
    pub fn offer(&mut self, parent: &str, queue: &str, group: Option<&str>) -> Vec<(Arc<str>, Arc<str>)> {
        let is_meant = |of: &str| group.is_none_or(|group| group == of);
        let mut woken = Vec::new();
        if let Some((queue, members)) = self.by_queue.get_key_value(queue) {
            for member in members.iter().filter(|member| is_meant(&member.group)) {
                let Some(reader) = self.readers.get_mut(member) else { continue };
                reader.ready.offer(queue, reader.most_ready);
                woken.push((Arc::clone(&member.group), key(parent, Some(&member.client))));
            }
        }
        for (group, ready) in self.wild.get_mut(parent).into_iter().flatten().filter(|(group, _)| is_meant(group)) {
            ready.offer(&Arc::from(queue), usize::MAX);
            woken.push((Arc::clone(group), key(parent, None)));
        }
        woken
    }

    /// Light queues that may have something for a client, whoever else reads them.
    pub fn offer_to(&mut self, member: &Member, queues: impl IntoIterator<Item = Arc<str>>) {
        let Some((reader, mut all)) = self.reading(member) else { return };
        for queue in queues {
            match &mut all {
                Some(ready) => ready.offer(&queue, usize::MAX),
                None => reader.ready.offer(&queue, reader.most_ready),
            }
        }
    }

    /// A client asks for messages.
    pub fn asks(&mut self, member: &Member, channel: C, now_ms: i64) {
        if let Some(reader) = self.readers.get_mut(member) {
            (reader.seen_ms, reader.channel) = (now_ms, channel);
        }
    }

    /// Takes what a client looks into, up to so many: first what its attempt got before. `None`: it reads nothing.
    pub fn take(&mut self, member: &Member, attempt: Option<&str>, most: usize) -> Option<Taken> {
        let key = self.waits_for(member)?;
        let (reader, all) = self.reading(member)?;
        let got = reader.attempts.iter().find(|(of, _)| Some(&**of) == attempt).map(|(_, queues)| queues.clone());
        let mut queues = got.unwrap_or_default();
        let ready = all.unwrap_or(&mut reader.ready);
        let mut taken = ready.take(most);
        taken.retain(|queue| !queues.contains(queue));
        queues.append(&mut taken);
        let has_missed = ready.take_missed();
        Some(Taken { key, queues, is_all: !ready.has_some(), has_missed })
    }

    /// What the pops of a client wait for.
    pub fn waits_for(&mut self, member: &Member) -> Option<Arc<str>> {
        let (reader, all) = self.reading(member)?;
        Some(key(&reader.parent, if all.is_some() { None } else { Some(&member.client) }))
    }

    /// Whether there may be something for a client.
    pub fn is_ready(&mut self, member: &Member) -> bool {
        self.reading(member).is_some_and(|(reader, all)| all.map_or(reader.ready.has_some(), |ready| ready.has_some()))
    }

    /// A client got messages of some lite topics, by an attempt.
    pub fn consumed(&mut self, member: &Member, attempt: Option<&str>, queues: &[Arc<str>], now_ms: i64) {
        let Some(reader) = self.readers.get_mut(member) else { return };
        reader.consumed_ms = now_ms;
        if let Some(attempt) = attempt {
            reader.attempts.retain(|(of, _)| **of != *attempt);
            reader.attempts.push_back((attempt.into(), queues.to_vec()));
            if reader.attempts.len() > ATTEMPTS {
                reader.attempts.pop_front();
            }
        }
    }

    /// A client, and what may have something for its whole group, where that reads all lite topics.
    fn reading(&mut self, member: &Member) -> Option<(&mut Reader<C>, Option<&mut Ready>)> {
        let reader = self.readers.get_mut(member)?;
        let all = self.wild.get_mut(&reader.parent).and_then(|groups| groups.get_mut(&member.group));
        let reads_all = reader.queues.contains(&wild(&reader.parent, &member.group));
        Some((reader, all.filter(|_| reads_all)))
    }

    /// Who names a lite topic.
    pub fn readers_of(&self, queue: &str) -> impl Iterator<Item = &Member> {
        self.by_queue.get(queue).into_iter().flatten()
    }

    /// Groups that read all lite topics of a parent.
    pub fn wild_groups(&self, parent: &str) -> impl Iterator<Item = &Arc<str>> {
        self.wild.get(parent).into_iter().flat_map(BTreeMap::keys)
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
#[path = "subscriptions_tests.rs"]
mod tests;
