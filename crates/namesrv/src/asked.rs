//! Topics that clients ask for, and no broker has or creates.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::routes::{Cause, NoRoute};

/// Topics that are remembered at a time; clients can make up as many names as they like.
const MOST: usize = 1_000;

/// What was asked for in vain since it was last looked at.
#[derive(Debug, Default)]
pub struct AskedTopics {
    topics: Mutex<HashMap<String, Asked>>,
}

/// A topic that clients asked for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who asked last.
    pub peer: SocketAddr,
    /// How often clients asked.
    pub times: u64,
}

impl AskedTopics {
    /// Somebody asked. Counts only what an operator must see to: not what the first message creates.
    pub(crate) fn note(&self, route: &NoRoute, peer: SocketAddr) {
        // Those that clients ask for to learn which brokers create topics, and those of groups.
        let is_of_system = route.topic.starts_with('%') || apogee_message::names::is_system_topic(&route.topic);
        if is_of_system || !matches!(route.cause, Cause::CreationOff { .. }) {
            return;
        }
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = topics.get_mut(&route.topic) {
            asked.peer = peer;
            asked.times += 1;
        } else if topics.len() < MOST {
            topics.insert(route.topic.clone(), Asked { peer, times: 1 });
        }
    }

    /// Takes them, by topic.
    pub fn take(&self) -> HashMap<String, Asked> {
        std::mem::take(&mut self.topics.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_creates_is_counted_and_bounded() {
        let asked = AskedTopics::default();
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let route = |topic: &str, cause| NoRoute { topic: topic.to_owned(), cause, similar: None };
        let off = || Cause::CreationOff { brokers: 1, cluster: "C".into() };
        asked.note(&route("T", off()), peer(1));
        asked.note(&route("T", off()), peer(2));
        asked.note(&route("TBW102", off()), peer(2));
        asked.note(&route("U", Cause::NotCreatedYet { brokers: 1 }), peer(2));
        assert_eq!(asked.take(), HashMap::from([("T".to_owned(), Asked { peer: peer(2), times: 2 })]));
        (0..2 * MOST).for_each(|number| asked.note(&route(&number.to_string(), off()), peer(1)));
        assert_eq!((asked.take().len(), asked.take().len()), (MOST, 0));
    }
}
