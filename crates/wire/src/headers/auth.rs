//! Headers of users and access policies.

use super::headers;

headers! {
    /// Request of `AUTH_CREATE_ACL`.
    CreateAclRequestHeader<'a> {
        subject: Option<&'a str> = "subject",
    }

    /// Request of `AUTH_CREATE_USER`.
    CreateUserRequestHeader<'a> {
        username: Option<&'a str> = "username",
    }

    /// Request of `AUTH_DELETE_ACL`.
    DeleteAclRequestHeader<'a> {
        subject: Option<&'a str> = "subject",
        policy_type: Option<&'a str> = "policyType",
        resource: Option<&'a str> = "resource",
    }

    /// Request of `AUTH_DELETE_USER`.
    DeleteUserRequestHeader<'a> {
        username: Option<&'a str> = "username",
    }

    /// Request of `AUTH_GET_ACL`.
    GetAclRequestHeader<'a> {
        subject: Option<&'a str> = "subject",
    }

    /// Request of `AUTH_GET_USER`.
    GetUserRequestHeader<'a> {
        username: Option<&'a str> = "username",
    }

    /// Request of `AUTH_LIST_ACL`.
    ListAclsRequestHeader<'a> {
        subject_filter: Option<&'a str> = "subjectFilter",
        resource_filter: Option<&'a str> = "resourceFilter",
    }

    /// Request of `AUTH_LIST_USER`.
    ListUsersRequestHeader<'a> {
        filter: Option<&'a str> = "filter",
    }

    /// Request of `AUTH_UPDATE_ACL`.
    UpdateAclRequestHeader<'a> {
        subject: Option<&'a str> = "subject",
    }

    /// Request of `AUTH_UPDATE_USER`.
    UpdateUserRequestHeader<'a> {
        username: Option<&'a str> = "username",
    }
}
