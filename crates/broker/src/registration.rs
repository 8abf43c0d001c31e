//! Telling the name servers what this broker has (upstream `BrokerOuterAPI.registerBrokerAll`).
//!
//! One task for each name server, each with a connection of its own: one that is down delays no
//! other. A registration is repeated every half minute and soon after the topics changed.

use std::sync::Arc;
use std::time::Duration;

use apogee_net::{Conn, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, DataVersion, RegisterBrokerBody, TopicConfigAndMappingSerializeWrapper};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    DecodeHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader,
    UnRegisterBrokerRequestHeader,
};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::life::Stage;
use crate::settings::BrokerSettings;

/// Changes that come within this time are registered together.
const COALESCE: Duration = Duration::from_millis(20);
/// Pause before a name server that could not be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// From so many topics on, a registration is compressed.
const COMPRESS_FROM: usize = 500;

/// Keeps this broker registered with one name server until the broker stops.
pub(crate) async fn keep_registered(
    broker: Arc<Broker>,
    address: String,
    service: Arc<dyn Service>,
    mut changes: watch::Receiver<u64>,
) {
    let mut session = Session { broker: &broker, address: &address, service, conn: None, registered: None };
    let mut complained = false;
    loop {
        let seen = *changes.borrow_and_update();
        let settings = broker.settings.load();
        let registered = tokio::select! {
            registered = session.register(&settings) => registered,
            // One that does not answer keeps nobody from stopping.
            () = broker.life.reached(Stage::Leaving) => break,
        };
        let wait = match registered {
            Ok(()) => {
                if complained {
                    tracing::info!(name_server = address, "registered with a name server again");
                }
                complained = false;
                broker.registered(seen);
                Duration::from_millis(settings.register_name_server_period)
            }
            Err(error) => {
                if !complained {
                    tracing::warn!(
                        name_server = address,
                        error,
                        "cannot register with a name server; trying again every second"
                    );
                }
                complained = true;
                session.conn = None;
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = changes.changed() => {
                if changed.is_err() || broker.life.is_at(Stage::Leaving) {
                    break;
                }
                tokio::time::sleep(COALESCE).await;
            }
        }
        if broker.life.is_at(Stage::Leaving) {
            break;
        }
    }
    session.unregister(&broker.settings.load()).await;
}

struct Session<'b> {
    broker: &'b Arc<Broker>,
    address: &'b str,
    service: Arc<dyn Service>,
    conn: Option<Arc<Conn>>,
    /// Version of the topics that this name server has, over this connection.
    registered: Option<DataVersion>,
}

impl Session<'_> {
    async fn register(&mut self, settings: &BrokerSettings) -> Result<(), String> {
        let timeout = Duration::from_millis(settings.register_broker_timeout_mills);
        let conn = match self.conn.take().filter(|conn| conn.is_open()) {
            Some(conn) => conn,
            None => {
                self.registered = None;
                let connected = connect(
                    self.address,
                    Arc::clone(&self.service),
                    Limits::default(),
                    timeout.min(Duration::from_secs(3)),
                );
                connected.await.map_err(|error| error.to_string())?
            }
        };
        self.conn = Some(Arc::clone(&conn));
        let version = self.broker.topics.version();
        if !settings.force_register
            && self.registered == Some(version)
            && self.has(&conn, settings, version, timeout).await?
        {
            return Ok(());
        }
        self.send(&conn, settings, timeout).await?;
        self.registered = Some(version);
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
        let question = Command::request(request::QUERY_DATA_VERSION).with_body(version.encode()).with_header(
            &QueryDataVersionRequestHeader {
                broker_name: &settings.broker_name,
                broker_addr: &self.broker.advertised,
                cluster_name: &settings.broker_cluster_name,
                broker_id: settings.broker_id,
            },
        );
        let answer = conn.call(question, timeout).await.map_err(|error| error.to_string())?;
        let header = QueryDataVersionResponseHeader::decode(&answer.fields);
        Ok(answer.code == response::SUCCESS && header.is_ok_and(|header| !header.changed))
    }

    async fn send(&self, conn: &Conn, settings: &BrokerSettings, timeout: Duration) -> Result<(), String> {
        let topics = self.broker.topics.snapshot();
        let many = topics.topic_config_table.len() >= COMPRESS_FROM;
        let mut topics = TopicConfigAndMappingSerializeWrapper {
            data_version: topics.data_version,
            topic_config_table: topics.topic_config_table,
            ..Default::default()
        };
        // What the broker as a whole forbids, no topic allows.
        for topic in topics.topic_config_table.values_mut() {
            topic.perm &= settings.broker_permission | crate::topics::perm::INHERIT;
        }
        let body = RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: topics };
        let body = match many {
            true => body.encode_compressed().map_err(|error| format!("the registration cannot be written: {error}"))?,
            false => body.encode(),
        };
        let header = RegisterBrokerRequestHeader {
            broker_name: &settings.broker_name,
            broker_addr: &self.broker.advertised,
            cluster_name: &settings.broker_cluster_name,
            ha_server_addr: &self.broker.ha_address,
            broker_id: settings.broker_id,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: Some(many),
            body_crc32: Some(apogee_message::crc31(&body) as i32),
        };
        let registration = Command::request(request::REGISTER_BROKER).with_header(&header).with_body(body);
        let answer = conn.call(registration, timeout).await.map_err(|error| error.to_string())?;
        match answer.code {
            response::SUCCESS => Ok(()),
            code => Err(format!("it refused with code {code}: {}", answer.remark.unwrap_or_default())),
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
        conn.close("the broker stops");
    }
}
