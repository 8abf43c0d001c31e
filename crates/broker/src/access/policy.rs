//! Policies: what is given is checked, and written as upstream writes it.

use std::net::IpAddr;

use apogee_wire::bodies::{PolicyEntryInfo, PolicyInfo};

use super::{invalid, is_given, one_of, refused};
use crate::error::BrokerError;

/// What can be done with a resource.
const ACTIONS: [&str; 8] = ["All", "Pub", "Sub", "Create", "Update", "Delete", "Get", "List"];

/// Whose policies they are: a user.
pub(super) struct Subject {
    user: String,
}

impl Subject {
    /// A user.
    pub fn of_user(user: &str) -> Self {
        Self { user: user.to_owned() }
    }

    /// Reads `User:alice`.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        match text.split_once(':') {
            Some((kind, user)) if kind.eq_ignore_ascii_case("User") && is_given(Some(user)) => Ok(Self::of_user(user)),
            _ => Err(invalid(format!("subject `{text}` is none: write User:NAME"))),
        }
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// As the table has it.
    pub fn key(&self) -> String {
        format!("User:{}", self.user)
    }
}

/// What is protected: `*`, or a kind and a name, a beginning of names (`Order*`), or all (`*`).
pub(super) struct Resource {
    kind: String,
    name: String,
}

impl Resource {
    /// Reads `Topic:Orders`, `Group:*`, `*`.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        if text == "*" {
            return Ok(Self { kind: String::new(), name: String::new() });
        }
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let kind = one_of("resource", &["Cluster", "Namespace", "Topic", "Group"], Some(kind))?;
        let is_whole = !name.is_empty() && !name.trim_end_matches('*').contains('*');
        let kind = kind.filter(|_| is_whole);
        let error = || invalid(format!("resource `{text}` is none: write TYPE:NAME, TYPE:PREFIX*, TYPE:* or *"));
        Ok(Self { kind: kind.ok_or_else(error)?, name: name.to_owned() })
    }

    /// As the table has it.
    pub fn key(&self) -> String {
        if self.kind.is_empty() { "*".to_owned() } else { format!("{}:{}", self.kind, self.name) }
    }
}

/// The kind of a policy; the usual one when none is given.
pub(super) fn kind(given: Option<&str>) -> Result<String, BrokerError> {
    Ok(one_of("policyType", &["Custom", "Default"], given)?.unwrap_or_else(|| "Custom".to_owned()))
}

/// A policy as it is given, in the form that upstream writes.
pub(super) fn checked(given: PolicyInfo) -> Result<PolicyInfo, BrokerError> {
    if given.entries.is_empty() {
        return Err(refused("The policy entries is empty."));
    }
    let entries = given.entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(PolicyInfo { entries, policy_type: Some(kind(given.policy_type.as_deref())?) })
}

fn entry(given: PolicyEntryInfo) -> Result<PolicyEntryInfo, BrokerError> {
    let resource = given.resource.filter(|resource| is_given(Some(resource)));
    let resource = Resource::parse(&resource.ok_or_else(|| refused("The resource is null."))?)?;
    let actions = given.actions.unwrap_or_default();
    if actions.iter().any(|action| action.eq_ignore_ascii_case("Any")) {
        return Err(refused("The actions can not be Any."));
    }
    let actions = actions.iter().map(|action| one_of("action", &ACTIONS, Some(action)));
    let actions: Vec<String> = actions.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    if actions.is_empty() {
        return Err(refused("The actions is empty."));
    }
    let ips = given.source_ips.filter(|ips| !ips.is_empty());
    if let Some(ip) = ips.iter().flatten().find(|ip| !is_range(ip)) {
        return Err(refused(format!("The source ip is invalid. `{ip}` is neither an address nor a CIDR range")));
    }
    let decision = one_of("decision", &["Allow", "Deny"], given.decision.as_deref())?;
    Ok(PolicyEntryInfo {
        actions: Some(actions),
        decision: Some(decision.ok_or_else(|| refused("The decision is null or illegal."))?),
        resource: Some(resource.key()),
        source_ips: ips,
    })
}

/// Whether it is an address, or one with the bits that count.
fn is_range(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

/// Puts policies beside others; an entry takes the place of that for the same resource.
pub(super) fn merge(policies: &mut Vec<PolicyInfo>, given: Vec<PolicyInfo>) {
    for PolicyInfo { entries, policy_type } in given {
        let at = policies.iter().position(|policy| policy.policy_type == policy_type).unwrap_or_else(|| {
            policies.push(PolicyInfo { entries: Vec::new(), policy_type });
            policies.len() - 1
        });
        for entry in entries {
            let known = &mut policies[at].entries;
            match known.iter_mut().find(|known| known.resource == entry.resource) {
                Some(known) => *known = entry,
                None => known.push(entry),
            }
        }
    }
}

/// Removes the entry for a resource from the policy of a kind.
pub(super) fn remove(policies: &mut Vec<PolicyInfo>, kind: &str, resource: &str) {
    for policy in policies.iter_mut().filter(|policy| policy.policy_type.as_deref() == Some(kind)) {
        policy.entries.retain(|entry| entry.resource.as_deref() != Some(resource));
    }
    policies.retain(|policy| !policy.entries.is_empty());
}

/// Keeps the entries for some resources.
pub(super) fn retain(policies: &mut Vec<PolicyInfo>, is_wanted: impl Fn(&str) -> bool) {
    for policy in policies.iter_mut() {
        policy.entries.retain(|entry| entry.resource.as_deref().is_some_and(&is_wanted));
    }
    policies.retain(|policy| !policy.entries.is_empty());
}
