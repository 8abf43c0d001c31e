//! Users, and what they may do, as brokers keep them. Apache's broker has to be set to keep them.

use std::fmt;

use apogee_wire::Command;
use apogee_wire::bodies::{AclInfo, AclInfoList, Body, PolicyEntryInfo, PolicyInfo, UserInfo, UserInfoList};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    CreateAclRequestHeader, CreateUserRequestHeader, DeleteAclRequestHeader, DeleteUserRequestHeader,
    GetAclRequestHeader, GetUserRequestHeader, ListAclsRequestHeader, ListUsersRequestHeader, UpdateAclRequestHeader,
    UpdateUserRequestHeader,
};

use super::{Admin, At, body};
use crate::Error;

/// A user of brokers.
///
/// ```no_run
/// use apogee_client::admin::User;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// admin.put_user(&User::new("alice").password("a password")).await?;
/// for user in admin.users(None).await? {
///     println!("{}: {}, enabled: {}", user.address, user.name, user.is_enabled);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password, as far as the broker tells it.
    pub password: Option<String>,
    /// It may do everything.
    pub is_super: bool,
    /// It may come in.
    pub is_enabled: bool,
}

impl fmt::Debug for User {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("is_super", &self.is_super)
            .field("is_enabled", &self.is_enabled)
            .finish_non_exhaustive()
    }
}

/// What of a user is to change; what is `None` stays. See [`Admin::change_user`].
#[derive(Clone, Default)]
pub struct UserChange {
    /// The password.
    pub password: Option<String>,
    /// Whether it may do everything.
    pub is_super: Option<bool>,
    /// Whether it may come in.
    pub is_enabled: Option<bool>,
}

/// What a subject may do with resources, and what not.
///
/// ```no_run
/// use apogee_client::admin::{Access, Rule};
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let access = Access::new("User:alice")
///     .rule(Rule::allow("Topic:Orders", ["Pub", "Sub"]))
///     .rule(Rule::allow("Group:billing", ["Sub"]).from("10.0.0.0/8"));
/// admin.put_access(&access).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose rules they are, such as `User:alice`.
    pub subject: String,
    /// The rules, one for a resource.
    pub rules: Vec<Rule>,
}

/// What may be done with a resource; see [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The resource, such as `Topic:Orders`, `Group:billing-*` or `*`.
    pub resource: String,
    /// What is done: some of `All`, `Pub`, `Sub`, `Create`, `Update`, `Delete`, `Get` and `List`.
    pub actions: Vec<String>,
    /// Addresses or networks that it is done from; all when there are none.
    pub sources: Vec<String>,
    /// Whether it may be done.
    pub is_allowed: bool,
    /// It is for what no other rule is for.
    pub is_default: bool,
}

impl User {
    /// One that is enabled, and may do what rules say.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), password: None, is_super: false, is_enabled: true }
    }

    /// Gives it a password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    fn change(&self) -> UserChange {
        UserChange { password: self.password.clone(), is_super: Some(self.is_super), is_enabled: Some(self.is_enabled) }
    }

    fn of(user: UserInfo) -> Self {
        let is = |value: Option<String>, name: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(name));
        Self {
            name: user.username.unwrap_or_default(),
            password: user.password,
            is_super: is(user.user_type, "Super"),
            is_enabled: is(user.user_status, "enable"),
        }
    }
}

impl UserChange {
    fn body(&self, name: &str) -> UserInfo {
        let word = |value: Option<bool>, yes: &str, no: &str| value.map(|is| if is { yes } else { no }.to_owned());
        UserInfo {
            password: self.password.clone(),
            user_status: word(self.is_enabled, "enable", "disable"),
            user_type: word(self.is_super, "Super", "Normal"),
            username: Some(name.to_owned()),
        }
    }
}

impl Access {
    /// A subject without rules.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), rules: Vec::new() }
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    fn of(access: AclInfo) -> Self {
        let mut rules = Vec::new();
        for policy in access.policies {
            let is_default = policy.policy_type.as_deref() == Some("Default");
            rules.extend(policy.entries.into_iter().map(|entry| Rule {
                resource: entry.resource.unwrap_or_default(),
                actions: entry.actions.unwrap_or_default(),
                sources: entry.source_ips.unwrap_or_default(),
                is_allowed: entry.decision.is_some_and(|decision| decision.eq_ignore_ascii_case("Allow")),
                is_default,
            }));
        }
        Self { subject: access.subject.unwrap_or_default(), rules }
    }

    fn body(&self) -> AclInfo {
        let of = |is_default: bool| {
            let rules = self.rules.iter().filter(|rule| rule.is_default == is_default);
            let entries = rules.map(|rule| PolicyEntryInfo {
                actions: Some(rule.actions.clone()),
                decision: Some(if rule.is_allowed { "Allow" } else { "Deny" }.to_owned()),
                resource: (!is_default).then(|| rule.resource.clone()),
                source_ips: Some(rule.sources.clone()).filter(|sources| !sources.is_empty()),
            });
            let policy_type = Some(if is_default { "Default" } else { "Custom" }.to_owned());
            PolicyInfo { entries: entries.collect(), policy_type }
        };
        let policies = [of(false), of(true)].into_iter().filter(|policy| !policy.entries.is_empty());
        AclInfo { policies: policies.collect(), subject: Some(self.subject.clone()) }
    }
}

impl Rule {
    /// Something may be done with a resource, from anywhere.
    pub fn allow<A: Into<String>>(resource: impl Into<String>, actions: impl IntoIterator<Item = A>) -> Self {
        Self {
            resource: resource.into(),
            actions: actions.into_iter().map(A::into).collect(),
            sources: Vec::new(),
            is_allowed: true,
            is_default: false,
        }
    }

    /// Something may not be done with a resource, from anywhere.
    pub fn deny<A: Into<String>>(resource: impl Into<String>, actions: impl IntoIterator<Item = A>) -> Self {
        Self { is_allowed: false, ..Self::allow(resource, actions) }
    }

    /// Only from an address or a network, such as `10.0.0.0/8`; several may be given.
    pub fn from(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }
}

impl Admin {
    /// The users of each broker, or those whose names have a text in them.
    ///
    /// # Errors
    /// When a broker keeps none, refuses or doesn't answer.
    pub async fn users(&self, filter: Option<&str>) -> Result<Vec<At<User>>, Error> {
        let question = Command::request(request::AUTH_LIST_USER).with_header(&ListUsersRequestHeader { filter });
        self.entries(&question, |list: UserInfoList| list.into_iter().map(User::of).collect()).await
    }

    /// A user, as each broker has it that does.
    ///
    /// # Errors
    /// When a broker keeps none, refuses or doesn't answer.
    pub async fn user(&self, name: &str) -> Result<Vec<At<User>>, Error> {
        let header = GetUserRequestHeader { username: Some(name) };
        let question = Command::request(request::AUTH_GET_USER).with_header(&header);
        self.entries(&question, |user: Option<UserInfo>| user.into_iter().map(User::of).collect()).await
    }

    /// Creates a user on each broker. It has to have a password; it is enabled, whatever it says.
    ///
    /// # Errors
    /// When a broker keeps none, has it already, refuses or doesn't answer.
    pub async fn create_user(&self, user: &User) -> Result<(), Error> {
        if user.password.as_deref().unwrap_or_default().is_empty() {
            return Err(Error::Argument(format!("user {} needs a password", user.name)));
        }
        let header = CreateUserRequestHeader { username: Some(&user.name) };
        let question = Command::request(request::AUTH_CREATE_USER).with_header(&header);
        self.call_all(&question.with_body(user.change().body(&user.name).encode())).await.map(drop)
    }

    /// Changes a user on each broker.
    ///
    /// ```no_run
    /// use apogee_client::admin::UserChange;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.change_user("alice", &UserChange { is_enabled: Some(false), ..UserChange::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker keeps none, does not have it, refuses or doesn't answer.
    pub async fn change_user(&self, name: &str, change: &UserChange) -> Result<(), Error> {
        let header = UpdateUserRequestHeader { username: Some(name) };
        let question = Command::request(request::AUTH_UPDATE_USER).with_header(&header);
        self.call_all(&question.with_body(change.body(name).encode())).await.map(drop)
    }

    /// Creates a user on each broker, or changes it. A new one needs a password; one that is there keeps its own when
    /// none is given.
    ///
    /// # Errors
    /// When a broker keeps no users, refuses or doesn't answer.
    pub async fn put_user(&self, user: &User) -> Result<(), Error> {
        for address in self.masters().await? {
            let broker = self.broker(&*address);
            let is_there = !broker.user(&user.name).await?.is_empty();
            if !is_there {
                broker.create_user(user).await?;
            }
            if is_there || !user.is_enabled {
                broker.change_user(&user.name, &user.change()).await?;
            }
        }
        Ok(())
    }

    /// Removes a user from each broker.
    ///
    /// # Errors
    /// When a broker keeps no users, refuses or doesn't answer.
    pub async fn delete_user(&self, name: &str) -> Result<(), Error> {
        let header = DeleteUserRequestHeader { username: Some(name) };
        self.call_all(&Command::request(request::AUTH_DELETE_USER).with_header(&header)).await.map(drop)
    }

    /// What subjects may do, on each broker: all of them, or those whose names and resources have texts in them.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn accesses(&self, subject: Option<&str>, resource: Option<&str>) -> Result<Vec<At<Access>>, Error> {
        let header = ListAclsRequestHeader { subject_filter: subject, resource_filter: resource };
        let question = Command::request(request::AUTH_LIST_ACL).with_header(&header);
        self.entries(&question, |list: AclInfoList| list.into_iter().map(Access::of).collect()).await
    }

    /// What a subject may do, on each broker that has rules for it.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn access(&self, subject: &str) -> Result<Vec<At<Access>>, Error> {
        let header = GetAclRequestHeader { subject: Some(subject) };
        let question = Command::request(request::AUTH_GET_ACL).with_header(&header);
        self.entries(&question, |access: Option<AclInfo>| access.into_iter().map(Access::of).collect()).await
    }

    /// Gives a subject that has none rules, on each broker.
    ///
    /// # Errors
    /// When a broker keeps no rules, has some for it already, refuses or doesn't answer.
    pub async fn create_access(&self, access: &Access) -> Result<(), Error> {
        let header = CreateAclRequestHeader { subject: Some(&access.subject) };
        let question = Command::request(request::AUTH_CREATE_ACL).with_header(&header);
        self.call_all(&question.with_body(access.body().encode())).await.map(drop)
    }

    /// Changes rules of a subject, on each broker. Those that it has for other resources stay.
    ///
    /// # Errors
    /// When a broker keeps no rules, has none for it, refuses or doesn't answer.
    pub async fn change_access(&self, access: &Access) -> Result<(), Error> {
        let header = UpdateAclRequestHeader { subject: Some(&access.subject) };
        let question = Command::request(request::AUTH_UPDATE_ACL).with_header(&header);
        self.call_all(&question.with_body(access.body().encode())).await.map(drop)
    }

    /// Gives a subject rules, on each broker. Those that it has for other resources stay.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn put_access(&self, access: &Access) -> Result<(), Error> {
        for address in self.masters().await? {
            let broker = self.broker(&*address);
            match broker.access(&access.subject).await?.is_empty() {
                true => broker.create_access(access).await?,
                false => broker.change_access(access).await?,
            }
        }
        Ok(())
    }

    /// Removes the rule that a subject has for a resource, or all its rules, from each broker.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn delete_access(&self, subject: &str, resource: Option<&str>) -> Result<(), Error> {
        let header = DeleteAclRequestHeader { subject: Some(subject), policy_type: None, resource };
        self.call_all(&Command::request(request::AUTH_DELETE_ACL).with_header(&header)).await.map(drop)
    }

    /// The entries of each broker's list.
    async fn entries<B: Body, T>(&self, question: &Command, read: impl Fn(B) -> Vec<T>) -> Result<Vec<At<T>>, Error> {
        let mut all = Vec::new();
        for At { address, value: answer } in self.call_all(question).await? {
            // Apache's broker has no words for an empty list, nor for what isn't there.
            if !answer.body.is_empty() {
                let entries = read(body(&address, &answer)?);
                all.extend(entries.into_iter().map(|value| At { address: address.clone(), value }));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_as_they_were_given() {
        let rest = Rule { is_default: true, ..Rule::deny("", ["All"]) };
        let access = Access::new("User:alice")
            .rule(Rule::allow("Topic:T", ["Pub", "Sub"]).from("10.0.0.0/8"))
            .rule(Rule::deny("Group:G", ["Sub"]))
            .rule(rest);
        let written = access.body().encode();
        assert_eq!(Access::of(AclInfo::decode(&written).expect("read")), access);
    }
}
