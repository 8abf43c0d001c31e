//! Who of a master and its slaves is up, by what the name servers say.

use std::collections::BTreeMap;

/// Id of a master.
const MASTER: i64 = 0;

/// What a name server said last of the brokers of this broker's name.
#[derive(Debug, Clone)]
struct Heard {
    at_ms: i64,
    /// Addresses by id.
    members: BTreeMap<i64, String>,
}

/// What a broker is to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It is the master, or a slave beside somebody who has a lower id, or nobody tells.
    Beside,
    /// It is the slave of the lowest id, and there is no master: it stands in for him.
    StandsIn,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    own: i64,
    /// Milliseconds after which what a name server said is not known any more.
    patience_ms: i64,
    heard: BTreeMap<String, Heard>,
}

impl Group {
    /// Of the broker with the id `own`. What is older than `patience_ms` does not count.
    pub fn new(own: i64, patience_ms: i64) -> Self {
        Self { own, patience_ms, heard: BTreeMap::new() }
    }

    /// A name server said who is there.
    pub fn heard(&mut self, name_server: &str, members: BTreeMap<i64, String>, now_ms: i64) {
        self.heard.insert(name_server.to_owned(), Heard { at_ms: now_ms, members });
    }

    /// The lowest id of those that any name server knows, and where that broker is.
    pub fn lowest(&self, now_ms: i64) -> Option<(i64, &str)> {
        let known = self.heard.values().filter(|heard| now_ms - heard.at_ms <= self.patience_ms);
        let lowest = known.filter_map(|heard| heard.members.first_key_value());
        lowest.map(|(id, address)| (*id, address.as_str())).min()
    }

    /// Those of this name beside the broker itself, by id, and how many name servers told of them.
    pub fn others(&self, now_ms: i64) -> (BTreeMap<i64, String>, usize) {
        let known = self.heard.values().filter(|heard| now_ms - heard.at_ms <= self.patience_ms);
        let count = known.clone().count();
        let members = known.flat_map(|heard| &heard.members).filter(|(id, _)| **id != self.own);
        (members.map(|(id, address)| (*id, address.clone())).collect(), count)
    }

    /// Whether the broker stands in for its master. A name server that has just begun knows nobody, and later only
    /// some: so none may know a lower id, one must know the broker itself, and its copy of the master's log must have
    /// stopped.
    pub fn stand(&self, is_copying: bool, now_ms: i64) -> Stand {
        let is_lowest = self.lowest(now_ms).is_some_and(|(id, _)| id == self.own);
        if self.own != MASTER && is_lowest && !is_copying { Stand::StandsIn } else { Stand::Beside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[i64]) -> BTreeMap<i64, String> {
        ids.iter().map(|id| (*id, format!("h:{id}"))).collect()
    }

    #[test]
    fn the_slave_of_the_lowest_id_stands_in_while_no_name_server_knows_a_lower_one() {
        let mut group = Group::new(1, 10_000);
        assert_eq!(group.stand(false, 0), Stand::Beside, "nobody tells");
        group.heard("n:1", members(&[0, 1, 2]), 0);
        assert_eq!((group.stand(false, 0), group.lowest(0)), (Stand::Beside, Some((0, "h:0"))));
        group.heard("n:1", members(&[1, 2]), 1_000);
        assert_eq!(group.stand(true, 1_000), Stand::Beside, "its master still sends");
        assert_eq!((group.stand(false, 1_000), group.lowest(1_000)), (Stand::StandsIn, Some((1, "h:1"))));
        group.heard("n:2", members(&[0, 1]), 1_000);
        assert_eq!(group.stand(false, 1_000), Stand::Beside, "another name server has the master");
        group.heard("n:1", members(&[1]), 11_500);
        assert_eq!(group.stand(false, 11_500), Stand::StandsIn, "that one has been silent");
        group.heard("n:1", members(&[]), 11_600);
        assert_eq!(group.stand(false, 11_600), Stand::Beside, "one that has just begun knows nobody");
        group.heard("n:1", members(&[1, 2]), 11_700);
        assert_eq!(group.stand(false, 30_000), Stand::Beside, "nobody has told for long");
    }

    #[test]
    fn a_master_and_a_slave_of_a_higher_id_never_do() {
        for own in [0, 2] {
            let mut group = Group::new(own, 10_000);
            group.heard("n:1", members(&[own.min(1), 2]), 0);
            assert_eq!(group.stand(false, 0), Stand::Beside);
        }
    }
}
