//! Where other brokers have a topic, as the name servers tell it (upstream `TopicRouteInfoManager`). Asked for when it is
//! needed, and remembered for a while; how long is said by who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_net::{OwnedConn, Tcp, Unasked};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetRouteInfoRequestHeader, RpcFields};
use tokio::time::Instant;

/// How long one name server may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Routes that are remembered.
const MOST: usize = 10_000;

/// See the module.
pub(crate) struct Routes {
    name_servers: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Known>,
    conns: HashMap<String, Arc<OwnedConn>>,
    /// The name server that answered last: it is asked first.
    first: usize,
}

struct Known {
    asked: Instant,
    route: Arc<TopicRouteData>,
}

impl Routes {
    /// As these name servers tell: `host:port`, separated by semicolons.
    pub fn new(name_servers: &str) -> Self {
        let addresses = name_servers.split(';').map(str::trim).filter(|address| !address.is_empty());
        Self { name_servers: addresses.map(str::to_owned).collect(), state: Mutex::default() }
    }

    /// Where a topic is: one that no name server knows, or that there is nobody to ask for, is nowhere. While no name
    /// server answers it is where it was; `None` when that is not known.
    pub async fn of(&self, topic: &str, age: Duration) -> Option<Arc<TopicRouteData>> {
        let before = {
            let mut state = self.lock();
            let known = state.known.get_mut(topic);
            if let Some(known) = &known
                && known.asked.elapsed() < age
            {
                return Some(Arc::clone(&known.route));
            }
            known.map(|known| {
                // Others go on with what there is: one asks.
                known.asked = Instant::now();
                Arc::clone(&known.route)
            })
        };
        let Some(route) = self.ask(topic).await else { return before };
        let route = Arc::new(route);
        let mut state = self.lock();
        if state.known.len() >= MOST {
            state.known.clear();
        }
        state.known.insert(topic.to_owned(), Known { asked: Instant::now(), route: Arc::clone(&route) });
        Some(route)
    }

    /// A topic was not where its route says: who needs it next asks anew.
    pub fn forget(&self, topic: &str) {
        self.lock().known.remove(topic);
    }

    /// Asks one name server after the other.
    async fn ask(&self, topic: &str) -> Option<TopicRouteData> {
        let (first, count) = (self.lock().first, self.name_servers.len());
        if count == 0 {
            return Some(TopicRouteData::default());
        }
        for place in (first..first + count).map(|place| place % count) {
            let address = &self.name_servers[place];
            match self.ask_one(address, topic).await {
                Ok(route) => {
                    self.lock().first = place;
                    return Some(route);
                }
                Err(error) => {
                    tracing::debug!(name_server = address, topic, error, "a name server does not tell a route");
                }
            }
        }
        None
    }

    async fn ask_one(&self, address: &str, topic: &str) -> Result<TopicRouteData, String> {
        let conn = self.conn(address).await?;
        let rpc = RpcFields::default();
        let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc };
        let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let answer = conn.call(question, PATIENCE).await.map_err(|error| error.to_string())?;
        match answer.code {
            response::SUCCESS => TopicRouteData::decode(&answer.body).map_err(|error| error.to_string()),
            response::TOPIC_NOT_EXIST => Ok(TopicRouteData::default()),
            code => Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }

    async fn conn(&self, address: &str) -> Result<Arc<OwnedConn>, String> {
        let open = self.lock().conns.get(address).filter(|conn| conn.is_open()).cloned();
        if let Some(conn) = open {
            return Ok(conn);
        }
        let conn = OwnedConn::connect(&Tcp, address, Arc::new(Unasked), PATIENCE).await;
        let conn = Arc::new(conn.map_err(|error| error.to_string())?);
        self.lock().conns.insert(address.to_owned(), Arc::clone(&conn));
        Ok(conn)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
