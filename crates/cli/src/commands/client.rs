//! Clients of groups.

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, Connection, ConsumerConnection, ProducerConnection};
use apogee_wire::codes::request;
use apogee_wire::headers::{GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader};
use clap::Args;

use crate::admin::{Admin, AdminError};
use crate::table::{row, table};
use crate::version;

/// Flags of `consumerConnection`.
#[derive(Args, Debug)]
pub struct Consumers {
    /// Consumer group
    #[arg(short = 'g', long = "consumerGroup")]
    group: String,
    /// One broker, host:port, instead of those with the group's retry topic
    #[arg(short = 'b', long = "brokerAddr")]
    broker: Option<String>,
}

/// Clients and subscriptions of a consumer group.
pub async fn consumers(admin: &Admin, command: Consumers) -> Result<String, AdminError> {
    let brokers = match command.broker {
        Some(broker) => vec![broker],
        None => addresses(admin, &names::retry_topic(&command.group)).await?,
    };
    let header = GetConsumerConnectionListRequestHeader { consumer_group: &command.group, rpc: Default::default() };
    let question = Command::request(request::GET_CONSUMER_CONNECTION_LIST).with_header(&header);
    let answer = first(admin, &brokers, &question).await?;
    Ok(describe(&ConsumerConnection::decode(&answer.body)?))
}

fn describe(consumers: &ConsumerConnection) -> String {
    let mut clients = vec![row(["#ClientId", "#ClientAddr", "#Language", "#Version"])];
    clients.extend(consumers.connection_set.iter().map(|client| row(cells(client).each_ref().map(String::as_str))));
    let mut subscriptions = vec![row(["#Topic", "#SubExpression"])];
    for (topic, subscription) in &consumers.subscription_table {
        subscriptions.push(row([topic, subscription.sub_string.as_deref().unwrap_or_default()]));
    }
    format!(
        "{}\nBelow is subscription:\n{}\nConsumeType: {}\nMessageModel: {}\nConsumeFromWhere: {}\n",
        table(&clients),
        table(&subscriptions),
        consumers.consume_type.map_or("null", |kind| kind.name()),
        consumers.message_model.map_or("null", |model| model.name()),
        consumers.consume_from_where.map_or("null", |from| from.name()),
    )
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
pub async fn producers(admin: &Admin, command: Producers) -> Result<String, AdminError> {
    let brokers = addresses(admin, &command.topic).await?;
    let header = GetProducerConnectionListRequestHeader { producer_group: &command.group, rpc: Default::default() };
    let question = Command::request(request::GET_PRODUCER_CONNECTION_LIST).with_header(&header);
    let producers = ProducerConnection::decode(&first(admin, &brokers, &question).await?.body)?;
    let numbered = producers.connection_set.iter().enumerate().map(|(at, client)| {
        let [id, address, language, version] = cells(client);
        row([&format!("{:04}", at + 1), &id, &address, &language, &version])
    });
    Ok(table(&numbered.collect::<Vec<_>>()))
}

/// Masters that have a topic.
async fn addresses(admin: &Admin, topic: &str) -> Result<Vec<String>, AdminError> {
    Ok(admin.brokers_of(topic).await?.into_iter().map(|(_, address)| address).collect())
}

/// The first good answer: clients connect to a broker when they first need it, so that one of
/// several may not know the group.
async fn first(admin: &Admin, brokers: &[String], question: &Command) -> Result<Command, AdminError> {
    let mut last = AdminError::Usage("no master has the topic: is its broker running?".to_owned());
    for broker in brokers {
        match admin.ask(broker, question.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn cells(client: &Connection) -> [String; 4] {
    [
        client.client_id.clone().unwrap_or_default(),
        client.client_addr.clone().unwrap_or_default(),
        client.language.map_or("OTHER", |language| language.name()).to_owned(),
        version::name(client.version),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_described_as_upstream_does() {
        let body = br#"{"connectionSet":[{"clientAddr":"127.0.0.1:55338","clientId":"192.0.2.2@rc","language":"JAVA",
            "version":513}],"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY",
            "messageModel":"CLUSTERING","subscriptionTable":{"T_res":{"subString":"TagA || TagB","topic":"T_res"}}}"#;
        let text = describe(&ConsumerConnection::decode(body).unwrap());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["#ClientId", "#ClientAddr", "#Language", "#Version"]);
        assert_eq!(lines[1], ["192.0.2.2@rc", "127.0.0.1:55338", "JAVA", "V5_5_0"]);
        assert_eq!(lines[5], ["T_res", "TagA", "||", "TagB"]);
        assert!(text.ends_with(
            "\nConsumeType: CONSUME_PASSIVELY\nMessageModel: CLUSTERING\nConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET\n"
        ));
    }
}
