//! Asking name servers and brokers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{CallError, Conn, ConnectError, Limits, Service, Tcp, connect};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, BodyError, ClusterInfo, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetRouteInfoRequestHeader, HeaderError};
use tokio::sync::Mutex;

/// How long a peer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Id of a master among the brokers of one name.
const MASTER: i64 = 0;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No way to a peer.
    #[error("{0}; is it running, and is the address right (-n, or NAMESRV_ADDR)?")]
    Connect(#[from] ConnectError),
    /// A peer gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A peer refused.
    #[error("{peer} refused with code {code}: {remark}")]
    Refused {
        /// Who.
        peer: String,
        /// Its response code.
        code: i32,
        /// Its words.
        remark: String,
    },
    /// An answer cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// An answer cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The command line asks for what isn't there, or says too little.
    #[error("{0}")]
    Usage(String),
    /// The system refused.
    #[error("cannot start: {0}")]
    System(std::io::Error),
}

/// Connections to those who were asked already.
pub struct Admin {
    namesrv: Vec<String>,
    open: Mutex<HashMap<String, Arc<Conn>>>,
}

/// Peers ask nothing of an administrator.
struct Silent;

impl Service for Silent {
    fn request(&self, _: &Arc<Conn>, _: &Command) {}
}

impl Admin {
    /// Asks these name servers, separated by semicolons.
    pub fn new(namesrv: &str) -> Self {
        let addresses = namesrv.split([';', ',']).map(str::trim).filter(|address| !address.is_empty());
        Self { namesrv: addresses.map(str::to_owned).collect(), open: Mutex::default() }
    }

    /// Addresses of the name servers.
    pub fn namesrvs(&self) -> &[String] {
        &self.namesrv
    }

    /// Asks a peer; an answer that refuses is an error.
    pub async fn ask(&self, peer: &str, question: Command) -> Result<Command, AdminError> {
        let answer = self.answer(peer, question).await?;
        match answer.code {
            response::SUCCESS => Ok(answer),
            code => {
                let remark = answer.remark.unwrap_or_default();
                Err(AdminError::Refused { peer: peer.to_owned(), code, remark })
            }
        }
    }

    /// Asks a peer, whatever it answers.
    pub async fn answer(&self, peer: &str, question: Command) -> Result<Command, AdminError> {
        let conn = {
            let mut open = self.open.lock().await;
            match open.get(peer).filter(|conn| conn.is_open()) {
                Some(conn) => Arc::clone(conn),
                None => {
                    let conn = connect(&Tcp, peer, Arc::new(Silent), Limits::default(), PATIENCE).await?;
                    open.insert(peer.to_owned(), Arc::clone(&conn));
                    conn
                }
            }
        };
        Ok(conn.call(question, PATIENCE).await?)
    }

    /// Asks the first name server that answers.
    pub async fn ask_namesrv(&self, question: Command) -> Result<Command, AdminError> {
        let mut last = AdminError::Usage("no name server is given: use -n, or set NAMESRV_ADDR".to_owned());
        for peer in &self.namesrv {
            match self.ask(peer, question.clone()).await {
                Err(error @ (AdminError::Connect(_) | AdminError::Call(_))) => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// Asks every name server.
    pub async fn ask_all_namesrv(&self, question: &Command) -> Result<(), AdminError> {
        for peer in &self.namesrv {
            self.ask(peer, question.clone()).await?;
        }
        Ok(())
    }

    /// Clusters and brokers.
    pub async fn cluster(&self) -> Result<ClusterInfo, AdminError> {
        let answer = self.ask_namesrv(Command::request(request::GET_BROKER_CLUSTER_INFO)).await?;
        Ok(ClusterInfo::decode(&answer.body)?)
    }

    /// Addresses of the masters of a cluster, by broker name.
    pub async fn masters(&self, cluster: &str) -> Result<Vec<String>, AdminError> {
        let info = self.cluster().await?;
        let names = info.cluster_addr_table.get(cluster).ok_or_else(|| {
            let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
            AdminError::Usage(format!("there is no cluster `{cluster}`; there are: {}", known.join(", ")))
        })?;
        let address = |name: &String| info.broker_addr_table.get(name)?.broker_addrs.get(&MASTER).cloned();
        Ok(names.iter().filter_map(address).collect())
    }

    /// The broker given, or the masters of the cluster given.
    pub async fn targets(&self, broker: Option<&str>, cluster: Option<&str>) -> Result<Vec<String>, AdminError> {
        match (broker, cluster) {
            (Some(broker), _) => Ok(vec![broker.to_owned()]),
            (None, Some(cluster)) => self.masters(cluster).await,
            (None, None) => Err(AdminError::Usage("give a broker (-b ADDRESS) or a cluster (-c NAME)".to_owned())),
        }
    }

    /// Which brokers have a topic.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, AdminError> {
        let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: None, rpc: Default::default() };
        let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        Ok(TopicRouteData::decode(&self.ask_namesrv(question).await?.body)?)
    }

    /// Masters that have a topic: name and address.
    pub async fn brokers_of(&self, topic: &str) -> Result<Vec<(String, String)>, AdminError> {
        let route = self.route(topic).await?;
        let master = |broker: apogee_wire::bodies::BrokerData| {
            let address = broker.broker_addrs.get(&MASTER)?.clone();
            Some((broker.broker_name, address))
        };
        Ok(route.broker_datas.into_iter().filter_map(master).collect())
    }
}
