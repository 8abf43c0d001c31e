//! Questions and answers of an agent as commands of the protocol.

use apogee_wire::Command;
use apogee_wire::bodies::{Body, ElectMasterResponseBody, SyncStateSet};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{
    AlterSyncStateSetRequestHeader, AlterSyncStateSetResponseHeader, ApplyBrokerIdRequestHeader, DecodeHeader,
    ElectMasterRequestHeader, ElectMasterResponseHeader, GetMetaDataResponseHeader, GetNextBrokerIdRequestHeader,
    GetNextBrokerIdResponseHeader, GetReplicaInfoRequestHeader, GetReplicaInfoResponseHeader,
    NotifyBrokerRoleChangedRequestHeader, RegisterBrokerToControllerRequestHeader,
    RegisterBrokerToControllerResponseHeader,
};

use super::agent::{Answer, Failure, Question};
use crate::replication::{InSync, Standing};

/// Who asks.
pub(super) struct Asker {
    pub cluster: String,
    pub group: String,
    pub address: String,
}

impl Asker {
    /// A question as a command. `now_ms`: milliseconds since 1970.
    pub fn command(&self, question: &Question, now_ms: i64) -> Command {
        let (cluster, group) = (Some(&*self.cluster), Some(&*self.group));
        let now = Some(now_ms);
        match question {
            Question::Leader => Command::request(code::CONTROLLER_GET_METADATA_INFO),
            Question::NextId => Command::request(code::CONTROLLER_GET_NEXT_BROKER_ID)
                .with_header(&GetNextBrokerIdRequestHeader { cluster_name: cluster, broker_name: group }),
            Question::ApplyId { id, code: check } => {
                Command::request(code::CONTROLLER_APPLY_BROKER_ID).with_header(&ApplyBrokerIdRequestHeader {
                    cluster_name: cluster,
                    broker_name: group,
                    applied_broker_id: Some(*id),
                    register_check_code: Some(check),
                })
            }
            Question::Register { id } => Command::request(code::CONTROLLER_REGISTER_BROKER).with_header(
                &RegisterBrokerToControllerRequestHeader {
                    cluster_name: cluster,
                    broker_name: group,
                    broker_id: Some(*id),
                    broker_address: Some(&self.address),
                    invoke_time: now,
                },
            ),
            Question::Elect { id } => {
                Command::request(code::CONTROLLER_ELECT_MASTER).with_header(&ElectMasterRequestHeader {
                    cluster_name: &self.cluster,
                    broker_name: &self.group,
                    broker_id: *id,
                    designate_elect: false,
                    invoke_time: now,
                })
            }
            Question::Group => Command::request(code::CONTROLLER_GET_REPLICA_INFO)
                .with_header(&GetReplicaInfoRequestHeader { broker_name: group }),
            Question::AlterInSync { id, epoch, members, replaces } => {
                let set = SyncStateSet { sync_state_set: members.clone(), sync_state_set_epoch: *replaces };
                let header = AlterSyncStateSetRequestHeader {
                    broker_name: group,
                    master_broker_id: Some(*id),
                    master_epoch: Some(*epoch),
                    invoke_time: now,
                };
                Command::request(code::CONTROLLER_ALTER_SYNC_STATE_SET).with_header(&header).with_body(set.encode())
            }
        }
    }
}

/// What a command answers to a question.
pub(super) fn outcome(question: &Question, answer: Result<Command, String>) -> Result<Answer, Failure> {
    let answer = answer.map_err(Failure::Unreachable)?;
    let elected = matches!(question, Question::Elect { .. });
    // Who asks for an election while there is a master is told who that is.
    let is_told = elected && answer.code == response::CONTROLLER_MASTER_STILL_EXIST;
    if answer.code != response::SUCCESS && !is_told {
        let remark = answer.remark.as_deref().unwrap_or("no remark").to_owned();
        return Err(Failure::Refused { code: answer.code, remark });
    }
    read(question, &answer).map_err(|error| Failure::Unreachable(format!("its answer makes no sense: {error}")))
}

fn read(question: &Question, answer: &Command) -> Result<Answer, String> {
    let fields = &answer.fields;
    Ok(match question {
        Question::Leader => {
            let header = GetMetaDataResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            let address = header.controller_leader_address.filter(|address| !address.is_empty());
            Answer::Leader { address: address.map(str::to_owned), is_itself: header.is_leader == Some(true) }
        }
        Question::NextId => {
            let header = GetNextBrokerIdResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            Answer::Id(header.next_broker_id.filter(|id| *id > 0).ok_or("no number")?)
        }
        Question::ApplyId { .. } => Answer::Applied,
        Question::Register { .. } => {
            let header = RegisterBrokerToControllerResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            let master = (header.master_broker_id, header.master_address);
            Answer::Standing(standing(master, header.master_epoch, in_sync(&answer.body, header.sync_state_set_epoch)?))
        }
        Question::Elect { .. } => {
            let header = ElectMasterResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            let body = match answer.body.is_empty() {
                true => ElectMasterResponseBody::default(),
                false => ElectMasterResponseBody::decode(&answer.body).map_err(|error| error.to_string())?,
            };
            let members = body.sync_state_set.unwrap_or_default();
            let in_sync = InSync { members, epoch: header.sync_state_set_epoch.unwrap_or_default() };
            Answer::Standing(standing((header.master_broker_id, header.master_address), header.master_epoch, in_sync))
        }
        Question::Group => {
            let header = GetReplicaInfoResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            let master = (header.master_broker_id, header.master_address);
            Answer::Standing(standing(master, header.master_epoch, in_sync(&answer.body, None)?))
        }
        Question::AlterInSync { members, .. } => {
            let header = AlterSyncStateSetResponseHeader::decode(fields).map_err(|error| error.to_string())?;
            let epoch = header.new_sync_state_set_epoch.ok_or("no epoch of the set")?;
            Answer::InSync(InSync { members: members.clone(), epoch })
        }
    })
}

/// What `NOTIFY_BROKER_ROLE_CHANGED` says.
pub(crate) fn notice(request: &Command) -> Result<Standing, String> {
    let header = NotifyBrokerRoleChangedRequestHeader::decode(&request.fields).map_err(|error| error.to_string())?;
    let master = (header.master_broker_id, header.master_address);
    Ok(standing(master, header.master_epoch, in_sync(&request.body, header.sync_state_set_epoch)?))
}

fn standing((id, address): (Option<i64>, Option<&str>), epoch: Option<i32>, in_sync: InSync) -> Standing {
    let address = address.filter(|address| !address.is_empty()).map(str::to_owned);
    Standing { master: id.zip(address), epoch: epoch.unwrap_or_default(), in_sync }
}

fn in_sync(body: &[u8], epoch: Option<i32>) -> Result<InSync, String> {
    if body.is_empty() {
        return Ok(InSync { epoch: epoch.unwrap_or_default(), ..InSync::default() });
    }
    let set = SyncStateSet::decode(body).map_err(|error| error.to_string())?;
    Ok(InSync { members: set.sync_state_set, epoch: epoch.unwrap_or(set.sync_state_set_epoch) })
}
