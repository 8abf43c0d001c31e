//! The command line.
//!
//! The binary answers to several names: as `mqnamesrv`, `mqbroker` and `mqcontroller` it takes upstream's flags,
//! so that existing scripts, images and operators go on working.

use std::net::IpAddr;
use std::path::PathBuf;

use apogee_bench::BenchArgs;
use apogee_cli::{AdminArgs, ConsumeArgs, ProduceArgs, TopArgs};
use apogee_doctor::DoctorArgs;
use clap::{Args, Parser, Subcommand};

const ABOUT: &str = "A message broker that speaks Apache RocketMQ's protocols and keeps its disk formats.";

const AFTER: &str = "\
Without a command, `apogee` means `apogee server`: a name server and a broker in one process, which
official RocketMQ clients reach at 127.0.0.1:9876.

Logs go to standard error; APOGEE_LOG sets what is logged (error, warn, info, debug, or by module:
info,apogee_broker=debug), APOGEE_LOG_FORMAT=json writes them for machines.";

const COMPLETION: &str = "\
bash: apogee completion bash > /etc/bash_completion.d/apogee
zsh:  apogee completion zsh > \"${fpath[1]}/_apogee\"
fish: apogee completion fish > ~/.config/fish/completions/apogee.fish";

/// The command line of `apogee`.
#[derive(Parser, Debug)]
#[command(name = "apogee", version, about = ABOUT, after_help = AFTER, subcommand_precedence_over_arg = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Name server and broker in one process: all that a laptop or a small system needs.
    Server(ServerArgs),
    /// A name server: tells clients which broker has a topic.
    Namesrv(NamesrvArgs),
    /// A broker: keeps the messages; registers with name servers.
    Broker(BrokerArgs),
    /// A controller: elects the masters of groups of brokers, together with others of its kind.
    Controller(ControllerArgs),
    /// Commands for administrators, with the names and flags of upstream's mqadmin.
    Admin(AdminArgs),
    /// The same, called by upstream's name: by scripts that cannot be asked.
    #[command(skip)]
    MqAdmin(AdminArgs),
    /// Look at a cluster, of this kind or Apache's: what is wrong, why it matters, what to do.
    Doctor(DoctorArgs),
    /// Watch topics, groups, lag and rates, live.
    Top(TopArgs),
    /// Send each line of standard input, or each file, as a message.
    Produce(ProduceArgs),
    /// Print messages as they come.
    Consume(ConsumeArgs),
    /// Measure a broker, this one or Apache's, by load.
    Bench(BenchArgs),
    /// Print a script by which a shell completes commands and options.
    #[command(after_help = COMPLETION)]
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write a page of documentation for each command.
    #[command(hide = true)]
    Pages {
        /// Where to; created when it isn't there.
        folder: PathBuf,
    },
    /// Look at a store's folder, of this broker or of Apache's, that no broker has open.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
}

/// What to do with a store.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Check every record, queue and index entry. Ends with 2 when there is damage, with 1 when the
    /// store cannot be read.
    Check {
        #[command(flatten)]
        store: StoreArgs,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print records, queues, index and checkpoint; all of it unless a part is named.
    Dump(StoreDumpArgs),
}

/// Which store.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The store: the folder that `commitlog` and `consumequeue` are in.
    pub folder: PathBuf,
    /// Folder of the commit log, where it is not in the store's (storePathCommitLog).
    #[arg(long, value_name = "DIR")]
    pub log_folder: Option<PathBuf>,
    /// Hash slots of an index file (maxHashSlotNum).
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub index_slots: u32,
    /// Entries of an index file (maxIndexNum).
    #[arg(long, value_name = "N", default_value_t = 20_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub index_entries: u32,
}

/// Options of `apogee store dump`.
#[derive(Args, Debug)]
pub struct StoreDumpArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The records of the commit log.
    #[arg(long)]
    pub log: bool,
    /// The units of one queue.
    #[arg(long, num_args = 2, value_names = ["TOPIC", "ID"])]
    pub queue: Option<Vec<String>>,
    /// The entries of the index.
    #[arg(long)]
    pub index: bool,
    /// The checkpoint.
    #[arg(long)]
    pub checkpoint: bool,
    /// One JSON object for each line.
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// The command given, `server` when there is none.
    pub fn chosen(self) -> Command {
        self.command.unwrap_or(Command::Server(self.server))
    }
}

/// Options of `apogee server`.
#[derive(Args, Debug)]
pub struct ServerArgs {
    /// Folder that everything is kept in; created when it isn't there.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Address or host name that clients are told to reach the broker at. By default the address of
    /// this machine in its network, or 127.0.0.1 when it has none.
    #[arg(long, value_name = "IP")]
    pub host: Option<String>,
    /// Address to listen on: all of the machine's by default; with --cluster, an address of the loopback that is given as
    /// --host.
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// Port of the name server.
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub namesrv_port: u16,
    /// Port of the broker; slaves copy from the one behind it.
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    pub broker_port: u16,
    /// Machines of a replicated group, three or five: each runs the same command, with its own --host. One of them is
    /// elected master; when it is lost, another one takes over, and nothing is lost that was acknowledged.
    #[arg(long, value_name = "HOST,HOST,HOST", value_delimiter = ',')]
    pub cluster: Vec<String>,
    /// Name of the replicated group [default: broker-a].
    #[arg(long, value_name = "GROUP", requires = "cluster")]
    pub name: Option<String>,
    /// Port of the controller, which elects the master; for --cluster.
    #[arg(long, value_name = "PORT", default_value_t = 9878)]
    pub controller_port: u16,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `apogee namesrv`.
#[derive(Args, Debug)]
pub struct NamesrvArgs {
    /// Property file with upstream's keys (namesrv.conf).
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Port to listen on.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `apogee broker`.
#[derive(Args, Debug)]
pub struct BrokerArgs {
    /// Property file with upstream's keys (broker.conf).
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name servers to register with, separated by semicolons.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDR;ADDR", env = "NAMESRV_ADDR")]
    pub namesrv: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `apogee controller`.
#[derive(Args, Debug)]
pub struct ControllerArgs {
    /// Property file with upstream's keys (controller.conf).
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of every server command.
#[derive(Args, Debug)]
pub struct Common {
    /// Sets one of upstream's keys; given several times, the last one counts. Comes after files.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Prints the effective settings with their meaning, as a property file, and ends.
    #[arg(short = 'p', long)]
    pub print_settings: bool,
}

/// `mqnamesrv`, with upstream's flags.
#[derive(Parser, Debug)]
#[command(name = "mqnamesrv", version, about = "A name server; the same as `apogee namesrv`.")]
pub struct MqNamesrv {
    #[command(flatten)]
    pub args: NamesrvArgs,
    /// Accepted as upstream accepts it; a name server has no use for it.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR", hide = true)]
    pub namesrv: Option<String>,
}

/// `mqbroker`, with upstream's flags.
#[derive(Parser, Debug)]
#[command(name = "mqbroker", version, about = "A broker; the same as `apogee broker`.")]
pub struct MqBroker {
    #[command(flatten)]
    pub args: BrokerArgs,
    /// Prints the settings, as -p does.
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important: bool,
}

/// `mqcontroller`, with upstream's flags.
#[derive(Parser, Debug)]
#[command(name = "mqcontroller", version, about = "A controller; the same as `apogee controller`.")]
pub struct MqController {
    #[command(flatten)]
    pub args: ControllerArgs,
}

/// `mqadmin`, with upstream's commands and flags.
#[derive(Parser, Debug)]
#[command(name = "mqadmin", version, about = "Commands for administrators; the same as `apogee admin`.")]
pub struct MqAdmin {
    #[command(flatten)]
    pub args: AdminArgs,
}
