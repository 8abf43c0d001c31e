//! One function per request: from the request to its answer.

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};

use crate::error::NamesrvError;
use crate::kv::KvConfig;
use crate::server::Shared;

mod broker;
mod config;
mod kv;
mod topic;

type Answer = Result<Command, NamesrvError>;

/// Answers a request that came by the connection `link`.
pub(crate) fn serve(shared: &Shared, link: u64, request: &Command) -> Answer {
    match request.code {
        code::GET_ROUTEINFO_BY_TOPIC => topic::route(shared, request),
        code::REGISTER_BROKER => broker::register(shared, link, request),
        code::UNREGISTER_BROKER => broker::unregister(shared, link, request),
        code::BROKER_HEARTBEAT => broker::heartbeat(shared, request),
        code::QUERY_DATA_VERSION => broker::data_version(shared, request),
        code::GET_BROKER_CLUSTER_INFO => broker::clusters(shared, request),
        code::GET_BROKER_MEMBER_GROUP => broker::member_group(shared, request),
        code::WIPE_WRITE_PERM_OF_BROKER => broker::wipe_write(shared, request),
        code::ADD_WRITE_PERM_OF_BROKER => broker::add_write(shared, request),
        code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => topic::all(shared, request),
        code::GET_TOPICS_BY_CLUSTER => topic::of_cluster(shared, request),
        code::GET_SYSTEM_TOPIC_LIST_FROM_NS => topic::system(shared, request),
        code::GET_UNIT_TOPIC_LIST | code::GET_HAS_UNIT_SUB_TOPIC_LIST | code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
            topic::of_units(shared, request)
        }
        code::REGISTER_TOPIC_IN_NAMESRV => topic::register(shared, request),
        code::DELETE_TOPIC_IN_NAMESRV => topic::delete(shared, request),
        code::GET_KV_CONFIG => kv::get(shared, request),
        code::GET_KVLIST_BY_NAMESPACE => kv::namespace(shared, request),
        code::GET_NAMESRV_CONFIG => config::get(shared, request),
        unknown => Err(NamesrvError::UnknownCode(unknown)),
    }
}

/// Answers a request on the thread for those that take long.
pub(crate) fn serve_long(shared: &Shared, kv_config: &mut KvConfig, conn: &Conn, request: &Command) -> Answer {
    match request.code {
        code::PUT_KV_CONFIG => kv::put(kv_config, request),
        code::DELETE_KV_CONFIG => kv::delete(kv_config, request),
        code::UPDATE_NAMESRV_CONFIG => config::update(shared, conn.peer(), request),
        _ => serve(shared, conn.id(), request),
    }
}

/// A success without a header or body.
fn success(request: &Command) -> Command {
    Command::response_to(request, response::SUCCESS)
}
