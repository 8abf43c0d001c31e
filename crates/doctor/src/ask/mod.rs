//! Facts by asking: name servers, then each broker that one of them knows. Works with Apache's servers, too.

mod brokers;
mod groups;
mod replicas;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apogee_client::{Client, Error};

pub use groups::wish;

use crate::facts::{Facts, Group, NameServer};

/// How much is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long one answer may take.
    pub timeout: Duration,
    /// After how long without progress a queue is stuck.
    pub stuck_after: Duration,
    /// Most groups that are looked at.
    pub groups: usize,
    /// Most members of groups that are asked what they do, all groups together.
    pub members: usize,
    /// Most topics that are looked at: of those that nobody reads, and of dead letters.
    pub topics: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { timeout: seconds(3), stuck_after: seconds(60), groups: 2_000, members: 200, topics: 1_000 }
    }
}

/// Asks a cluster by the addresses of its name servers, separated by semicolons. Who does not answer is a fact, too.
///
/// # Errors
/// When there is no address in the text.
pub async fn ask(name_servers: &str, bounds: Bounds) -> Result<Facts, Error> {
    let mut facts = Facts { stuck_after: bounds.stuck_after, ..Facts::default() };
    // Masters and slaves by their names.
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    facts.name_servers = ask_name_servers(name_servers, bounds.timeout).await;
    for (name, addresses) in facts.name_servers.iter().flat_map(|server| server.brokers.iter().flatten()) {
        known.entry(name.clone()).or_default().extend(addresses.iter().cloned());
    }
    let client = Client::builder(name_servers).timeout(bounds.timeout).connect_timeout(bounds.timeout).build()?;
    let admin = client.admin().timeout(bounds.timeout);
    brokers::ask(&admin, &known, &mut facts).await;
    replicas::ask(&admin, members(name_servers, bounds.timeout).await, &mut facts).await;
    if facts.brokers.iter().any(|broker| broker.state.is_ok()) {
        match admin.topics().await {
            Ok(topics) => {
                let read = groups::ask(&admin, bounds, &topics, &mut facts).await;
                topics::ask(&admin, bounds, &topics, &read, &mut facts).await;
            }
            Err(error) => facts.lacks("missing-topic", format!("the topics are not known: {error}")),
        }
        topics::ask_halves(&admin, &mut facts).await;
        brokers::ask_findings(&admin, &mut facts).await;
    } else {
        facts.lacks("stuck-queue", "no broker was reached: groups, topics and machines were not looked at");
    }
    client.close().await;
    Ok(facts)
}

/// Asks each of the name servers, separated by semicolons, for its brokers.
pub async fn ask_name_servers(name_servers: &str, timeout: Duration) -> Vec<NameServer> {
    let mut servers = Vec::new();
    for address in addresses(name_servers) {
        let brokers = brokers_of(address, timeout).await.map_err(|error| error.to_string());
        servers.push(NameServer { address: address.to_owned(), brokers });
    }
    servers
}

/// Asks the members of groups that are stuck which queues they read. Only of a few: the more groups are stuck, the less
/// it is the members' fault.
pub async fn ask_holders(broker: &str, facts: &mut Facts, timeout: Duration) {
    const MOST: usize = 20;
    let stuck_after = facts.stuck_after;
    let is_stuck = |group: &&mut Group| {
        let mut queues = group.queues.iter();
        !group.members.is_empty() && !group.broadcasts && queues.any(|queue| queue.still >= Some(stuck_after))
    };
    let mut groups: Vec<_> = facts.groups.iter_mut().filter(is_stuck).take(MOST).collect();
    // A broker of its own is all it needs: there is no name to look up.
    let Ok(client) = Client::builder(broker).timeout(timeout).connect_timeout(timeout).build() else { return };
    if !groups.is_empty() {
        let admin = client.admin().timeout(timeout).broker(broker);
        for group in &mut groups {
            groups::hold(&admin, group).await;
        }
    }
    client.close().await;
}

/// Addresses of the brokers of a name by their ids, as the name servers have them.
async fn members(name_servers: &str, timeout: Duration) -> BTreeMap<String, BTreeMap<i64, BTreeSet<String>>> {
    let mut members: BTreeMap<String, BTreeMap<i64, BTreeSet<String>>> = BTreeMap::new();
    for address in addresses(name_servers) {
        // One that does not answer is told of elsewhere.
        for broker in all_of(address, timeout).await.unwrap_or_default() {
            members.entry(broker.name).or_default().entry(broker.id).or_default().insert(broker.address);
        }
    }
    members
}

fn addresses(name_servers: &str) -> impl Iterator<Item = &str> {
    name_servers.split([';', ',']).map(str::trim).filter(|address| !address.is_empty())
}

async fn all_of(name_server: &str, timeout: Duration) -> Result<Vec<apogee_client::admin::Broker>, Error> {
    let client = Client::builder(name_server).timeout(timeout).connect_timeout(timeout).build()?;
    let asked = client.admin().timeout(timeout).brokers().await;
    client.close().await;
    asked
}

/// The brokers that one name server knows, by name.
async fn brokers_of(name_server: &str, timeout: Duration) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let mut brokers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for broker in all_of(name_server, timeout).await? {
        brokers.entry(broker.name).or_default().insert(broker.address);
    }
    Ok(brokers)
}
