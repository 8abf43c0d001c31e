//! The route table against a model that keeps everything as plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];
const ADDRS: [&str; 4] = ["x:0", "x:1", "x:2", "x:3"];

#[derive(Debug, Clone)]
enum Step {
    Register {
        name: usize,
        id: i64,
        addr: usize,
        version: i64,
        acting: bool,
        whole: bool,
        topics: BTreeSet<usize>,
        perm: i32,
    },
    Unregister {
        name: usize,
        addr: usize,
        /// By its id or its connection; either may be that of a former self.
        by: Goodbye,
    },
    LinkClosed {
        link: u64,
    },
    Wait {
        ms: i64,
    },
    Heartbeat {
        name: usize,
        addr: usize,
    },
    Wipe {
        name: usize,
        wiped: bool,
    },
    Delete {
        topic: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let topics = prop::collection::btree_set(0..TOPICS.len(), 0..=TOPICS.len());
    let register = (0..3usize, 0..5i64, 0..4usize, 1..4i64, any::<(bool, bool)>(), topics, 0..8i32);
    prop_oneof![
        4 => register.prop_map(|(name, id, addr, version, (acting, whole), topics, perm)| {
            Step::Register { name, id, addr, version, acting, whole, topics, perm }
        }),
        1 => (0..3usize, 0..4usize, goodbye()).prop_map(|(name, addr, by)| Step::Unregister { name, addr, by }),
        1 => (0..15u64).prop_map(|link| Step::LinkClosed { link }),
        1 => (0..100_000i64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..3usize, 0..4usize).prop_map(|(name, addr)| Step::Heartbeat { name, addr }),
        1 => (0..3usize, any::<bool>()).prop_map(|(name, wiped)| Step::Wipe { name, wiped }),
        1 => (0..4usize).prop_map(|topic| Step::Delete { topic }),
    ]
}

fn goodbye() -> impl Strategy<Value = Goodbye> {
    prop_oneof![(0..15u64).prop_map(Goodbye::Link), (0..5i64).prop_map(Goodbye::Id)]
}

#[derive(Debug, Clone)]
struct ModelMember {
    addr: &'static str,
    link: u64,
    seen: i64,
    version: i64,
}

/// What a client sees of a topic: addresses and permission, by broker name.
type Seen = BTreeMap<String, (BTreeMap<i64, String>, i32)>;

#[derive(Debug, Default)]
struct Model {
    now: i64,
    members: BTreeMap<(&'static str, i64), ModelMember>,
    acting: BTreeSet<&'static str>,
    wiped: BTreeSet<&'static str>,
    /// Registered permission by topic and broker name.
    queues: BTreeMap<(&'static str, &'static str), i32>,
}

impl Model {
    fn ids(&self, name: &str) -> Vec<i64> {
        self.members.keys().filter(|(of, _)| *of == name).map(|(_, id)| *id).collect()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Register { name, id, addr, version, acting, whole, ref topics, perm } => {
                let (name, addr) = (NAMES[name], ADDRS[addr]);
                self.members.retain(|&(of, other), member| of != name || other == id || member.addr != addr);
                let former = self.members.get(&(name, id)).cloned();
                let partial = former.is_none() && topics.len() == 1;
                let known = if partial { 0 } else { version };
                let link = link(name, id);
                self.members.insert((name, id), ModelMember { addr, link, seen: self.now, version: known });
                if acting {
                    self.acting.insert(name)
                } else {
                    self.acting.remove(name)
                };
                if id != 0 && self.ids(name)[0] != id {
                    return;
                }
                if former.is_none() {
                    self.wiped.remove(name);
                }
                let all = former.is_none_or(|former| former.addr != addr || former.version != version);
                for &topic in topics {
                    let key = (TOPICS[topic], name);
                    if all || !self.queues.contains_key(&key) {
                        self.queues.insert(key, perm);
                    }
                }
                if whole && topics.len() != 1 {
                    self.queues
                        .retain(|&(topic, of), _| of != name || topics.iter().any(|&kept| TOPICS[kept] == topic));
                }
            }
            Step::Unregister { name, addr, by } => self.members.retain(|&(of, id), member| {
                let is_meant = match by {
                    Goodbye::Link(link) => member.link == link,
                    Goodbye::Id(given) => id == given,
                };
                of != NAMES[name] || member.addr != ADDRS[addr] || !is_meant
            }),
            Step::LinkClosed { link } => self.members.retain(|_, member| member.link != link),
            Step::Wait { ms } => {
                self.now += ms;
                let now = self.now;
                self.members.retain(|_, member| now - member.seen <= BROKER_TIMEOUT_MS);
            }
            Step::Heartbeat { name, addr } => {
                let now = self.now;
                let mut of = self.members.iter_mut().filter(|((of, _), _)| *of == NAMES[name]);
                if let Some((_, member)) = of.find(|(_, member)| member.addr == ADDRS[addr]) {
                    member.seen = now;
                }
            }
            Step::Wipe { name, wiped } => {
                if wiped {
                    self.wiped.insert(NAMES[name])
                } else {
                    self.wiped.remove(NAMES[name])
                };
            }
            Step::Delete { topic } => self.queues.retain(|&(of, _), _| of != TOPICS[topic]),
        }
        let up: BTreeSet<_> = self.members.keys().map(|&(name, _)| name).collect();
        self.queues.retain(|(_, name), _| up.contains(name));
        self.wiped.retain(|name| up.contains(name));
        self.acting.retain(|name| up.contains(name));
    }

    fn route(&self, topic: &str) -> Option<Seen> {
        let brokers: BTreeMap<_, _> = self
            .queues
            .iter()
            .filter(|((of, _), _)| *of == topic)
            .map(|(&(_, name), &perm)| {
                let of_name = self.members.iter().filter(|((of, _), _)| *of == name);
                let addrs: BTreeMap<_, _> = of_name.map(|(&(_, id), member)| (id, member.addr.to_owned())).collect();
                let stands_in = self.acting.contains(name) && !addrs.contains_key(&0);
                let perm = if stands_in || self.wiped.contains(name) { perm & !2 } else { perm };
                (name.to_owned(), (addrs, perm))
            })
            .collect();
        brokers.values().any(|(_, perm)| *perm & 7 != 0).then_some(brokers)
    }
}

fn link(name: &str, id: i64) -> u64 {
    let name = NAMES.iter().position(|other| *other == name).expect("one of them");
    name as u64 * 5 + id as u64
}

/// Does a step; returns who was told of which lowest id, by broker name.
fn apply(table: &RouteTable, now: i64, step: &Step) -> Vec<MinIdChange> {
    match *step {
        Step::Register { name, id, addr, version, acting, whole, ref topics, perm } => {
            let registration = Registration {
                broker: BrokerId { cluster: CLUSTER, name: NAMES[name], addr: ADDRS[addr] },
                acting_master: Some(acting),
                link: link(NAMES[name], id),
                version: super::version(version),
                // Equal content has equal length: here the content itself, so that a renewal is
                // taken exactly when it is right to.
                len: 1 + topics.iter().fold(usize::from(whole), |bits, topic| bits | 2 << topic) + (perm as usize) * 64,
                ..broker(id, "")
            };
            if table.renew(now, &registration).is_some() {
                return Vec::new();
            }
            let topics = topics.iter().map(|&index| topic(TOPICS[index], perm)).collect();
            let content = Content { topics, ..Content::default() };
            let registered = table.register(now, &registration, &content, whole).expect("no conflict");
            return registered.notice.into_iter().collect();
        }
        Step::Unregister { name, addr, by } => {
            return table.unregister(BrokerId { cluster: CLUSTER, name: NAMES[name], addr: ADDRS[addr] }, by).notices;
        }
        Step::LinkClosed { link } => return table.link_closed(link).notices,
        Step::Wait { ms } => return table.expire(now + ms).notices,
        Step::Heartbeat { name, addr } => {
            table.heartbeat(now, BrokerId { cluster: CLUSTER, name: NAMES[name], addr: ADDRS[addr] });
        }
        Step::Wipe { name, wiped } => drop(table.wipe_write(NAMES[name], wiped)),
        Step::Delete { topic } => drop(table.delete_topic(TOPICS[topic], None)),
    }
    Vec::new()
}

/// The lowest id of each name and its address; addresses are those of one name at a time.
fn lowest(model: &Model) -> BTreeMap<&'static str, (i64, &'static str)> {
    let mut lowest = BTreeMap::new();
    for (&(name, id), member) in &model.members {
        lowest.entry(name).or_insert((id, member.addr));
    }
    lowest
}

fn seen(table: &RouteTable, topic: &str) -> Option<Seen> {
    let route = table.route(topic, RouteOptions::default()).ok()?;
    let both = route.broker_datas.into_iter().zip(route.queue_datas);
    Some(
        both.map(|(broker, queues)| (queues.broker_name, (broker.broker_addrs.into_iter().collect(), queues.perm)))
            .collect(),
    )
}

proptest! {
    #[test]
    fn clients_see_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let (table, mut model) = (RouteTable::default(), Model::default());
        for step in &steps {
            let before = lowest(&model);
            let notices = apply(&table, model.now, step);
            model.step(step);
            let after = lowest(&model);
            for (name, (min_id, min_addr)) in &after {
                let ids = model.ids(name);
                let told = |id: &i64| notices.iter().find(|notice| notice.links.contains(&link(name, *id)));
                let newcomer = match step {
                    Step::Register { id, .. } => Some(*id),
                    _ => None,
                };
                let is_news = before.get(name).is_some_and(|was| *was != (*min_id, *min_addr));
                for id in &ids {
                    let is_told = told(id).map(|notice| (notice.min_id, &*notice.min_addr));
                    let expected = (is_news && !(id == min_id && newcomer == Some(*id))).then_some((*min_id, *min_addr));
                    prop_assert_eq!(is_told, expected, "id {} of {} after {:?}", id, name, step);
                }
            }
            for topic in TOPICS {
                prop_assert_eq!(seen(&table, topic), model.route(topic), "topic {} after {:?}", topic, step);
            }
            let brokers: BTreeSet<_> = table.cluster_info().broker_addr_table.into_keys().collect();
            let expected: BTreeSet<_> = model.members.keys().map(|(name, _)| (*name).to_owned()).collect();
            prop_assert_eq!(brokers, expected);
        }
    }
}
