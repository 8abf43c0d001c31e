//! Where brokers are: by address, or by what a name server knows.

use std::net::{SocketAddr, ToSocketAddrs};

use apogee_message::names::AUTO_CREATE_TOPIC;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetRouteInfoRequestHeader, RpcFields};

use crate::caller::{Caller, code_and_remark};
use crate::error::BenchError;

/// The id of a broker's master among its replicas.
const MASTER: i64 = 0;

/// The address of a peer that is given as HOST:PORT.
pub(crate) fn address(peer: &str) -> Result<SocketAddr, BenchError> {
    let found = peer.to_socket_addrs().map_err(|error| {
        BenchError::new(format!("`{peer}`: {error}; an address is HOST:PORT, such as 127.0.0.1:10911"))
    })?;
    // A name may have an address of IPv6 that nobody listens on.
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| BenchError::new(format!("`{peer}` has no address")))
}

/// The address of the broker that has a topic, or would create it.
pub(crate) fn broker(namesrv: &str, topic: &str) -> Result<String, BenchError> {
    let mut caller = Caller::to("name server", namesrv)?;
    let mut answer = caller.call(route(topic))?;
    if answer.code == response::TOPIC_NOT_EXIST {
        answer = caller.call(route(AUTO_CREATE_TOPIC))?;
    }
    if answer.code != response::SUCCESS {
        let text = code_and_remark(&answer);
        return Err(BenchError::new(format!("the name server at {namesrv} does not know where {topic} is: {text}")));
    }
    let route = TopicRouteData::decode(&answer.body);
    let route = route.map_err(|error| BenchError::system("the name server's answer cannot be read", error))?;
    let mut masters: Vec<String> =
        route.broker_datas.into_iter().filter_map(|mut broker| broker.broker_addrs.remove(&MASTER)).collect();
    match masters.pop() {
        Some(address) if masters.is_empty() => Ok(address),
        Some(last) => Err(BenchError::new(format!(
            "{topic} is on several brokers: choose one by --broker ({}, {last})",
            masters.join(", ")
        ))),
        None => Err(BenchError::new(format!("the name server at {namesrv} knows no master of {topic}"))),
    }
}

fn route(topic: &str) -> Command {
    let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc: RpcFields::default() };
    Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header)
}
