//! Routes of topics, and lists of them.

use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicList, TopicRouteData};
use apogee_wire::codes::request as code;
use apogee_wire::headers::{
    DeleteTopicFromNamesrvRequestHeader, GetRouteInfoRequestHeader, GetTopicsByClusterRequestHeader,
    RegisterTopicRequestHeader,
};

use super::broker::ZONE_NAME;
use super::{Answer, success};
use crate::error::NamesrvError;
use crate::kv::ORDER_TOPICS;
use crate::routes::{RouteOptions, TopicEntry, Units};
use crate::server::Shared;

/// Ext field by which a client says that it wants brokers of its zone only.
const ZONE_MODE: &str = "__ZONE_MODE";
/// Version number of 4.9.4, from which on clients read standard JSON.
const V4_9_4: i32 = 401;

pub(super) fn route(shared: &Shared, request: &Command) -> Answer {
    let header: GetRouteInfoRequestHeader<'_> = request.header()?;
    let settings = shared.settings.load();
    if shared.waits_ms() > 0 {
        return Err(NamesrvError::NotReady(settings.wait_seconds_for_service));
    }
    let by_zone = request.fields.get(ZONE_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("true"));
    let options = RouteOptions {
        acting_master: settings.support_acting_master,
        zone: request.fields.get(ZONE_NAME).filter(|zone| by_zone && !zone.trim().is_empty()),
    };
    let mut route = shared.routes.route(header.topic, options)?;
    if settings.order_message_enable {
        route.order_topic_conf = shared.kv.get(ORDER_TOPICS, header.topic);
    }
    let standard = request.version >= V4_9_4 || header.accept_standard_json_only == Some(true);
    Ok(success(request).with_body(if standard { route.encode_standard() } else { route.encode() }))
}

pub(super) fn register(shared: &Shared, request: &Command) -> Answer {
    let header: RegisterTopicRequestHeader<'_> = request.header()?;
    if !request.body.is_empty() {
        let route = TopicRouteData::decode(&request.body)?;
        let queues = route.queue_datas.into_iter().map(|queues| {
            let entry = TopicEntry {
                name: header.topic.into(),
                read: queues.read_queue_nums,
                write: queues.write_queue_nums,
                perm: queues.perm,
                sys_flag: queues.topic_sys_flag,
            };
            (queues.broker_name, entry)
        });
        shared.routes.register_topic(header.topic, &queues.collect::<Vec<_>>())?;
    }
    Ok(success(request))
}

pub(super) fn delete(shared: &Shared, request: &Command) -> Answer {
    let header: DeleteTopicFromNamesrvRequestHeader<'_> = request.header()?;
    let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
    let deleted = shared.routes.delete_topic(header.topic, cluster);
    tracing::info!(topic = header.topic, cluster, deleted, "topic deleted by remote request");
    Ok(success(request))
}

pub(super) fn all(shared: &Shared, request: &Command) -> Answer {
    if !shared.settings.load().enable_all_topic_list {
        return Err(NamesrvError::ListDisabled("enableAllTopicList"));
    }
    Ok(success(request).with_body(shared.routes.topics().encode()))
}

pub(super) fn of_cluster(shared: &Shared, request: &Command) -> Answer {
    let header: GetTopicsByClusterRequestHeader<'_> = request.header()?;
    list(shared, request, || shared.routes.topics_of_cluster(header.cluster))
}

pub(super) fn system(shared: &Shared, request: &Command) -> Answer {
    Ok(success(request).with_body(shared.routes.system_topics().encode()))
}

pub(super) fn of_units(shared: &Shared, request: &Command) -> Answer {
    let units = match request.code {
        code::GET_UNIT_TOPIC_LIST => Units::Unit,
        code::GET_HAS_UNIT_SUB_TOPIC_LIST => Units::UnitSub,
        _ => Units::UnitSubOnly,
    };
    list(shared, request, || shared.routes.topics_of_units(units))
}

fn list(shared: &Shared, request: &Command, topics: impl FnOnce() -> TopicList) -> Answer {
    if !shared.settings.load().enable_topic_list {
        return Err(NamesrvError::ListDisabled("enableTopicList"));
    }
    Ok(success(request).with_body(topics().encode()))
}
