//! Consumer groups: that all messages are read, by all members alike.

use std::collections::{BTreeMap, BTreeSet};

use apogee_message::names;

use super::{Found, about, list};
use crate::facts::{Group, Holder, Member, Unread};
use crate::{Facts, Severity};

/// Number of V4_4_0: clients from then on know traces and signed requests.
const OLD: i32 = 293;

fn of_users(facts: &Facts) -> impl Iterator<Item = &Group> {
    facts.groups.iter().filter(|group| !group.is_of_system())
}

/// Members of a group want the same.
pub fn subscriptions(facts: &Facts, found: &mut Found<'_>) {
    for group in of_users(facts).filter(|group| !group.broadcasts) {
        let told: Vec<_> = group.members.iter().filter_map(|member| Some((member, member.wants.as_ref()?))).collect();
        let topics: BTreeSet<_> = told.iter().flat_map(|(_, wants)| wants.keys()).collect();
        for topic in topics.into_iter().filter(|topic| !topic.starts_with(names::RETRY_PREFIX)) {
            let mut by_wish: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (member, wants) in &told {
                let wish = wants.get(topic).map_or("nothing of it", String::as_str);
                by_wish.entry(wish).or_default().push(&member.id);
            }
            if by_wish.len() < 2 {
                continue;
            }
            let wishes = by_wish.iter().map(|(wish, members)| format!("{} wants {wish}", list(members)));
            found.add(
                Severity::Critical,
                format!("{} in {topic}", group.name),
                format!("members of the group want different things: {}", wishes.collect::<Vec<_>>().join("; ")),
                "The members share the queues, so messages reach one that does not want them: they are skipped or \
                 wait for ever, and nobody is told.",
                "Give all members of the group the same topics and expressions, or the ones that differ a group of \
                 their own. While a new version is rolled out this passes by itself."
                    .to_owned(),
            );
        }
    }
}

/// Queues come on.
pub fn stuck(facts: &Facts, found: &mut Found<'_>) {
    for group in of_users(facts).filter(|group| !group.members.is_empty() && !group.broadcasts) {
        for queue in &group.queues {
            let Some(still) = queue.still.filter(|still| *still >= facts.stuck_after) else { continue };
            // Who consumes is slow, and not stuck.
            let is_busy = |idle: Option<std::time::Duration>| idle.is_some_and(|idle| idle < facts.stuck_after);
            let (holder, advice) = match &queue.holder {
                Holder::Member { idle, .. } if is_busy(*idle) => continue,
                Holder::Member { id, idle, waiting } => {
                    let since = idle.map(|idle| format!(", which has consumed nothing of it for {}", about(idle)));
                    let waiting = waiting.map(|waiting| format!(" and has {waiting} messages of it waiting"));
                    let held =
                        format!("it is read by {id}{}{}", since.unwrap_or_default(), waiting.unwrap_or_default());
                    let advice = format!(
                        "See what {id} does with the message at offset {}: `mqadmin consumerStatus -g {} -i {id} -s` \
                         shows its threads, `mqadmin queryMsgByOffset -t {} -b {} -i {} -o {}` the message. Starting \
                         it anew gives the queue to another member.",
                        queue.committed, group.name, queue.topic, queue.broker, queue.id, queue.committed
                    );
                    (held, advice)
                }
                Holder::Nobody => {
                    let advice = "See that all members subscribe to the topic and share the queues by the same \
                                  strategy; a member that does not read a queue it should have must be started anew."
                        .to_owned();
                    ("no member reads it".to_owned(), advice)
                }
                Holder::Unknown => {
                    let advice = format!(
                        "See who reads it (`mqadmin consumerProgress -g {} -s true`), and what that client does.",
                        group.name
                    );
                    ("who reads it is not known".to_owned(), advice)
                }
            };
            found.add(
                Severity::Critical,
                format!("{} in {}", group.name, place(queue)),
                format!(
                    "{} messages wait, the group has been at offset {} for {}; {holder}",
                    queue.end - queue.committed,
                    queue.committed,
                    about(still)
                ),
                "Messages of this queue are not consumed; the others go on, so it is easily overlooked.",
                advice,
            );
        }
    }
}

/// Somebody is there to read.
pub fn absent(facts: &Facts, found: &mut Found<'_>) {
    for group in of_users(facts).filter(|group| group.members.is_empty()) {
        let unread: i64 = group.queues.iter().map(|queue| queue.end - queue.committed).sum();
        if unread == 0 {
            continue;
        }
        let topics: BTreeSet<_> = group.queues.iter().map(|queue| queue.topic.as_str()).collect();
        found.add(
            Severity::Warning,
            &group.name,
            format!("{unread} messages wait for it in {}, and no member is there", list(&Vec::from_iter(topics))),
            "Nobody consumes them; they are removed when they are old enough.",
            format!(
                "Start its consumers, and see that they name the group exactly so. If nobody needs it any more: \
                 `mqadmin deleteSubGroup -c CLUSTER -g {} -r true`.",
                group.name
            ),
        );
    }
}

/// Nothing was removed that the group had not read.
pub fn lost(facts: &Facts, found: &mut Found<'_>) {
    for group in of_users(facts).filter(|group| !group.broadcasts) {
        let mut lost: BTreeMap<&str, i64> = BTreeMap::new();
        for queue in &group.queues {
            // A group that begins with the newest messages has an offset, one that never came has 0.
            let gone = queue.first.unwrap_or(0) - queue.committed;
            if gone > 0 && queue.committed > 0 {
                *lost.entry(&queue.topic).or_default() += gone;
            }
        }
        for (topic, messages) in lost {
            found.add(
                Severity::Warning,
                format!("{} in {topic}", group.name),
                format!("{messages} messages were removed before the group read them"),
                "They are lost to this group.",
                "Keep messages for longer (fileReservedTime), give the disk more room, or add consumers so that the \
                 group keeps up."
                    .to_owned(),
            );
        }
    }
}

/// Clients are not too old.
pub fn old_clients(facts: &Facts, found: &mut Found<'_>) {
    let mut old: BTreeMap<(&str, &str, i32), BTreeSet<&str>> = BTreeMap::new();
    let producers = facts.producers.iter().map(|producer| (producer.group.as_str(), &producer.client));
    let members = of_users(facts).flat_map(|group| group.members.iter().map(|member| (group.name.as_str(), member)));
    for (group, Member { id, language, version, .. }) in producers.chain(members) {
        if *version < OLD && *version > 0 {
            old.entry((group, language, *version)).or_default().insert(id);
        }
    }
    for ((group, language, version), clients) in old {
        let version = apogee_wire::version::name(version);
        found.add(
            Severity::Note,
            format!("{group}, {language} {version}"),
            format!("{} clients speak {version}: {}", clients.len(), list(&Vec::from_iter(clients))),
            "Clients before V4_4_0 know neither traces nor signed requests: they cannot be followed, and are locked \
             out when access is controlled.",
            "Use a newer client; old and new ones can share a group.".to_owned(),
        );
    }
}

fn place(queue: &Unread) -> String {
    format!("{} {} {}", queue.topic, queue.broker, queue.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checks::tests::found;

    fn member(id: &str, wants: &[(&str, &str)]) -> Member {
        let wants = wants.iter().map(|(topic, wish)| ((*topic).to_owned(), (*wish).to_owned())).collect();
        Member { id: id.to_owned(), version: 513, wants: Some(wants), ..Member::default() }
    }

    fn facts(group: Group) -> Facts {
        Facts { groups: vec![group], stuck_after: Duration::from_secs(60), ..Facts::default() }
    }

    fn group(members: &[Member], queues: &[Unread]) -> Group {
        Group { name: "G".into(), members: members.into(), queues: queues.into(), ..Group::default() }
    }

    fn unread() -> Unread {
        Unread { topic: "T".into(), broker: "a".into(), committed: 5, end: 8, ..Unread::default() }
    }

    fn held(idle: u64) -> Holder {
        Holder::Member { id: "m".into(), idle: Some(Duration::from_secs(idle)), waiting: Some(3) }
    }

    #[test]
    fn members_that_want_the_same_are_fine() {
        let both = [member("a", &[("T", "TAG x")]), member("b", &[("T", "TAG x"), ("%RETRY%G", "TAG *")])];
        assert!(found(&facts(group(&both, &[]))).is_empty());
    }

    #[test]
    fn members_that_differ_are_named_by_topic() {
        let differ = [member("a", &[("T", "TAG x"), ("U", "TAG *")]), member("b", &[("T", "TAG y")])];
        assert_eq!(
            found(&facts(group(&differ, &[]))),
            ["critical subscriptions G in T", "critical subscriptions G in U"]
        );
        let mut broadcasting = group(&differ, &[]);
        broadcasting.broadcasts = true;
        assert!(found(&facts(broadcasting)).is_empty());
    }

    #[test]
    fn a_queue_is_stuck_when_neither_the_group_nor_its_reader_comes_on() {
        let members = [member("m", &[("T", "TAG *")])];
        let still = |seconds, holder| Unread { still: Some(Duration::from_secs(seconds)), holder, ..unread() };
        let stuck = ["critical stuck-queue G in T a 0"];
        for (queue, is_stuck) in [
            (still(59, held(100)), false),
            (still(61, held(100)), true),
            (still(61, held(3)), false),
            (still(61, Holder::Nobody), true),
            (still(61, Holder::Unknown), true),
            (unread(), false),
        ] {
            let found = found(&facts(group(&members, std::slice::from_ref(&queue))));
            assert_eq!(found == stuck, is_stuck, "{queue:?}: {found:?}");
        }
    }

    #[test]
    fn a_group_without_members_is_named_once() {
        assert_eq!(found(&facts(group(&[], &[unread(), unread()]))), ["warning absent-group G"]);
        let mut of_system = group(&[], &[unread()]);
        of_system.name = "TOOLS_CONSUMER".into();
        assert!(found(&facts(of_system)).is_empty());
    }

    #[test]
    fn messages_that_went_unread_are_counted() {
        let members = [member("m", &[])];
        let gone = Unread { first: Some(7), ..unread() };
        assert_eq!(found(&facts(group(&members, &[gone]))), ["warning lost-unread G in T"]);
        let never = Unread { first: Some(7), committed: 0, ..unread() };
        assert!(found(&facts(group(&members, &[never]))).is_empty());
    }

    #[test]
    fn old_clients_are_counted_by_version() {
        let old = Member { version: 253, language: "JAVA".into(), ..member("a", &[]) };
        assert_eq!(found(&facts(group(&[old], &[]))), ["note old-clients G, JAVA V4_2_0"]);
    }
}
