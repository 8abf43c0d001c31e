//! Facts of masters, their slaves, and the controllers.

use std::collections::{BTreeMap, BTreeSet};

use apogee_client::{Admin, Error};

use crate::facts::{Controllers, Facts, MasterState, Replicas, SlaveState};

/// Asks each master for its slaves. `members`: addresses by name and id, as name servers have them.
pub async fn ask(admin: &Admin, members: BTreeMap<String, BTreeMap<i64, BTreeSet<String>>>, facts: &mut Facts) {
    let mut controllers = BTreeSet::new();
    for (name, members) in members {
        let mut master = None;
        for address in members.get(&0).into_iter().flatten() {
            // One that does not answer is told of elsewhere.
            if facts.brokers.iter().any(|broker| broker.address == *address && broker.state.is_err()) {
                continue;
            }
            match state(&admin.broker(address), address).await {
                Ok((state, of_controllers)) => {
                    master = Some(state);
                    controllers.extend(of_controllers);
                }
                Err(error) => {
                    facts.lacks("slave-behind", format!("{name} ({address}) does not tell of its slaves: {error}"))
                }
            }
        }
        facts.replicas.push(Replicas { name, members, master });
    }
    if let Some(addresses) = controllers.pop_first() {
        let state = match admin.controllers(&addresses) {
            Ok(controllers) => controllers.state().await,
            Err(error) => Err(error),
        };
        let leader = state.map(|state| Some(state.leader_address).filter(|leader| !leader.is_empty()));
        facts.controllers = Some(Controllers { addresses, leader: leader.map_err(|error| error.to_string()) });
    }
}

/// What a master says of its slaves, and where its controllers are.
async fn state(admin: &Admin, address: &str) -> Result<(MasterState, Option<String>), Error> {
    let told = admin.replication().await?.into_iter().next().map(|told| told.value).unwrap_or_default();
    let settings = admin.broker_settings().await?.into_iter().next().map(|told| told.value).unwrap_or_default();
    let setting = |key: &str| settings.get(key).map_or("", String::as_str);
    let number = |key: &str| setting(key).parse().unwrap_or(1_u32);
    let has_controllers = setting("enableControllerMode") == "true";
    let waits = has_controllers || setting("brokerRole") == "SYNC_MASTER" && number("inSyncReplicas") > 1;
    // Without a controller the least counts only where the number of those in step decides who is waited for.
    let has_least = has_controllers || setting("enableAutoInSyncReplicas") == "true";
    let slaves = told.slaves.into_iter().map(|slave| SlaveState {
        address: slave.address,
        behind: slave.behind,
        rate: slave.bytes_per_second,
        in_step: slave.in_step,
    });
    let slaves: Vec<_> = slaves.collect();
    let state = MasterState {
        address: address.to_owned(),
        is_waited_for: waits,
        least_in_step: if has_least { number("minInSyncReplicas") } else { 1 },
        in_step: 1 + slaves.iter().filter(|slave| slave.in_step).count() as u32,
        slaves,
    };
    Ok((
        state,
        has_controllers.then(|| setting("controllerAddr").to_owned()).filter(|controllers| !controllers.is_empty()),
    ))
}
