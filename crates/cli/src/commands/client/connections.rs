//! Who is connected.

use apogee_client::admin::ClientInfo;
use clap::Args;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;
use apogee_wire::version;

/// Flags of `consumerConnection`.
#[derive(Args, Debug)]
pub struct Consumers {
    /// Consumer group
    #[arg(short = 'g', long = "consumerGroup")]
    group: String,
    /// Only this broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS")]
    broker: Option<String>,
}

/// Clients and subscriptions of a consumer group.
pub async fn consumers(context: &Context, flags: &Consumers) -> Result<Report, CliError> {
    let group = flags.group.trim();
    let admin = match &flags.broker {
        Some(broker) => context.admin.broker(broker.trim()),
        None => context.admin.clone(),
    };
    let members = admin.members(group).await?;
    if members.clients.is_empty() {
        return Err(CliError::not_found(format!("group {group} has no consumer that is online")));
    }
    let mut clients = Table::new(&[
        ("#ClientId", "clientId"),
        ("#ClientAddr", "address"),
        ("#Language", "language"),
        ("#Version", "version"),
    ]);
    for client in &members.clients {
        clients.row(cells(client));
    }
    let mut subscriptions = Table::new(&[("#Topic", "topic"), ("#SubExpression", "expression")]);
    for subscription in &members.subscriptions {
        subscriptions.row([(&*subscription.topic).into(), (&*subscription.expression).into()]);
    }
    let name = |name: Option<&str>| name.map_or(Cell::both("null", ()), Cell::from);
    let how = Fields::new(0, ": ")
        .field("ConsumeType", "consumeType", name(members.consume_type.map(|kind| kind.name())))
        .field("MessageModel", "messageModel", name(members.model.map(|model| model.name())))
        .field("ConsumeFromWhere", "consumeFromWhere", name(members.from.map(|from| from.name())));
    Ok(Report::new()
        .table("clients", clients)
        .line("")
        .line("Below is subscription:")
        .table("subscriptions", subscriptions)
        .line("")
        .fields("group", how))
}

fn cells(client: &ClientInfo) -> [Cell; 4] {
    let ClientInfo { id, address, language, version } = client;
    [id.into(), address.into(), language.into(), version::name(*version).into()]
}

/// Flags of `producerConnection`.
#[derive(Args, Debug)]
pub struct Producers {
    /// Producer group
    #[arg(short = 'g', long = "producerGroup")]
    group: String,
    /// A topic that it sends to
    #[arg(short = 't', long = "topic")]
    topic: String,
}

/// Clients of a producer group.
pub async fn producers(context: &Context, flags: &Producers) -> Result<Report, CliError> {
    let clients = context.admin.producers_of(flags.group.trim(), flags.topic.trim()).await?;
    let mut report = Report::new().data("clients", Value::Array(Vec::new()));
    for (at, client) in clients.iter().enumerate() {
        let ClientInfo { id, address, language, version } = client;
        let version = version::name(*version);
        // Upstream has no headings here.
        let line = format!("{:04}  {id:<32} {address:<22} {language:<8} {version}", at + 1);
        let json = json!({"clientId": id, "address": address, "language": language, "version": version});
        report = report.line(line).data_item("clients", json);
    }
    Ok(report)
}

/// Flags of `producer`.
#[derive(Args, Debug)]
pub struct AllProducers {
    /// Broker, host:port
    #[arg(short = 'b', long = "broker", value_name = "ADDRESS")]
    broker: String,
}

/// All producers that a broker knows.
pub async fn all_producers(context: &Context, flags: &AllProducers) -> Result<Report, CliError> {
    let mut report = Report::new().data("producers", Value::Array(Vec::new()));
    for producer in context.admin.broker(flags.broker.trim()).producers().await? {
        let ClientInfo { id, address, language, version } = &producer.client;
        let heard = Cell::time(producer.last_heard).to_json();
        let since = producer.last_heard.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let milliseconds = since.unwrap_or_default().as_millis();
        report = report
            .line(format!(
                "producer group ({}) instance : clientId={id},remoteIP={address}, language={language}, \
                 version={version}, lastUpdateTimestamp={milliseconds}",
                producer.group
            ))
            .data_item(
                "producers",
                json!({
                    "group": producer.group, "clientId": id, "address": address.trim_start_matches('/'),
                    "language": language, "version": version::name(*version), "lastHeard": heard,
                }),
            );
    }
    Ok(report)
}
