//! Signs of life to a name server, and the question who of the group is up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_message::names;
use apogee_net::{Conn, OwnedConn, Service, Tcp};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, GetBrokerMemberGroupResponseBody, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    BrokerHeartbeatRequestHeader, GetBrokerMemberGroupRequestHeader, GetRouteInfoRequestHeader,
    QueryDataVersionRequestHeader, RpcFields,
};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::settings::BrokerSettings;

/// How long a name server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps in touch with one name server until the broker stops. One that cannot be reached is complained of where the
/// broker registers with it.
pub(crate) async fn keep_in_touch(broker: Arc<Broker>, address: String, service: Arc<dyn Service>) {
    let mut link = None;
    let mut asked = Instant::now();
    loop {
        let settings = broker.settings.load();
        let beat = Duration::from_millis(settings.broker_heartbeat_interval);
        let asks = asked <= Instant::now();
        if asks {
            asked = Instant::now() + Duration::from_millis(settings.sync_broker_member_group_period);
        }
        if let Err(error) = touch(&broker, &settings, &address, &service, &mut link, asks).await {
            tracing::debug!(name_server = address, error, "a name server does not answer");
            link = None;
        }
        drop(settings);
        tokio::select! {
            () = tokio::time::sleep(beat.min(asked.saturating_duration_since(Instant::now()))) => {}
            () = broker.acting.news.notified() => asked = Instant::now(),
            () = broker.life.reached(crate::life::Stage::Leaving) => return,
        }
    }
}

async fn touch(
    broker: &Broker,
    settings: &BrokerSettings,
    address: &str,
    service: &Arc<dyn Service>,
    link: &mut Option<OwnedConn>,
    asks: bool,
) -> Result<(), String> {
    let conn = match link.take().filter(|conn| conn.is_open()) {
        Some(conn) => conn,
        None => {
            let connected = OwnedConn::connect(&Tcp, address, Arc::clone(service), PATIENCE);
            connected.await.map_err(|error| error.to_string())?
        }
    };
    let conn = link.insert(conn);
    conn.send_oneway(sign_of_life(broker, settings));
    if asks {
        let members = match settings.compatible_with_old_name_srv {
            true => members_by_route(conn, settings).await,
            false => members(conn, settings).await,
        };
        broker.acting.heard(address, members?, broker.now());
        broker.acting.look(broker.copy_progress().is_some(), broker.now());
    }
    Ok(())
}

/// A sign of life; in the words of name servers before 5.0, a question for the version of the topics.
fn sign_of_life(broker: &Broker, settings: &BrokerSettings) -> Command {
    let (cluster_name, broker_name) = (settings.broker_cluster_name.as_str(), settings.broker_name.as_str());
    let broker_addr = broker.advertised.as_str();
    if settings.compatible_with_old_name_srv {
        let broker_id = settings.broker_id;
        let header = QueryDataVersionRequestHeader { broker_name, broker_addr, cluster_name, broker_id };
        return Command::request(request::QUERY_DATA_VERSION)
            .with_header(&header)
            .with_body(broker.topics.version().encode());
    }
    let header = BrokerHeartbeatRequestHeader {
        cluster_name,
        broker_addr,
        broker_name,
        broker_id: None,
        epoch: None,
        max_offset: None,
        confirm_offset: None,
        heartbeat_timeout_mills: None,
        election_priority: None,
    };
    Command::request(request::BROKER_HEARTBEAT).with_header(&header)
}

async fn members(conn: &Conn, settings: &BrokerSettings) -> Result<BTreeMap<i64, String>, String> {
    let header = GetBrokerMemberGroupRequestHeader {
        cluster_name: &settings.broker_cluster_name,
        broker_name: &settings.broker_name,
    };
    let answer = ask(conn, Command::request(request::GET_BROKER_MEMBER_GROUP).with_header(&header)).await?;
    let body = GetBrokerMemberGroupResponseBody::decode(&answer.body).map_err(|error| error.to_string())?;
    Ok(body.broker_member_group.map(|group| group.broker_addrs).unwrap_or_default())
}

/// The same from any name server: a topic of each group is for that.
async fn members_by_route(conn: &Conn, settings: &BrokerSettings) -> Result<BTreeMap<i64, String>, String> {
    let topic = names::member_topic(&settings.broker_name);
    let rpc = RpcFields::default();
    let header = GetRouteInfoRequestHeader { topic: &topic, accept_standard_json_only: Some(true), rpc };
    let answer = ask(conn, Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header)).await?;
    if answer.code == response::TOPIC_NOT_EXIST {
        return Ok(BTreeMap::new());
    }
    let route = TopicRouteData::decode(&answer.body).map_err(|error| error.to_string())?;
    let of_group = route.broker_datas.into_iter().find(|data| data.broker_name == settings.broker_name);
    Ok(of_group.map(|data| data.broker_addrs.into_iter().collect()).unwrap_or_default())
}

async fn ask(conn: &Conn, question: Command) -> Result<Command, String> {
    let answer = conn.call(question, PATIENCE).await.map_err(|error| error.to_string())?;
    match answer.code {
        // The name server knows nobody of that name.
        response::SUCCESS | response::TOPIC_NOT_EXIST => Ok(answer),
        code => Err(format!("it refused with code {code}: {}", answer.remark.unwrap_or_default())),
    }
}
