//! What members of a group do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_client::admin::MemberState;
use clap::Args;

use super::member;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;
use apogee_wire::version;

/// A member that has messages and consumed none for longer than this may be stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Flags of `consumerStatus`.
#[derive(Args, Debug)]
pub struct Status {
    /// Consumer group
    #[arg(short = 'g', long = "consumerGroup")]
    group: String,
    /// Only this client: prints all that it tells; without, it goes to a file for each client
    #[arg(short = 'i', long = "clientId")]
    client: Option<String>,
    /// Only this broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS")]
    broker: Option<String>,
    /// With what its threads do
    #[arg(short = 's', long = "jstack")]
    stacks: bool,
}

/// What members of a group tell of themselves.
pub async fn run(context: &Context, flags: &Status) -> Result<Report, CliError> {
    let group = flags.group.trim();
    let admin = match &flags.broker {
        Some(broker) => context.admin.broker(broker.trim()),
        None => context.admin.clone(),
    };
    if let Some(client) = &flags.client {
        let state = admin.member_state(group, client.trim(), flags.stacks).await?;
        return Ok(Report::new().line(member::text(&state)).data("client", member::json(&state)));
    }
    let members = admin.members(group).await?;
    if members.clients.is_empty() {
        return Err(CliError::not_found(format!("group {group} has no consumer that is online")));
    }
    let now = SystemTime::now();
    let folder = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let mut table = Table::new(&[
        ("#Index", "index"),
        ("#ClientId", "clientId"),
        ("#Version", "version"),
        ("#ConsumerRunningInfoFile", "file"),
    ]);
    let (mut states, mut report) = (BTreeMap::new(), Report::new());
    for client in members.clients {
        let state = match admin.member_state(group, &client.id, flags.stacks).await {
            Ok(state) => state,
            Err(error) => {
                report = report.line(format!("{} does not tell: {error}", client.id));
                continue;
            }
        };
        let path = write(&folder, &client.id, &member::text(&state))?;
        let index = states.len() + 1;
        table.row([index.into(), (&*client.id).into(), version::name(client.version).into(), path.into()]);
        report = report.data_item("details", member::json(&state));
        states.insert(client.id, state);
    }
    report = report.table("clients", table);
    if states.is_empty() {
        return Ok(report);
    }
    let same = have_same_subscriptions(&states);
    report = report.line("").line("").data("sameSubscription", same);
    if !same {
        return Ok(report.line("WARN: Different subscription in the same group of consumer!!!"));
    }
    report = report.line("Same subscription in the same group of consumer").line("").line("Rebalance OK");
    let stuck: Vec<_> = states.iter().flat_map(|(client, state)| stuck(client, state, now)).collect();
    report = report.data("stuck", stuck.clone());
    Ok(stuck.into_iter().fold(report, Report::line))
}

/// Writes what a client tells to a file of its own. Ids of clients are what clients choose: they name no other folder.
fn write(folder: &str, client: &str, text: &str) -> Result<String, CliError> {
    let name: String = client
        .chars()
        .map(|letter| if letter == '/' || letter == '\\' || letter == '\0' { '_' } else { letter })
        .collect();
    let name = if name.trim_matches('.').is_empty() { format!("_{name}") } else { name };
    let path = Path::new(folder).join(name);
    let failed = |error| CliError::file(format!("cannot write {}", path.display()), error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(&path, text).map_err(failed)?;
    Ok(path.display().to_string())
}

/// Whether all members want the same messages.
pub fn have_same_subscriptions(states: &BTreeMap<String, MemberState>) -> bool {
    let wanted = |state: &MemberState| {
        let mut wanted: Vec<_> = state
            .subscriptions
            .iter()
            .map(|one| (one.topic.clone(), one.expression.clone(), one.kind.clone()))
            .collect();
        wanted.sort_unstable();
        wanted
    };
    let mut all = states.values().map(wanted);
    let first = all.next();
    all.all(|other| Some(&other) == first.as_ref())
}

/// Queues with which a member does not get on.
pub fn stuck(client: &str, state: &MemberState, now: SystemTime) -> Vec<String> {
    let is = |name: &str, value: &str| state.settings.get(name).is_some_and(|is| is == value);
    if !is("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY") {
        return Vec::new();
    }
    let since = |time: Option<SystemTime>| now.duration_since(time.unwrap_or(UNIX_EPOCH)).unwrap_or_default();
    let in_order = is("PROP_CONSUMEORDERLY", "true");
    let words = state.queues.iter().filter_map(|queue| {
        let held = &queue.queue;
        let name = format!("MessageQueue [topic={}, brokerName={}, queueId={}]", held.topic, held.broker, held.id);
        match (in_order, queue.locked) {
            (true, false) => {
                let since = since(queue.last_locked).as_millis();
                Some(format!("{client} {name} can't lock for a while, {since}ms"))
            }
            (true, true) if queue.dropped && queue.unlock_attempts > 0 => {
                Some(format!("{client} {name} unlock {} times, still failed", queue.unlock_attempts))
            }
            (false, _) if since(queue.last_consumed) > STUCK && queue.waiting > 0 => {
                let since = since(queue.last_consumed).as_millis();
                Some(format!("{client} {name} can't consume for a while, maybe blocked, {since}ms"))
            }
            _ => None,
        }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use apogee_client::Queue;
    use apogee_client::admin::{MemberQueue, Subscription};

    fn state(expression: &str, waiting: u32) -> MemberState {
        let queue = MemberQueue {
            queue: Queue { topic: "T".into(), broker: "b".into(), id: 1 },
            committed: 3,
            waiting,
            waiting_mib: 0,
            first_waiting: 3,
            last_waiting: 4,
            transactions: (0, 0, 0),
            locked: false,
            last_locked: None,
            unlock_attempts: 0,
            dropped: false,
            last_fetch: None,
            last_consumed: Some(UNIX_EPOCH),
        };
        let subscription =
            Subscription { topic: "T".into(), expression: expression.into(), kind: "TAG".into(), version: 1 };
        let settings = [("PROP_CONSUME_TYPE".to_owned(), "CONSUME_PASSIVELY".to_owned())];
        MemberState {
            queues: vec![queue],
            subscriptions: vec![subscription],
            settings: settings.into(),
            ..MemberState::default()
        }
    }

    #[test]
    fn a_member_that_has_messages_and_consumes_none_is_named() {
        let now = UNIX_EPOCH + Duration::from_secs(61);
        let words =
            "c MessageQueue [topic=T, brokerName=b, queueId=1] can't consume for a while, maybe blocked, 61000ms";
        assert_eq!(stuck("c", &state("*", 2), now), [words]);
        assert!(stuck("c", &state("*", 0), now).is_empty());
        let states = |expressions: [&str; 2]| {
            ["a", "b"]
                .into_iter()
                .zip(expressions)
                .map(|(id, expression)| (id.to_owned(), state(expression, 0)))
                .collect()
        };
        assert!(have_same_subscriptions(&states(["*", "*"])) && !have_same_subscriptions(&states(["*", "x"])));
    }

    #[test]
    fn what_a_member_tells_is_written_as_upstream_does() {
        let text = member::text(&state("TagA", 2));
        assert!(
            text.starts_with("#Consumer Properties#\nPROP_CONSUME_TYPE                       : CONSUME_PASSIVELY\n")
        );
        assert!(
            text.contains(
                "001 Topic: T                                        ClassFilter: false    SubExpression: TagA"
            )
        );
        assert!(text.contains("cachedMsgMinOffset=3, cachedMsgMaxOffset=4, cachedMsgCount=2,"), "{text}");
        assert!(text.contains("lastConsumeTimestamp=19700101000000000]"), "{text}");
    }
}
