//! Controllers, which elect masters (upstream `ControllerManager`): ours and Apache's.

use std::collections::BTreeMap;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, BrokerReplicasInfo, ElectMasterResponseBody, ReplicaIdentity, ReplicasInfo};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    CleanControllerBrokerDataRequestHeader, ElectMasterRequestHeader, ElectMasterResponseHeader,
    GetMetaDataResponseHeader,
};

use super::broker::{settings, text_of};
use super::{Admin, At, body};
use crate::Error;

/// Controllers of a cluster; made by [`Admin::controllers`].
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let controllers = admin.controllers("10.0.0.1:9878;10.0.0.2:9878")?;
/// println!("{} leads", controllers.state().await?.leader_address);
/// for (broker, set) in controllers.replicas(&["broker-a"]).await? {
///     println!("{broker}: {:?}, {} in step", set.master_address, set.in_step.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Controllers {
    admin: Admin,
    addresses: Vec<String>,
}

/// What a controller says of its group; see [`Controllers::state`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerState {
    /// Name of the controllers' group.
    pub group: String,
    /// Id of the one that leads; empty while none does.
    pub leader_id: String,
    /// Where that one is.
    pub leader_address: String,
    /// The controllers, as `id:host:port`.
    pub peers: Vec<String>,
}

/// A broker and its replicas, as a controller has them; see [`Controllers::replicas`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Id of the master; `None` while there is none.
    pub master_id: Option<i64>,
    /// Where the master is.
    pub master_address: Option<String>,
    /// How often a master was elected.
    pub master_epoch: i32,
    /// How often the set of those in step has changed.
    pub set_epoch: i32,
    /// Those that have all that was acknowledged, the master among them.
    pub in_step: Vec<ReplicaId>,
    /// The others.
    pub behind: Vec<ReplicaId>,
}

/// One of the replicas of a broker; see [`ReplicaSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaId {
    /// The broker's name.
    pub broker: String,
    /// Its id.
    pub id: i64,
    /// Where it is.
    pub address: String,
    /// The controller hears from it.
    pub is_alive: bool,
}

/// The outcome of an election; see [`Controllers::elect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    /// Where the master is.
    pub master_address: Option<String>,
    /// How often a master was elected.
    pub master_epoch: Option<i32>,
    /// How often the set of those in step has changed.
    pub set_epoch: Option<i32>,
    /// Addresses of the brokers of that name, by id.
    pub brokers: BTreeMap<i64, String>,
}

impl ReplicaSet {
    fn of(info: ReplicasInfo) -> Self {
        let replicas = |list: Vec<ReplicaIdentity>| {
            let replica = |replica: ReplicaIdentity| ReplicaId {
                broker: replica.broker_name.unwrap_or_default(),
                id: replica.broker_id.unwrap_or_default(),
                address: replica.broker_address.unwrap_or_default(),
                is_alive: replica.alive.unwrap_or_default(),
            };
            list.into_iter().map(replica).collect()
        };
        Self {
            master_id: info.master_broker_id,
            master_address: info.master_address,
            master_epoch: info.master_epoch,
            set_epoch: info.sync_state_set_epoch,
            in_step: replicas(info.in_sync_replicas),
            behind: replicas(info.not_in_sync_replicas),
        }
    }
}

impl Admin {
    /// Controllers at addresses (`host:port`), separated by semicolons.
    ///
    /// # Errors
    /// When no address is given.
    pub fn controllers(&self, addresses: &str) -> Result<Controllers, Error> {
        let addresses: Vec<_> = addresses.split([';', ',']).map(str::trim).filter(|one| !one.is_empty()).collect();
        match addresses.is_empty() {
            true => Err(Error::Argument("no address of a controller is given".to_owned())),
            false => {
                Ok(Controllers { admin: self.clone(), addresses: addresses.into_iter().map(str::to_owned).collect() })
            }
        }
    }
}

impl Controllers {
    /// Who leads, and who is there, from the first that answers.
    ///
    /// # Errors
    /// When none answers, or it refuses.
    pub async fn state(&self) -> Result<ControllerState, Error> {
        let question = Command::request(request::CONTROLLER_GET_METADATA_INFO);
        let mut failed = None;
        for address in &self.addresses {
            let answer = match self.admin.call(address, &question).await {
                Err(error @ (Error::Connect(_) | Error::Call(_))) => {
                    failed = Some(error);
                    continue;
                }
                answer => answer?,
            };
            let head: GetMetaDataResponseHeader<'_> =
                answer.header().map_err(|error| Error::header(address, &error))?;
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let peers = head.peers.unwrap_or_default().split(';').filter(|peer| !peer.is_empty());
            return Ok(ControllerState {
                group: text(head.group),
                leader_id: text(head.controller_leader_id),
                leader_address: text(head.controller_leader_address),
                peers: peers.map(str::to_owned).collect(),
            });
        }
        Err(failed.unwrap_or_else(|| Error::Argument("no address of a controller is given".to_owned())))
    }

    async fn leader(&self) -> Result<String, Error> {
        let state = self.state().await?;
        match state.leader_address.is_empty() {
            true => Err(Error::Argument(format!(
                "the controllers at {} have no leader now: try again when most of them are there",
                self.addresses.join(";")
            ))),
            false => Ok(state.leader_address),
        }
    }

    /// The replicas of brokers, by name. Names that the controllers don't know are left out.
    ///
    /// # Errors
    /// When there is no leader, or it refuses or doesn't answer.
    pub async fn replicas(&self, brokers: &[&str]) -> Result<BTreeMap<String, ReplicaSet>, Error> {
        let names: Vec<String> = brokers.iter().map(|name| (*name).to_owned()).collect();
        let question = Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(names.encode());
        let info: BrokerReplicasInfo = self.admin.body(&self.leader().await?, &question).await?;
        Ok(info.replicas_info_table.into_iter().map(|(name, info)| (name, ReplicaSet::of(info))).collect())
    }

    /// Has a broker made the master of its name. What it lacks of the log is lost, unless it is in step.
    ///
    /// # Errors
    /// When there is no leader, or it refuses or doesn't answer.
    pub async fn elect(&self, cluster: &str, broker: &str, id: i64) -> Result<Elected, Error> {
        let header = ElectMasterRequestHeader {
            cluster_name: cluster,
            broker_name: broker,
            broker_id: id,
            designate_elect: true,
            invoke_time: Some(self.admin.shared.now_ms()),
        };
        let leader = self.leader().await?;
        let question = Command::request(request::CONTROLLER_ELECT_MASTER).with_header(&header);
        let answer = self.admin.call(&leader, &question).await?;
        let head: ElectMasterResponseHeader<'_> = answer.header().map_err(|error| Error::header(&leader, &error))?;
        let members = match answer.body.is_empty() {
            true => None,
            false => body::<ElectMasterResponseBody>(&leader, &answer)?.broker_member_group,
        };
        Ok(Elected {
            master_address: head.master_address.map(str::to_owned),
            master_epoch: head.master_epoch,
            set_epoch: head.sync_state_set_epoch,
            brokers: members.map(|members| members.broker_addrs).unwrap_or_default(),
        })
    }

    /// Has the controllers forget replicas of a broker, all of them when no ids are given; those they hear from only
    /// when that is wanted.
    ///
    /// # Errors
    /// When there is no leader, or it refuses or doesn't answer.
    pub async fn forget(
        &self,
        cluster: Option<&str>,
        broker: &str,
        ids: &[i64],
        even_if_alive: bool,
    ) -> Result<(), Error> {
        let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
        let ids = ids.join(";");
        let header = CleanControllerBrokerDataRequestHeader {
            cluster_name: cluster,
            broker_name: broker,
            broker_controller_ids_to_clean: Some(&*ids).filter(|ids| !ids.is_empty()),
            is_clean_living_broker: Some(even_if_alive),
            invoke_time: Some(self.admin.shared.now_ms()),
        };
        let question = Command::request(request::CLEAN_BROKER_DATA).with_header(&header);
        self.admin.call(&self.leader().await?, &question).await.map(drop)
    }

    /// The settings of each controller, by name.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn settings(&self) -> Result<Vec<At<BTreeMap<String, String>>>, Error> {
        let answers = self.all(&Command::request(request::GET_CONTROLLER_CONFIG)).await?;
        Ok(answers.into_iter().map(|answer| At { value: settings(&answer.value), address: answer.address }).collect())
    }

    /// Changes settings of all controllers.
    ///
    /// # Errors
    /// When a name or value is none, or one refuses or doesn't answer.
    pub async fn set_settings(&self, settings: &[(&str, &str)]) -> Result<(), Error> {
        self.all(&Command::request(request::UPDATE_CONTROLLER_CONFIG).with_body(text_of(settings)?)).await.map(drop)
    }

    async fn all(&self, question: &Command) -> Result<Vec<At<Command>>, Error> {
        let mut answers = Vec::new();
        for address in &self.addresses {
            answers.push(At { address: address.clone(), value: self.admin.call(address, question).await? });
        }
        Ok(answers)
    }
}
