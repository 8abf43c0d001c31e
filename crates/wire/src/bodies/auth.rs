//! Users, and what they may do.

use super::bodies;

bodies! {
    /// A user (upstream `UserInfo`): request of `AUTH_CREATE_USER` and `AUTH_UPDATE_USER`, answer to `AUTH_GET_USER`.
    #[derive(Eq)]
    UserInfo {
        password: Option<String>,
        /// `enable` or `disable`.
        user_status: Option<String>,
        /// `Super` or `Normal`.
        user_type: Option<String>,
        username: Option<String>,
    }

    /// What a subject may do (upstream `AclInfo`): request of `AUTH_CREATE_ACL` and `AUTH_UPDATE_ACL`, answer to
    /// `AUTH_GET_ACL`.
    #[derive(Eq)]
    AclInfo {
        policies: Vec<PolicyInfo>,
        /// Such as `User:alice`.
        subject: Option<String>,
    }

    /// A part of it (upstream `AclInfo.PolicyInfo`).
    #[derive(Eq)]
    PolicyInfo {
        entries: Vec<PolicyEntryInfo>,
        /// `Custom` or `Default`.
        policy_type: Option<String>,
    }

    /// What may be done with one resource (upstream `AclInfo.PolicyEntryInfo`).
    #[derive(Eq)]
    PolicyEntryInfo {
        actions: Option<Vec<String>>,
        /// `Allow` or `Deny`.
        decision: Option<String>,
        /// Such as `Topic:Orders`.
        resource: Option<String>,
        source_ips: Option<Vec<String>>,
    }
}

/// Answer to `AUTH_LIST_USER`.
pub type UserInfoList = Vec<UserInfo>;

/// Answer to `AUTH_LIST_ACL`.
pub type AclInfoList = Vec<AclInfo>;
