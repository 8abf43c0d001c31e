//! Users, and what they may do. Brokers answer that are set to keep them (Apache's; ours does not yet).

use apogee_wire::Command;
use apogee_wire::bodies::{AclInfo, AclInfoList, Body, PolicyEntryInfo, PolicyInfo, UserInfo, UserInfoList};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    CreateAclRequestHeader, CreateUserRequestHeader, DeleteAclRequestHeader, DeleteUserRequestHeader,
    ListAclsRequestHeader, ListUsersRequestHeader, UpdateAclRequestHeader, UpdateUserRequestHeader,
};

use super::{Admin, At, body};
use crate::Error;

/// A user of brokers.
///
/// ```no_run
/// use apogee_client::admin::User;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// admin.put_user(&User::new("alice"), Some("a password")).await?;
/// for user in admin.users().await? {
///     println!("{}: {}, enabled: {}", user.address, user.name, user.is_enabled);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// It may do everything.
    pub is_super: bool,
    /// It may come in.
    pub is_enabled: bool,
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
        Self { name: name.into(), is_super: false, is_enabled: true }
    }

    fn of(user: UserInfo) -> Self {
        let is = |value: Option<String>, name: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(name));
        Self {
            name: user.username.unwrap_or_default(),
            is_super: is(user.user_type, "Super"),
            is_enabled: is(user.user_status, "enable"),
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
    /// The users of each broker.
    ///
    /// # Errors
    /// When a broker keeps none, refuses or doesn't answer.
    pub async fn users(&self) -> Result<Vec<At<User>>, Error> {
        let header = ListUsersRequestHeader { filter: None };
        let question = Command::request(request::AUTH_LIST_USER).with_header(&header);
        self.entries(&question, |list: UserInfoList| list.into_iter().map(User::of).collect()).await
    }

    /// Creates a user on each broker, or changes it. A new one needs a password; without one, one that is there keeps
    /// its own.
    ///
    /// # Errors
    /// When a broker keeps no users, refuses or doesn't answer.
    pub async fn put_user(&self, user: &User, password: Option<&str>) -> Result<(), Error> {
        let info = UserInfo {
            password: password.map(str::to_owned),
            user_status: Some(if user.is_enabled { "enable" } else { "disable" }.to_owned()),
            user_type: Some(if user.is_super { "Super" } else { "Normal" }.to_owned()),
            username: Some(user.name.clone()),
        };
        for address in self.masters().await? {
            let broker = self.broker(&*address);
            let is_there = broker.users().await?.iter().any(|one| one.name == user.name);
            if !is_there && password.is_none() {
                return Err(Error::Argument(format!("user {} is not on {address}, and needs a password", user.name)));
            }
            let change = Command::request(request::AUTH_UPDATE_USER)
                .with_header(&UpdateUserRequestHeader { username: Some(&user.name) })
                .with_body(info.encode());
            // A new one is enabled, whatever the request says.
            if !is_there {
                let header = CreateUserRequestHeader { username: Some(&user.name) };
                let question = Command::request(request::AUTH_CREATE_USER).with_header(&header);
                self.call(&address, &question.with_body(info.encode())).await?;
            }
            if is_there || !user.is_enabled {
                self.call(&address, &change).await?;
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

    /// What subjects may do, on each broker.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn accesses(&self) -> Result<Vec<At<Access>>, Error> {
        let header = ListAclsRequestHeader { subject_filter: None, resource_filter: None };
        let question = Command::request(request::AUTH_LIST_ACL).with_header(&header);
        self.entries(&question, |list: AclInfoList| list.into_iter().map(Access::of).collect()).await
    }

    /// Gives a subject rules, on each broker. Those that it has for other resources stay.
    ///
    /// # Errors
    /// When a broker keeps no rules, refuses or doesn't answer.
    pub async fn put_access(&self, access: &Access) -> Result<(), Error> {
        let subject = Some(&*access.subject);
        for address in self.masters().await? {
            let broker = self.broker(&*address);
            let is_there = broker.accesses().await?.iter().any(|one| one.subject == access.subject);
            let question = match is_there {
                true => Command::request(request::AUTH_UPDATE_ACL).with_header(&UpdateAclRequestHeader { subject }),
                false => Command::request(request::AUTH_CREATE_ACL).with_header(&CreateAclRequestHeader { subject }),
            };
            self.call(&address, &question.with_body(access.body().encode())).await?;
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
            // Apache's broker has no words for an empty list.
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
