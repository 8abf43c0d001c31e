//! Brokers and topics go.

use super::brokers::Member;
use super::topics::Slot;
use super::{BrokerId, MinIdChange, RouteTable, State};

/// Brokers that were removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Their name, address and connection.
    pub brokers: Vec<Gone>,
    /// Whom to tell of lowest ids that changed.
    pub notices: Vec<MinIdChange>,
}

/// A broker that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its name.
    pub name: String,
    /// Its address.
    pub addr: String,
    /// The connection it registered by.
    pub link: u64,
}

/// Which registration of a broker a goodbye is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The one that came by this connection, whatever its id: the broker itself says it.
    Link(u64),
    /// The one with this id: the connection has registered nothing.
    Id(i64),
}

impl Goodbye {
    fn means(self, id: i64, member: &Member) -> bool {
        match self {
            Self::Link(link) => member.link == link,
            Self::Id(given) => id == given,
        }
    }
}

impl RouteTable {
    /// A broker says goodbye. One that has a new role is the same address under a new id, by a new connection: a late
    /// goodbye of its former self must not take it away. So `by` names what goes.
    pub fn unregister(&self, broker: BrokerId<'_>, by: Goodbye) -> Removed {
        let mut state = self.write();
        let found = state
            .brokers
            .slot(broker.name)
            .filter(|&slot| state.brokers.get(slot).is_some_and(|found| *found.cluster == *broker.cluster));
        let Some(slot) = found else { return Removed::default() };
        state.remove_members(|at, id, member| at == slot && *member.addr == *broker.addr && by.means(id, member))
    }

    /// Removes the brokers that registered by a connection which is closed now.
    pub fn link_closed(&self, link: u64) -> Removed {
        self.write().remove_members(|_, _, member| member.link == link)
    }

    /// Removes the brokers that gave no sign of life for longer than their timeout.
    pub fn expire(&self, now_ms: i64) -> Removed {
        let expired = |member: &Member| now_ms.saturating_sub(member.seen_ms) > member.timeout_ms;
        // Nearly always there is none: readers need not wait for that.
        let any = self.read().brokers.iter().any(|(_, broker)| broker.members.values().any(expired));
        if any { self.write().remove_members(|_, _, member| expired(member)) } else { Removed::default() }
    }

    /// Takes a topic from all brokers, or from those of one cluster. They may register it again.
    pub fn delete_topic(&self, topic: &str, cluster: Option<&str>) -> bool {
        let mut state = self.write();
        let State { brokers, topics, statics } = &mut *state;
        let removed = topics.remove(topic, |slot| {
            let Some(broker) = brokers.get_mut(slot) else { return true };
            let gone = cluster.is_none_or(|cluster| *broker.cluster == *cluster);
            if gone {
                broker.members.values_mut().for_each(|member| member.applied_len = 0);
            }
            gone
        });
        if !topics.contains(topic) {
            statics.forget(&[topic.into()]);
        }
        removed
    }
}

impl State {
    fn remove_members(&mut self, gone: impl Fn(Slot, i64, &Member) -> bool) -> Removed {
        let mut removed = Removed::default();
        let mut empty = Vec::new();
        let slots: Vec<Slot> = self.brokers.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(broker) = self.brokers.get_mut(slot) else { continue };
            let min_id = broker.min_id();
            let mut offline = None;
            let name = &broker.name;
            let before = removed.brokers.len();
            broker.members.retain(|&id, member| {
                let gone = gone(slot, id, member);
                if gone {
                    let (name, addr) = (name.to_string(), member.addr.to_string());
                    if Some(id) == min_id {
                        offline = Some(addr.clone());
                    }
                    removed.brokers.push(Gone { name, addr, link: member.link });
                }
                !gone
            });
            if removed.brokers.len() == before {
                continue;
            }
            if broker.members.is_empty() {
                empty.push(slot);
                continue;
            }
            // Who speaks for the group may be another one now, with topics that were not looked at.
            broker.members.values_mut().for_each(|member| member.applied_len = 0);
            if let Some(offline) = offline {
                removed.notices.extend(broker.min_id_change(None, Some(&offline)));
            }
        }
        if !empty.is_empty() {
            let (_, forgotten) = self.topics.remove_where(|_, slot| empty.contains(&slot));
            self.statics.forget(&forgotten);
            empty.into_iter().for_each(|slot| self.brokers.leave(slot));
        }
        removed
    }
}
