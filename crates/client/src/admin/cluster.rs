//! Which brokers there are.

use apogee_wire::Command;
use apogee_wire::bodies::ClusterInfo;
use apogee_wire::codes::request;

use super::{Admin, Scope, body};
use crate::Error;
use crate::peers::accepted;
use crate::route::MASTER;

/// A broker that name servers know.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for broker in admin.brokers().await? {
///     let role = if broker.is_master() { "master" } else { "slave" };
///     println!("{} {} {role} {}", broker.cluster, broker.name, broker.address);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// The cluster that it is in.
    pub cluster: String,
    /// The name that a master shares with its slaves.
    pub name: String,
    /// 0 for the master.
    pub id: i64,
    /// Where it is, as `host:port`.
    pub address: String,
}

impl Broker {
    /// Whether messages can be sent to it.
    pub fn is_master(&self) -> bool {
        self.id == MASTER
    }
}

impl Admin {
    /// All brokers, in order of cluster, name and id; slaves, too.
    ///
    /// # Errors
    /// When no name server answers, or the cluster is not there.
    pub async fn brokers(&self) -> Result<Vec<Broker>, Error> {
        let (name_server, answer) = self.ask_names(Command::request(request::GET_BROKER_CLUSTER_INFO)).await?;
        let info: ClusterInfo = body(name_server, &accepted(name_server, answer)?)?;
        if let Scope::Cluster(cluster) = &self.scope
            && !info.cluster_addr_table.contains_key(cluster)
        {
            let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
            return Err(Error::NoCluster { cluster: cluster.clone(), known: known.join(", ") });
        }
        let mut brokers = Vec::new();
        for (cluster, names) in &info.cluster_addr_table {
            for data in names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
                brokers.extend(data.broker_addrs.iter().map(|(id, address)| Broker {
                    cluster: cluster.clone(),
                    name: data.broker_name.clone(),
                    id: *id,
                    address: address.clone(),
                }));
            }
        }
        brokers.retain(|broker| match &self.scope {
            Scope::All => true,
            Scope::Cluster(cluster) => broker.cluster == *cluster,
            Scope::Broker(address) => broker.address == *address,
        });
        brokers.sort_unstable();
        Ok(brokers)
    }

    /// Addresses of the masters, as `host:port`: those that are asked and changed. A name without a master is an error: it
    /// would be left out in silence.
    ///
    /// # Errors
    /// As [`Admin::brokers`] has them, and [`Error::NoMaster`].
    pub async fn masters(&self) -> Result<Vec<String>, Error> {
        if let Scope::Broker(address) = &self.scope {
            return Ok(vec![address.clone()]);
        }
        // In order of ids: the first of each name is its master.
        let mut brokers = self.brokers().await?;
        brokers.dedup_by(|next, first| (&next.cluster, &next.name) == (&first.cluster, &first.name));
        match brokers.iter().find(|broker| !broker.is_master()) {
            Some(slave) => Err(Error::NoMaster(slave.name.clone())),
            None => Ok(brokers.into_iter().map(|broker| broker.address).collect()),
        }
    }
}
