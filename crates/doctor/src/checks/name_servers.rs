//! Name servers: there, and of one mind.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::{Facts, Severity};

/// Each answers and knows a broker.
pub fn answer(facts: &Facts, found: &mut Found<'_>) {
    for server in &facts.name_servers {
        match &server.brokers {
            Err(error) => found.add(
                Severity::Critical,
                &server.address,
                format!("it does not answer: {error}"),
                "Clients that are given this address alone cannot start; others lose time with it.",
                format!(
                    "See that a name server runs at {}, that this address is right (-n, NAMESRV_ADDR) and that no \
                     firewall stands between.",
                    server.address
                ),
            ),
            Ok(brokers) if brokers.is_empty() => found.add(
                Severity::Critical,
                &server.address,
                "no broker is registered with it".to_owned(),
                "Clients get `No route info` for every topic.",
                format!(
                    "Start a broker with namesrvAddr={}, or see in the logs of the brokers why they cannot register.",
                    server.address
                ),
            ),
            Ok(_) => {}
        }
    }
}

/// All know the same brokers.
pub fn agree(facts: &Facts, found: &mut Found<'_>) {
    let answered = facts.name_servers.iter().filter_map(|server| Some((server, server.brokers.as_ref().ok()?)));
    let answered: Vec<_> = answered.collect();
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, brokers) in &answered {
        for (name, addresses) in *brokers {
            all.entry(name).or_default().extend(addresses.iter().map(String::as_str));
        }
    }
    for (server, brokers) in answered.iter().filter(|(_, brokers)| !brokers.is_empty()) {
        for (name, addresses) in &all {
            let known = brokers.get(*name).into_iter().flatten().map(String::as_str).collect::<BTreeSet<_>>();
            let lacking: Vec<_> = addresses.difference(&known).copied().collect();
            if lacking.is_empty() {
                continue;
            }
            found.add(
                Severity::Warning,
                format!("{name} at {}", server.address),
                format!("it does not know {name} at {}, which another name server knows", lacking.join(", ")),
                "Clients that ask this name server do not find the topics of that broker.",
                format!(
                    "Name all name servers in namesrvAddr of {name}, separated by semicolons; a broker that has just \
                     started or stopped is known everywhere within half a minute."
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::tests::found;
    use crate::{Facts, NameServer};

    fn server(address: &str, brokers: &[(&str, &str)]) -> NameServer {
        let brokers = brokers.iter().map(|(name, address)| ((*name).to_owned(), [(*address).to_owned()].into()));
        NameServer { address: address.to_owned(), brokers: Ok(brokers.collect()) }
    }

    #[test]
    fn name_servers_that_differ_are_named_with_the_broker() {
        let same = [server("n1", &[("a", "a:1"), ("b", "b:1")]), server("n2", &[("a", "a:1"), ("b", "b:1")])];
        assert!(found(&Facts { name_servers: same.into(), ..Facts::default() }).is_empty());
        let differ = [server("n1", &[("a", "a:1"), ("b", "b:1")]), server("n2", &[("a", "a:2")])];
        assert_eq!(
            found(&Facts { name_servers: differ.into(), ..Facts::default() }),
            [
                "warning name-servers-differ a at n1",
                "warning name-servers-differ a at n2",
                "warning name-servers-differ b at n2"
            ]
        );
    }

    #[test]
    fn one_that_is_silent_or_knows_nobody_is_critical() {
        let silent = NameServer { address: "n1".to_owned(), brokers: Err("refused".to_owned()) };
        let facts = Facts { name_servers: vec![silent, server("n2", &[])], ..Facts::default() };
        assert_eq!(found(&facts), ["critical name-server n1", "critical name-server n2"]);
    }
}
