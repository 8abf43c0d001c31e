//! Users and what they may do (upstream `auth`). The table is kept and given back; nothing is refused by it yet:
//! that takes requests that are signed, see `docs/differences.md`.

mod policy;

use std::collections::BTreeMap;

use apogee_wire::bodies::{AclInfo, AclInfoList, UserInfo, UserInfoList};
use apogee_wire::codes::response;
use serde::{Deserialize, Serialize};

use self::policy::{Resource, Subject};
use crate::durable::DurableTable;
use crate::error::BrokerError;
use crate::persist::{JsonFile, PersistError};

/// Users, and as many subjects with policies, that a broker has at most.
const MOST: usize = 100_000;

/// What the file `access.json` holds. Passwords are in the clear, as upstream keeps them: what a client signs can
/// only be checked with the password itself.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Table {
    /// By subject, such as `User:alice`.
    acls: BTreeMap<String, AclInfo>,
    /// By name.
    users: BTreeMap<String, UserInfo>,
}

/// Users and policies, and their file.
pub(crate) struct Access {
    table: DurableTable<Table>,
}

fn invalid(remark: impl Into<String>) -> BrokerError {
    BrokerError::new(response::INVALID_PARAMETER, remark.into())
}

/// Upstream answers what its managers of users and policies refuse with this code.
fn refused(remark: impl Into<String>) -> BrokerError {
    BrokerError::new(response::NO_PERMISSION, remark.into())
}

/// Whether a field has something in it.
fn is_given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}

/// The name as upstream writes it, of a value that is given in any case; `None` when it isn't given.
fn one_of(what: &str, names: &[&str], given: Option<&str>) -> Result<Option<String>, BrokerError> {
    let Some(given) = given.filter(|given| is_given(Some(given))) else { return Ok(None) };
    let known = names.iter().find(|name| name.eq_ignore_ascii_case(given));
    let known = known.ok_or_else(|| invalid(format!("{what} `{given}` is none of {}", names.join(", "))))?;
    Ok(Some((*known).to_owned()))
}

impl Access {
    /// Reads the file.
    pub fn open(file: JsonFile) -> Result<Self, PersistError> {
        Ok(Self { table: DurableTable::open(file, "there are no users and no policies: create them again")? })
    }

    /// Adds a user.
    pub fn create_user(&self, name: &str, given: UserInfo) -> Result<(), BrokerError> {
        let user = checked(name, given)?;
        if !is_given(user.password.as_deref()) {
            return Err(refused("password can not be blank"));
        }
        self.table.change(|table| {
            if table.users.contains_key(name) {
                return Err(refused("The user is existed"));
            }
            if table.users.len() >= MOST {
                return Err(refused(format!("there are {MOST} users: remove some before more are created")));
            }
            let user = UserInfo {
                user_type: user.user_type.or_else(|| Some("Normal".into())),
                user_status: user.user_status.or_else(|| Some("enable".into())),
                ..user
            };
            table.users.insert(name.to_owned(), user);
            Ok(())
        })
    }

    /// Changes what is given of a user.
    pub fn update_user(&self, name: &str, given: UserInfo) -> Result<(), BrokerError> {
        let given = checked(name, given)?;
        self.table.change(|table| {
            let user = table.users.get_mut(name).ok_or_else(|| refused("The user is not exist"))?;
            user.password = given.password.filter(|given| is_given(Some(given))).or_else(|| user.password.take());
            user.user_type = given.user_type.or_else(|| user.user_type.take());
            user.user_status = given.user_status.or_else(|| user.user_status.take());
            Ok(())
        })
    }

    /// Removes a user and what it may do; says whether it was there.
    pub fn delete_user(&self, name: &str) -> Result<bool, BrokerError> {
        if name.trim().is_empty() {
            return Err(refused("username can not be blank"));
        }
        self.table.change(|table| {
            table.acls.remove(&Subject::of_user(name).key());
            Ok(table.users.remove(name).is_some())
        })
    }

    /// A user, with its password.
    pub fn user(&self, name: &str) -> Option<UserInfo> {
        self.table.get().users.get(name).cloned()
    }

    /// Users whose name contains a text, by name.
    pub fn users(&self, filter: &str) -> UserInfoList {
        let table = self.table.get();
        table.users.iter().filter(|(name, _)| name.contains(filter)).map(|(_, user)| user.clone()).collect()
    }

    /// Adds policies of a subject, or replaces those it has for the same resources. Returns whose they are.
    pub fn put_acl(&self, subject: &str, given: AclInfo) -> Result<String, BrokerError> {
        let subject = Subject::parse(given.subject.as_deref().unwrap_or(subject))?;
        if given.policies.is_empty() {
            return Err(refused("The policies is empty."));
        }
        let policies = given.policies.into_iter().map(policy::checked).collect::<Result<Vec<_>, _>>()?;
        self.table.change(|table| {
            let key = subject.key();
            if !table.has(&subject) {
                return Err(refused(format!("The subject of {key} is not exist.")));
            }
            if table.acls.len() >= MOST && !table.acls.contains_key(&key) {
                return Err(refused(format!(
                    "there are policies of {MOST} subjects: remove some before more are added"
                )));
            }
            let acl = table.acls.entry(key.clone()).or_default();
            acl.subject = Some(key.clone());
            policy::merge(&mut acl.policies, policies);
            Ok(key)
        })
    }

    /// Removes a subject's entry for a resource, or all of it when none is named.
    pub fn delete_acl(&self, subject: &str, kind: Option<&str>, resource: Option<&str>) -> Result<(), BrokerError> {
        let subject = Subject::parse(subject)?;
        let kind = policy::kind(kind)?;
        let resource = resource.filter(|resource| is_given(Some(resource))).map(Resource::parse).transpose()?;
        self.table.change(|table| {
            if !table.has(&subject) {
                return Err(refused("The subject is not exist."));
            }
            let key = subject.key();
            let acl = table.acls.get_mut(&key).ok_or_else(|| refused("The acl is not exist."))?;
            match resource {
                Some(resource) => policy::remove(&mut acl.policies, &kind, &resource.key()),
                None => acl.policies.clear(),
            }
            if acl.policies.is_empty() {
                table.acls.remove(&key);
            }
            Ok(())
        })
    }

    /// The policies of a subject.
    pub fn acl(&self, subject: &str) -> Result<Option<AclInfo>, BrokerError> {
        let subject = Subject::parse(subject)?;
        let table = self.table.get();
        if !table.has(&subject) {
            return Err(refused("The subject is not exist."));
        }
        Ok(table.acls.get(&subject.key()).cloned())
    }

    /// Policies of the subjects whose name contains a text; of each the entries whose resource contains another one.
    /// A subject that itself contains the resource's text comes whole.
    pub fn acls(&self, subject: &str, resource: &str) -> AclInfoList {
        let table = self.table.get();
        let subjects = table.acls.iter().filter(|(key, _)| key.contains(subject));
        let acls = subjects.map(|(key, acl)| {
            let mut acl = acl.clone();
            if !key.contains(resource) {
                policy::retain(&mut acl.policies, |key| key.contains(resource));
            }
            acl
        });
        acls.filter(|acl| !acl.policies.is_empty()).collect()
    }
}

impl Table {
    fn has(&self, subject: &Subject) -> bool {
        self.users.contains_key(subject.user())
    }
}

/// A user as it is given, with the names that upstream writes.
fn checked(name: &str, given: UserInfo) -> Result<UserInfo, BrokerError> {
    if name.trim().is_empty() {
        return Err(invalid("The username is blank"));
    }
    Ok(UserInfo {
        password: given.password,
        user_status: one_of("userStatus", &["enable", "disable"], given.user_status.as_deref())?,
        user_type: one_of("userType", &["Super", "Normal"], given.user_type.as_deref())?,
        username: Some(name.to_owned()),
    })
}

#[cfg(test)]
mod tests;
