//! Users and policies (upstream `AdminBrokerProcessor`). No password is ever logged.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{AclInfo, Body, UserInfo};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    CreateAclRequestHeader, CreateUserRequestHeader, DeleteAclRequestHeader, DeleteUserRequestHeader,
    GetAclRequestHeader, GetUserRequestHeader, ListAclsRequestHeader, ListUsersRequestHeader, UpdateAclRequestHeader,
    UpdateUserRequestHeader,
};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// `AUTH_CREATE_USER`.
pub(crate) fn create_user(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: CreateUserRequestHeader<'_> = request.header()?;
    let user = header.username.unwrap_or_default();
    broker.access.create_user(user, given(request)?)?;
    tracing::info!(peer = %conn.peer(), user, "a user is created by remote request");
    answer::done(request)
}

/// `AUTH_UPDATE_USER`.
pub(crate) fn update_user(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: UpdateUserRequestHeader<'_> = request.header()?;
    let user = header.username.unwrap_or_default();
    broker.access.update_user(user, given(request)?)?;
    tracing::info!(peer = %conn.peer(), user, "a user is changed by remote request");
    answer::done(request)
}

/// The user in a request's body. What is wrong in it is not told: that could be the password.
fn given(request: &Command) -> Result<UserInfo, BrokerError> {
    let error = |_| BrokerError::new(response::INVALID_PARAMETER, "the request's body is no JSON of a user");
    UserInfo::decode(&request.body).map_err(error)
}

/// `AUTH_DELETE_USER`: a user, and its policies.
pub(crate) fn delete_user(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: DeleteUserRequestHeader<'_> = request.header()?;
    let user = header.username.unwrap_or_default();
    if broker.access.delete_user(user)? {
        tracing::info!(peer = %conn.peer(), user, "a user is removed by remote request");
    }
    answer::done(request)
}

/// `AUTH_GET_USER`: one user; without a body when there is none.
pub(crate) fn user(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetUserRequestHeader<'_> = request.header()?;
    match broker.access.user(header.username.unwrap_or_default()) {
        Some(user) => answer::body(request, &user),
        None => answer::done(request),
    }
}

/// `AUTH_LIST_USER`: users whose name contains a text; without a body when there are none.
pub(crate) fn users(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: ListUsersRequestHeader<'_> = request.header()?;
    let users = broker.access.users(header.filter.unwrap_or_default());
    if users.is_empty() { answer::done(request) } else { answer::body(request, &users) }
}

/// `AUTH_CREATE_ACL`: adds policies of a subject.
pub(crate) fn create_acl(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: CreateAclRequestHeader<'_> = request.header()?;
    put_acl(broker, conn, request, header.subject)
}

/// `AUTH_UPDATE_ACL`: the same; as upstream has it.
pub(crate) fn update_acl(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: UpdateAclRequestHeader<'_> = request.header()?;
    put_acl(broker, conn, request, header.subject)
}

fn put_acl(broker: &Broker, conn: &Conn, request: &Command, subject: Option<&str>) -> Answer {
    let subject = broker.access.put_acl(subject.unwrap_or_default(), AclInfo::decode(&request.body)?)?;
    tracing::info!(peer = %conn.peer(), subject, "policies are created or changed by remote request");
    answer::done(request)
}

/// `AUTH_DELETE_ACL`: what a subject may do with a resource, or with all.
pub(crate) fn delete_acl(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let DeleteAclRequestHeader { subject, policy_type, resource } = request.header()?;
    let subject = subject.unwrap_or_default();
    broker.access.delete_acl(subject, policy_type, resource)?;
    tracing::info!(peer = %conn.peer(), subject, resource, "policies are removed by remote request");
    answer::done(request)
}

/// `AUTH_GET_ACL`: the policies of a subject; without a body when it has none.
pub(crate) fn acl(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetAclRequestHeader<'_> = request.header()?;
    match broker.access.acl(header.subject.unwrap_or_default())? {
        Some(acl) => answer::body(request, &acl),
        None => answer::done(request),
    }
}

/// `AUTH_LIST_ACL`: policies by parts of the subject's and the resource's name; without a body when there are none.
pub(crate) fn acls(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: ListAclsRequestHeader<'_> = request.header()?;
    let acls =
        broker.access.acls(header.subject_filter.unwrap_or_default(), header.resource_filter.unwrap_or_default());
    if acls.is_empty() { answer::done(request) } else { answer::body(request, &acls) }
}
