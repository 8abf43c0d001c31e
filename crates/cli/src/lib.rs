//! Commands for administrators, with upstream's names, flags and columns (upstream `mqadmin`).
//!
//! A command is a struct in `commands/` with its flags, and a function that asks name servers and
//! brokers through `admin.rs` and returns the text to print.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod admin;
mod commands;
mod missing;
mod pipe;
mod table;
mod version;

pub use pipe::{ConsumeArgs, ProduceArgs, consume, produce};

use admin::{Admin, AdminError};
use commands::{client, cluster, find, group, kv, message, perm, topic};

/// Options of `apogee admin` and `mqadmin`.
#[derive(Args, Debug)]
#[command(after_help = missing::help())]
pub struct AdminArgs {
    /// Name servers, separated by semicolons; the first that answers is asked.
    #[arg(short = 'n', long = "namesrvAddr", global = true, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
#[command(rename_all = "camelCase")]
enum Command {
    /// Create a topic, or change it
    UpdateTopic(topic::Update),
    /// Remove a topic from the brokers of a cluster and from the name servers
    DeleteTopic(topic::Delete),
    /// Names of all topics
    TopicList(topic::List),
    /// Which brokers have a topic
    TopicRoute(topic::Route),
    /// Offsets of a topic's queues
    TopicStatus(topic::Status),
    /// Clusters that a topic is in
    TopicClusterList(perm::Clusters),
    /// Change a topic's permission
    UpdateTopicPerm(perm::Update),
    /// Clusters, their brokers and how busy they are
    ClusterList(cluster::List),
    /// Figures of a broker
    BrokerStatus(cluster::Target),
    /// Settings of a broker
    GetBrokerConfig(cluster::Target),
    /// Change a setting of a broker while it runs
    UpdateBrokerConfig(cluster::Update),
    /// Take the write permission from a broker's topics
    WipeWritePerm(cluster::WritePerm),
    /// Give the write permission back to a broker's topics
    AddWritePerm(cluster::WritePerm),
    /// Settings of the name servers
    GetNamesrvConfig,
    /// Set a value in the name servers
    UpdateKvConfig(kv::Put),
    /// Remove a value from the name servers
    DeleteKvConfig(kv::Delete),
    /// Create a subscription group, or change it
    UpdateSubGroup(group::Update),
    /// Remove a subscription group
    DeleteSubGroup(group::Delete),
    /// How far a consumer group is behind
    ConsumerProgress(group::Progress),
    /// Clients and subscriptions of a consumer group
    ConsumerConnection(client::Consumers),
    /// Clients of a producer group
    ProducerConnection(client::Producers),
    /// Move a consumer group to a time
    ResetOffsetByTime(group::Reset),
    /// Show the message with an id
    QueryMsgById(message::ById),
    /// Show the messages with a key
    QueryMsgByKey(message::ByKey),
    /// Show the message with an id of its producer
    QueryMsgByUniqueKey(find::ByUniqueKey),
    /// Show the message at a place of a queue
    QueryMsgByOffset(find::ByOffset),
    /// Send a message
    SendMessage(message::Send),
}

/// Runs a command; the text of its outcome goes to standard output, that of a failure to standard
/// error.
pub fn run(args: AdminArgs) -> ExitCode {
    use std::io::Write;
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AdminError::System)
        .and_then(|runtime| runtime.block_on(execute(args)));
    // Whoever closed the other end has read enough.
    match outcome {
        Ok(text) => {
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "mqadmin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(args: AdminArgs) -> Result<String, AdminError> {
    let admin = Admin::new(&args.namesrv);
    match args.command {
        Command::UpdateTopic(command) => topic::update(&admin, command).await,
        Command::DeleteTopic(command) => topic::delete(&admin, command).await,
        Command::TopicList(command) => topic::list(&admin, command).await,
        Command::TopicRoute(command) => topic::route(&admin, command).await,
        Command::TopicStatus(command) => topic::status(&admin, command).await,
        Command::ClusterList(command) => cluster::list(&admin, command).await,
        Command::BrokerStatus(command) => cluster::status(&admin, command).await,
        Command::GetBrokerConfig(command) => cluster::config(&admin, command).await,
        Command::UpdateBrokerConfig(command) => cluster::update(&admin, command).await,
        Command::WipeWritePerm(command) => cluster::wipe(&admin, command).await,
        Command::AddWritePerm(command) => cluster::give_back(&admin, command).await,
        Command::UpdateSubGroup(command) => group::update(&admin, command).await,
        Command::DeleteSubGroup(command) => group::delete(&admin, command).await,
        Command::ConsumerProgress(command) => group::progress(&admin, command).await,
        Command::ResetOffsetByTime(command) => group::reset(&admin, command).await,
        Command::QueryMsgById(command) => message::by_id(&admin, command).await,
        Command::QueryMsgByKey(command) => message::by_key(&admin, command).await,
        Command::TopicClusterList(command) => perm::clusters(&admin, command).await,
        Command::UpdateTopicPerm(command) => perm::update(&admin, command).await,
        Command::GetNamesrvConfig => kv::namesrv_config(&admin).await,
        Command::UpdateKvConfig(command) => kv::put(&admin, command).await,
        Command::DeleteKvConfig(command) => kv::delete(&admin, command).await,
        Command::ConsumerConnection(command) => client::consumers(&admin, command).await,
        Command::ProducerConnection(command) => client::producers(&admin, command).await,
        Command::QueryMsgByUniqueKey(command) => find::by_unique_key(&admin, command).await,
        Command::QueryMsgByOffset(command) => find::by_offset(&admin, command).await,
        Command::SendMessage(command) => message::send(&admin, command).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: super::AdminArgs,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let args = Cli::try_parse_from(["mqadmin", "topicClusterList", "-t", "T", "-n", "a:1;b:2"]).map(|cli| cli.args);
        assert_eq!(args.unwrap().namesrv, "a:1;b:2");
    }

    #[test]
    fn help_lists_what_is_missing_and_nothing_that_is_there() {
        let help = super::missing::help();
        assert!(help.contains("haStatus"), "{help}");
        for command in Cli::command().get_subcommands() {
            let words = help.split([' ', ',', '\n']);
            assert!(!words.into_iter().any(|word| word == command.get_name()), "{} is there", command.get_name());
        }
    }
}
