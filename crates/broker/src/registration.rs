//! Telling the name servers what this broker has (upstream `BrokerOuterAPI.registerBrokerAll`).
//!
//! One task for each name server, each with a connection of its own: one that is down delays no
//! other. When it is reached it gets all topics, and then at once each time those that changed. Every
//! half minute it is asked whether it still has the version that it got, and gets all if it has not; and soon after its
//! connection was closed, because it may have begun anew.
//!
//! A registration of a few topics takes all others from the broker where the name server has
//! `deleteTopicWithBrokerRegistration=true`, and nothing in the protocol says that more are known. So it
//! is asked for that setting, too, and if it has it, or doesn't tell, it always gets all.
//!
//! A slave learns from the answers where its master is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{Conn, OwnedConn, Service, Tcp};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, DataVersion, GetBrokerMemberGroupResponseBody, RegisterBrokerBody, TopicConfig,
    TopicConfigAndMappingSerializeWrapper, TopicQueueMappingInfo,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    DecodeHeader, GetBrokerMemberGroupRequestHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::life::Stage;
use crate::replication::{MasterPlace, Role};
use crate::settings::BrokerSettings;

/// Changes that come within this time are registered together where all topics are sent each time.
const COALESCE: Duration = Duration::from_millis(20);
/// Pause before a name server that could not be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// A slave asks so often who its master is: that may have begun anew elsewhere.
const MASTER_LOOK: Duration = Duration::from_secs(3);
/// The id of a master.
const MASTER: i64 = 0;
/// From so many topics on, a registration is compressed.
const COMPRESS_FROM: usize = 500;

/// Keeps this broker registered with one name server until the broker stops.
pub(crate) async fn keep_registered(
    broker: Arc<Broker>,
    address: String,
    service: Arc<dyn Service>,
    mut changes: watch::Receiver<u64>,
) {
    tokio::select! {
        () = broker.acting.wait_online() => {}
        () = broker.life.reached(Stage::Leaving) => return,
    }
    let gone = Arc::new(Notify::new());
    let service = Arc::new(Watched { service, gone: Arc::clone(&gone) });
    let mut session =
        Session { broker: &broker, address: &address, service, conn: None, registered: None, adds: false };
    let mut complained = false;
    // When it is to be asked what it has.
    let mut due = Instant::now();
    'registered: loop {
        let seen = *changes.borrow_and_update();
        let settings = broker.settings.load();
        let is_due = Instant::now() >= due;
        let registered = tokio::select! {
            registered = session.register(&settings, is_due) => registered,
            // One that does not answer keeps nobody from stopping.
            () = broker.life.reached(Stage::Leaving) => break,
        };
        match registered {
            Ok(()) => {
                if complained {
                    tracing::info!(name_server = address, "registered with a name server again");
                }
                complained = false;
                broker.registered(seen);
                if is_due {
                    let period = Duration::from_millis(settings.register_name_server_period);
                    due = Instant::now() + if broker.looks_for_master() { MASTER_LOOK } else { period };
                }
            }
            Err(error) => {
                if !complained {
                    tracing::warn!(
                        name_server = address,
                        error,
                        "cannot register with a name server; trying again every second: check namesrvAddr, and whether it is up"
                    );
                }
                complained = true;
                session.conn = None;
                session.adds = false;
                due = Instant::now() + PAUSE;
            }
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => break,
                changed = changes.changed() => {
                    if changed.is_err() || broker.life.is_at(Stage::Leaving) {
                        break 'registered;
                    }
                    if !session.adds {
                        tokio::time::sleep(COALESCE).await;
                    }
                    break;
                }
                // It may have begun anew, and know nothing.
                () = gone.notified() => due = due.min(Instant::now() + PAUSE),
            }
        }
        if broker.life.is_at(Stage::Leaving) {
            break;
        }
    }
    session.unregister(&broker.settings.load()).await;
}

/// A service that tells when its connection is gone.
struct Watched {
    service: Arc<dyn Service>,
    gone: Arc<Notify>,
}

impl Service for Watched {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        self.service.request(conn, request);
    }

    fn batch_end(&self, conn: &Arc<Conn>) {
        self.service.batch_end(conn);
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.service.closed(conn);
        self.gone.notify_one();
    }
}

struct Session<'b> {
    broker: &'b Arc<Broker>,
    address: &'b str,
    service: Arc<dyn Service>,
    /// Dropped, it tells the name server at once that nobody speaks for the broker here any more.
    conn: Option<OwnedConn>,
    /// What this name server has, over this connection.
    registered: Option<Registered>,
    /// Whether a registration of some topics leaves the others alone.
    adds: bool,
}

/// What a registration said.
#[derive(Clone, Copy, PartialEq)]
struct Registered {
    version: DataVersion,
    permission: i32,
}

impl Session<'_> {
    /// Tells the name server what it lacks. `is_due`: after asking what it has.
    async fn register(&mut self, settings: &BrokerSettings, is_due: bool) -> Result<(), String> {
        let timeout = Duration::from_millis(settings.register_broker_timeout_mills);
        let conn = match self.conn.take().filter(|conn| conn.is_open()) {
            Some(conn) => conn,
            None => {
                self.registered = None;
                let patience = timeout.min(Duration::from_secs(3));
                let connected = OwnedConn::connect(&Tcp, self.address, Arc::clone(&self.service), patience);
                connected.await.map_err(|error| error.to_string())?
            }
        };
        let conn = Arc::clone(self.conn.insert(conn));
        if is_due || self.registered.is_none() {
            let added = std::mem::replace(&mut self.adds, adds(&conn, timeout).await?);
            let has_all = match self.registered {
                // If the setting changed, one may have been read in another way than it was meant.
                Some(known) if added == self.adds && !settings.force_register => {
                    self.has(&conn, settings, known.version, timeout).await?
                }
                _ => false,
            };
            if !has_all {
                self.registered = None;
            } else if self.broker.looks_for_master() {
                self.find_master(&conn, settings, timeout).await?;
            }
        }
        let known = self.registered.filter(|known| known.permission == settings.broker_permission);
        let changes = known.and_then(|known| self.broker.topics.changes_since(known.version));
        let (version, body, compressed) = match changes.map(|changes| changes.put) {
            Some(some) if some.data_version == known.map(|known| known.version) => return Ok(()),
            Some(some) if self.adds => {
                let version = some.data_version.unwrap_or_default();
                let statics = self.broker.statics.infos(some.topic_config_table.keys().map(String::as_str));
                encoded(settings, [version, told(self.broker, version)], some.topic_config_table.into_values(), statics)
            }
            _ => {
                let all = self.broker.topics.snapshot();
                let topics = &all.topic_config_table.0;
                let statics = self.broker.statics.infos(topics.iter().map(|topic| &*topic.name));
                let topics = topics.iter().map(|topic| topic.config.clone());
                let version = all.data_version;
                encoded(settings, [version, told(self.broker, version)], topics, statics)
            }
        }?;
        self.registered = None;
        self.send(&conn, settings, body, compressed, timeout).await?;
        self.registered = Some(Registered { version, permission: settings.broker_permission });
        Ok(())
    }

    /// Asks whether the name server has this version of the topics; a sign of life at the same time.
    async fn has(
        &self,
        conn: &Conn,
        settings: &BrokerSettings,
        version: DataVersion,
        timeout: Duration,
    ) -> Result<bool, String> {
        let question = Command::request(request::QUERY_DATA_VERSION)
            .with_body(told(self.broker, version).encode())
            .with_header(&QueryDataVersionRequestHeader {
                broker_name: &settings.broker_name,
                broker_addr: &self.broker.advertised,
                cluster_name: &settings.broker_cluster_name,
                broker_id: settings.broker_id,
            });
        let answer = conn.call(question, timeout).await.map_err(|error| error.to_string())?;
        let header = QueryDataVersionResponseHeader::decode(&answer.fields);
        Ok(answer.code == response::SUCCESS && header.is_ok_and(|header| !header.changed))
    }

    async fn send(
        &self,
        conn: &Conn,
        settings: &BrokerSettings,
        body: Vec<u8>,
        compressed: bool,
        timeout: Duration,
    ) -> Result<(), String> {
        let header = RegisterBrokerRequestHeader {
            broker_name: &settings.broker_name,
            broker_addr: &self.broker.advertised,
            cluster_name: &settings.broker_cluster_name,
            ha_server_addr: &self.broker.ha_address,
            broker_id: settings.broker_id,
            heartbeat_timeout_millis: settings
                .enable_slave_acting_master
                .then_some(settings.broker_not_active_timeout_millis),
            enable_acting_master: Some(settings.enable_slave_acting_master),
            compressed: Some(compressed),
            body_crc32: Some(apogee_message::crc31(&body) as i32),
        };
        let registration = Command::request(request::REGISTER_BROKER).with_header(&header).with_body(body);
        let answer = conn.call(registration, timeout).await.map_err(|error| error.to_string())?;
        match answer.code {
            response::SUCCESS => {
                if let Ok(header) = RegisterBrokerResponseHeader::decode(&answer.fields)
                    && let Some(master) = header.master_addr.filter(|address| !address.is_empty())
                {
                    self.follow(settings, master, header.ha_server_addr.filter(|address| !address.is_empty()));
                }
                Ok(())
            }
            code => Err(format!("it refused with code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }

    /// Asks who the master of the group is. A name server that does not know that request tells it with the next
    /// registration.
    async fn find_master(&self, conn: &Conn, settings: &BrokerSettings, timeout: Duration) -> Result<(), String> {
        let question =
            Command::request(request::GET_BROKER_MEMBER_GROUP).with_header(&GetBrokerMemberGroupRequestHeader {
                cluster_name: &settings.broker_cluster_name,
                broker_name: &settings.broker_name,
            });
        let answer = conn.call(question, timeout).await.map_err(|error| error.to_string())?;
        let group = GetBrokerMemberGroupResponseBody::decode(&answer.body).unwrap_or_default().broker_member_group;
        let known = self.broker.replication.master().borrow().broker.clone();
        if answer.code == response::SUCCESS
            && let Some(master) = group.as_ref().and_then(|group| group.broker_addrs.get(&MASTER))
            && known.as_ref() != Some(master)
        {
            self.follow(settings, master, None);
        }
        Ok(())
    }

    /// The master of a slave is here. Where slaves copy from, an operator may know better.
    fn follow(&self, settings: &BrokerSettings, master: &str, ha: Option<&str>) {
        if !self.broker.looks_for_master() {
            return;
        }
        let set = Some(&*settings.ha_master_address).filter(|address| !address.is_empty());
        let place = MasterPlace { broker: Some(master.to_owned()), ha: set.or(ha).map(str::to_owned) };
        if *self.broker.replication.master().borrow() != place {
            tracing::info!(name_server = self.address, master, ha = place.ha, "a name server tells who the master is");
            self.broker.replication.follow(place);
        }
    }

    async fn unregister(&self, settings: &BrokerSettings) {
        let Some(conn) = &self.conn else { return };
        let goodbye = Command::request(request::UNREGISTER_BROKER).with_header(&UnRegisterBrokerRequestHeader {
            broker_name: &settings.broker_name,
            broker_addr: &self.broker.advertised,
            cluster_name: &settings.broker_cluster_name,
            broker_id: settings.broker_id,
        });
        // A name server that is gone forgets the broker by itself.
        let _ = conn.call(goodbye, Duration::from_secs(1)).await;
    }
}

/// A version of the topics as name servers are told it. It begins with the epoch of an elected master: what one says
/// that was replaced counts for nothing beside what the newer one says.
fn told(broker: &Broker, version: DataVersion) -> DataVersion {
    match broker.replication.role() {
        Role::Master(elected) => DataVersion { state_version: elected.epoch.into(), ..version },
        Role::AsSet | Role::Slave(_) => version,
    }
}

/// A registration's version and body, and whether that is compressed: then the topics are never all there at once.
fn encoded(
    settings: &BrokerSettings,
    [version, told]: [DataVersion; 2],
    topics: impl ExactSizeIterator<Item = TopicConfig>,
    statics: BTreeMap<String, TopicQueueMappingInfo>,
) -> Result<(DataVersion, Vec<u8>, bool), String> {
    let compressed = topics.len() >= COMPRESS_FROM;
    // What the broker as a whole forbids, no topic allows.
    let allowed = settings.broker_permission | crate::topics::perm::INHERIT;
    let topics = topics.map(|topic| TopicConfig { perm: topic.perm & allowed, ..topic });
    let body = if compressed {
        let body = RegisterBrokerBody::compress_topics(told, topics, &statics);
        body.map_err(|error| format!("the registration cannot be written: {error}"))?
    } else {
        let topics = TopicConfigAndMappingSerializeWrapper {
            data_version: Some(told),
            topic_config_table: topics.map(|topic| (topic.topic_name.clone(), topic)).collect(),
            topic_queue_mapping_info_map: statics,
            ..Default::default()
        };
        RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: topics }.encode()
    };
    Ok((version, body, compressed))
}

/// Whether a name server keeps the topics that a registration does not name.
async fn adds(conn: &Conn, timeout: Duration) -> Result<bool, String> {
    let question = Command::request(request::GET_NAMESRV_CONFIG);
    let answer = conn.call(question, timeout).await.map_err(|error| error.to_string())?;
    let settings = String::from_utf8_lossy(&answer.body);
    let kept = |line: &str| line.trim().strip_prefix("deleteTopicWithBrokerRegistration=") == Some("false");
    Ok(answer.code == response::SUCCESS && settings.lines().any(kept))
}
