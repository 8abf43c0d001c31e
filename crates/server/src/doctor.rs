//! The doctor inside of a server: looks each minute, and tells what is new and what is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apogee_broker::{GroupLook, Look, MemberLook, Observer, SlaveLook, SlavesLook};
use apogee_doctor::{
    Broker, BrokerState, Diary, Facts, Finding, Group, Halves, History, MasterState, Member, Missing, PATIENCE,
    Replicas, Severity, SlaveState, Topic, Unread, examine, this_machine, wish,
};
use apogee_namesrv::AskedTopics;
use tokio::net::TcpStream;

/// The first look comes early: what is wrong from the start is told soon after it.
const FIRST: Duration = Duration::from_secs(10);
/// How often the setting is looked at while it is off.
const OFF: Duration = Duration::from_secs(10);
/// A queue is stuck when its group has not come on for so long. Some messages take a while.
const STUCK: Duration = Duration::from_secs(300);

/// Looks after a broker until it ends. `listens`: where it can be reached from this process; `asked`: of the name
/// server in the same process.
pub async fn attend(observer: Observer, listens: String, asked: Option<Arc<AskedTopics>>) {
    let (mut history, mut diary) = (History::default(), Diary::default());
    let mut wait = FIRST;
    loop {
        let Some(interval) = observer.interval().map(Duration::from_secs) else { return };
        tokio::time::sleep(if interval.is_zero() { OFF } else { wait.min(interval) }).await;
        if interval.is_zero() {
            continue;
        }
        wait = interval;
        let looking = observer.clone();
        let Ok(look) = tokio::task::spawn_blocking(move || looking.look()).await else { return };
        // Between two roles there is nothing to see.
        let Some(look) = look else { continue };
        let mut facts = Facts { stuck_after: STUCK, ..Facts::default() };
        facts.name_servers = apogee_doctor::ask_name_servers(&look.name_servers, PATIENCE).await;
        facts.brokers = vec![broker(&look).await];
        facts.machine = Some(this_machine(&look.name));
        facts.missing = asked.as_deref().map(missing).unwrap_or_default();
        fill(&mut facts, look);
        history.note(&mut facts, Instant::now());
        apogee_doctor::ask_holders(&listens, &mut facts, PATIENCE).await;
        let findings = examine(&facts);
        tell(&mut diary, &findings);
        observer.set_findings(findings);
    }
}

/// Tells which topics clients ask a name server for in vain.
pub async fn attend_names(asked: Arc<AskedTopics>) {
    let mut diary = Diary::default();
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let facts = Facts { missing: missing(&asked), ..Facts::default() };
        tell(&mut diary, &examine(&facts));
    }
}

fn missing(asked: &AskedTopics) -> Vec<Missing> {
    let asked = asked.take().into_iter();
    asked.map(|(topic, asked)| Missing { topic, group: None, asked: Some((asked.peer, asked.times)) }).collect()
}

fn tell(diary: &mut Diary, findings: &[Finding]) {
    let (new, gone) = diary.note(findings);
    for Finding { severity, check, subject, what, why, advice } in new {
        match severity {
            Severity::Critical => tracing::error!(check, subject, "{what}. {why} {advice}"),
            Severity::Warning => tracing::warn!(check, subject, "{what}. {why} {advice}"),
            Severity::Note => tracing::info!(check, subject, "{what}. {why} {advice}"),
        }
    }
    for (check, subject) in gone {
        tracing::info!(check, subject, "is well again");
    }
}

/// The broker, reached as clients are told to.
async fn broker(look: &Look) -> Broker {
    let dialled = tokio::time::timeout(PATIENCE, TcpStream::connect(&look.advertised)).await;
    let state = match dialled {
        Ok(Ok(_)) => Ok(BrokerState {
            active: look.active,
            is_slave: look.is_slave,
            disk_usage: look.disk_usage,
            disk_cleans_at: look.disk_cleans_at as f64 / 100.0,
            disk_refuses_at: look.disk_refuses_at as f64 / 100.0,
            creates_topics: Some(look.creates_topics),
            ..BrokerState::default()
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    Broker { name: look.name.clone(), address: look.advertised.clone(), state }
}

fn fill(facts: &mut Facts, look: Look) {
    let since = |ms: i64| {
        let then = UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64);
        SystemTime::now().duration_since(then).unwrap_or_default()
    };
    let Look { name: broker, advertised, groups, topics, undecided, slaves, .. } = look;
    facts.replicas.extend(slaves.map(|slaves| replicas(&broker, advertised, slaves)));
    facts.groups = groups.into_iter().map(|look| group(&broker, look)).collect();
    facts.topics = topics
        .into_iter()
        .map(|topic| Topic {
            name: topic.name,
            messages: topic.messages,
            idle: topic.last_ms.map(since),
            is_read: Some(topic.is_read),
        })
        .collect();
    if let (count, Some(oldest)) = undecided {
        facts.halves = vec![Halves { broker, undecided: Some(count as u64), oldest: since(oldest) }];
    }
}

/// A master and its slaves.
fn replicas(name: &str, address: String, look: SlavesLook) -> Replicas {
    let slave = |look: SlaveLook| SlaveState {
        address: look.address,
        behind: look.behind,
        rate: look.rate,
        in_step: look.in_step,
    };
    let members = BTreeMap::from([(0, BTreeSet::from([address.clone()]))]);
    let master = MasterState {
        address,
        is_waited_for: look.are_waited_for,
        least_in_step: look.least_in_step,
        in_step: look.in_step,
        slaves: look.slaves.into_iter().map(slave).collect(),
    };
    Replicas { name: name.to_owned(), members, master: Some(master) }
}

fn group(broker: &str, look: GroupLook) -> Group {
    let GroupLook { name, broadcasts, members, unread } = look;
    let queues = unread.into_iter().map(|queue| Unread {
        topic: queue.topic.to_string(),
        broker: broker.to_owned(),
        id: queue.queue_id,
        committed: queue.committed,
        first: Some(queue.first),
        end: queue.end,
        ..Unread::default()
    });
    Group {
        name: name.to_string(),
        broadcasts,
        members: members.into_iter().map(member).collect(),
        queues: queues.collect(),
    }
}

fn member(look: MemberLook) -> Member {
    let wants = look
        .wants
        .map(|wants| wants.into_iter().map(|(topic, (kind, expression))| (topic, wish(&kind, &expression))).collect());
    Member {
        id: look.id.to_string(),
        address: look.address.to_string(),
        language: look.language.to_owned(),
        version: look.version,
        wants,
    }
}
