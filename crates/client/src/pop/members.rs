//! Which groups a client consumes by POP, as brokers are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use apogee_wire::bodies::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel};

use super::Begin;
use super::poller::Popping;

/// The consumers of one client, of which several may be in one group.
#[derive(Default)]
pub(crate) struct Poppers(Mutex<Vec<Weak<Popping>>>);

impl Poppers {
    pub(super) fn add(&self, popping: &Arc<Popping>) {
        self.lock().push(Arc::downgrade(popping));
    }

    /// What a heartbeat says of them, by group.
    pub fn data(&self) -> BTreeMap<String, ConsumerData> {
        let mut poppers = self.lock();
        poppers.retain(|popping| popping.strong_count() > 0);
        let data = poppers.iter().filter_map(Weak::upgrade).map(|popping| (popping.group.to_string(), popping.data()));
        data.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Popping>>> {
        // Nothing is done under it that can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Popping {
    fn data(&self) -> ConsumerData {
        let subscriptions = self.subscriptions.iter();
        ConsumerData {
            group_name: self.group.to_string(),
            consume_type: Some(ConsumeType::Pop),
            message_model: Some(MessageModel::Clustering),
            consume_from_where: Some(match self.settings.begin {
                Begin::First => ConsumeFromWhere::FirstOffset,
                Begin::Last => ConsumeFromWhere::LastOffset,
            }),
            subscription_data_set: subscriptions
                .map(|(topic, filter)| filter.subscription(topic, self.version))
                .collect(),
            unit_mode: false,
        }
    }
}
