//! What a broker is in its group, and what follows from that: which requests a slave leaves to its master, and which
//! work goes on in it.
//!
//! A role is fixed from a broker's start to its stop. A slave has what its master has, and changes nothing of it:
//! it delivers no delayed messages and asks no producers, since the master's deliveries come with the log.

use apogee_base::words;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};

use crate::error::BrokerError;
use crate::replication::Role;
use crate::settings::BrokerSettings;

words! {
    /// What a broker is in its group.
    pub enum BrokerRole {
        /// It takes messages, and senders don't wait for slaves.
        AsyncMaster = "ASYNC_MASTER",
        /// It takes messages, and senders wait for slaves.
        SyncMaster = "SYNC_MASTER",
        /// It copies what its master has.
        Slave = "SLAVE",
    }
}

impl BrokerRole {
    /// Whether it follows a master.
    pub fn is_slave(self) -> bool {
        self == Self::Slave
    }

    /// Whether it makes messages of its own: delayed ones when they are due, questions about transactions.
    pub(crate) fn delivers(self) -> bool {
        !self.is_slave()
    }

    /// Refuses what a slave leaves to its master. `unread`: why it serves no pulls, if so.
    pub(crate) fn check(self, request: &Command, unread: Option<&str>) -> Result<(), BrokerError> {
        if !self.is_slave() {
            return Ok(());
        }
        match (request.code, unread) {
            (code::PULL_MESSAGE | code::LITE_PULL_MESSAGE, Some(why)) => {
                Err(BrokerError::new(response::SYSTEM_BUSY, busy(why)))
            }
            (code, _) => Self::check_change(code, request),
        }
    }

    fn check_change(code: i32, request: &Command) -> Result<(), BrokerError> {
        match code {
            code::POP_MESSAGE
            | code::ACK_MESSAGE
            | code::BATCH_ACK_MESSAGE
            | code::CHANGE_MESSAGE_INVISIBLETIME
            | code::NOTIFICATION => {
                Err(BrokerError::new(response::SYSTEM_BUSY, busy("this broker is a slave, pop from its master")))
            }
            code::SEND_MESSAGE
            | code::SEND_MESSAGE_V2
            | code::SEND_BATCH_MESSAGE
            | code::CONSUMER_SEND_MSG_BACK
            | code::SEND_REPLY_MESSAGE
            | code::SEND_REPLY_MESSAGE_V2 => {
                Err(BrokerError::new(response::SYSTEM_BUSY, busy("this broker is a slave, send to its master")))
            }
            code::END_TRANSACTION => Err(BrokerError::new(
                response::SLAVE_NOT_AVAILABLE,
                "this broker is a slave: its master, or who is master next, asks the producer again",
            )),
            code::RECALL_MESSAGE => Err(BrokerError::new(
                response::SLAVE_NOT_AVAILABLE,
                "recall failed, broker service not available: this broker is a slave",
            )),
            code::INVOKE_BROKER_TO_RESET_OFFSET => {
                Err(BrokerError::new(response::SYSTEM_ERROR, "Can not reset offset in slave broker: ask its master"))
            }
            code::UPDATE_AND_GET_GROUP_FORBIDDEN if request.fields.get("readable").is_none() => Ok(()),
            code::UPDATE_AND_CREATE_TOPIC
            | code::UPDATE_AND_CREATE_TOPIC_LIST
            | code::UPDATE_AND_CREATE_STATIC_TOPIC
            | code::DELETE_TOPIC_IN_BROKER
            | code::CLEAN_UNUSED_TOPIC
            | code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
            | code::DELETE_SUBSCRIPTIONGROUP
            | code::UPDATE_AND_GET_GROUP_FORBIDDEN
            | code::SET_MESSAGE_REQUEST_MODE
            | code::CLONE_GROUP_OFFSET
            | code::RESUME_CHECK_HALF_MESSAGE => Err(BrokerError::new(
                response::SYSTEM_ERROR,
                "Can't modify topic or subscription group from slave broker, please execute it from master broker.",
            )),
            _ => Ok(()),
        }
    }
}

/// Upstream's words for a request that another broker may take.
fn busy(why: &str) -> String {
    format!("[REJECTREQUEST]system busy, start flow control for a while: {why}")
}

/// Makes settings say what the broker is: as they say themselves, if they fit together, or as a controller decided.
/// The text of an error says what to change.
pub(crate) fn settle(settings: &mut BrokerSettings, role: &Role) -> Result<(), String> {
    match role {
        Role::AsSet => return fits(settings),
        Role::Master(_) => {
            if settings.broker_role.is_slave() {
                settings.broker_role = BrokerRole::AsyncMaster;
            }
            settings.broker_id = 0;
        }
        Role::Slave(follows) => {
            (settings.broker_role, settings.broker_id) = (BrokerRole::Slave, follows.broker_id);
        }
    }
    Ok(())
}

fn fits(settings: &BrokerSettings) -> Result<(), String> {
    match (settings.broker_role, settings.broker_id) {
        (BrokerRole::Slave, id) if id <= 0 => Err(format!(
            "brokerRole=SLAVE with brokerId={id}: a slave's id is above 0, and each slave of a group \
             has its own; set brokerId, or make this broker a master (ASYNC_MASTER)"
        )),
        (role, id) if !role.is_slave() && id != 0 => Err(format!(
            "brokerId={id} with a master's brokerRole: a master's id is 0; set brokerId=0, or brokerRole=SLAVE"
        )),
        (BrokerRole::Slave, _) if settings.namesrv_addr.is_empty() && settings.ha_master_address.is_empty() => {
            Err("brokerRole=SLAVE without namesrvAddr: nobody tells this slave who its master is".into())
        }
        (BrokerRole::Slave, _) if settings.namesrv_addr.is_empty() => {
            tracing::warn!(
                "a slave without namesrvAddr copies the log and nothing else: nobody tells it where its master answers \
                 questions about topics, groups and offsets"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::Follows;

    #[test]
    fn what_a_controller_decided_counts_for_more_than_the_settings() {
        let mut settings = BrokerSettings::default();
        settle(&mut settings, &Role::Slave(Follows { broker_id: 3, master: None })).unwrap();
        assert_eq!((settings.broker_role, settings.broker_id), (BrokerRole::Slave, 3));
        settle(
            &mut settings,
            &Role::Master(crate::replication::Elected { broker_id: 3, epoch: 1, in_sync: Default::default() }),
        )
        .unwrap();
        assert_eq!((settings.broker_role, settings.broker_id), (BrokerRole::AsyncMaster, 0));
    }

    #[test]
    fn a_slave_leaves_to_its_master_what_changes_something() {
        let refused =
            |role: BrokerRole, number| role.check(&Command::request(number), None).err().map(|error| error.code);
        for (number, refusal) in [
            (code::SEND_MESSAGE_V2, Some(response::SYSTEM_BUSY)),
            (code::CONSUMER_SEND_MSG_BACK, Some(response::SYSTEM_BUSY)),
            (code::END_TRANSACTION, Some(response::SLAVE_NOT_AVAILABLE)),
            (code::UPDATE_AND_CREATE_TOPIC, Some(response::SYSTEM_ERROR)),
            (code::PULL_MESSAGE, None),
            (code::UPDATE_CONSUMER_OFFSET, None),
            (code::HEART_BEAT, None),
            (code::UPDATE_BROKER_CONFIG, None),
        ] {
            assert_eq!(refused(BrokerRole::Slave, number), refusal, "{number}");
            assert_eq!(refused(BrokerRole::SyncMaster, number), None, "{number}");
        }
        let pull = Command::request(code::PULL_MESSAGE);
        assert_eq!(BrokerRole::Slave.check(&pull, Some("why")).unwrap_err().code, response::SYSTEM_BUSY);
    }

    #[test]
    fn who_reads_what_a_group_may_is_answered_and_who_changes_it_is_not() {
        let mut request = Command::request(code::UPDATE_AND_GET_GROUP_FORBIDDEN);
        assert!(BrokerRole::Slave.check(&request, None).is_ok());
        request.fields.set_str("readable", "false");
        assert!(BrokerRole::Slave.check(&request, None).is_err());
    }

    #[test]
    fn role_and_id_fit_together_or_the_text_says_what_to_change() {
        let fits = |broker_role, broker_id, names: &str| {
            fits(&BrokerSettings { broker_role, broker_id, namesrv_addr: names.into(), ..BrokerSettings::default() })
        };
        assert_eq!(fits(BrokerRole::AsyncMaster, 0, ""), Ok(()));
        assert_eq!(fits(BrokerRole::Slave, 1, "127.0.0.1:9876"), Ok(()));
        assert!(fits(BrokerRole::Slave, 0, "n:1").unwrap_err().contains("above 0"));
        assert!(fits(BrokerRole::SyncMaster, 2, "n:1").unwrap_err().contains("brokerId=2"));
        assert!(fits(BrokerRole::Slave, 1, "").unwrap_err().contains("namesrvAddr"));
    }
}
