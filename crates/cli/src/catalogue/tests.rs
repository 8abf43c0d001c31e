//! Every command and option of upstream's `mqadmin` is here, by its name.

use std::collections::BTreeSet;

use super::{GROUPS, Kind};
use crate::AdminArgs;
use clap::{Arg, ArgAction, Command, CommandFactory, Parser};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    _args: AdminArgs,
}

/// What upstream has: a row for each option, or one of `-` for a command without any.
struct Row<'a> {
    command: &'a str,
    alias: &'a str,
    kind: &'a str,
    short: &'a str,
    long: &'a str,
    required: &'a str,
    takes_value: bool,
}

fn rows() -> Vec<Row<'static>> {
    let table = include_str!("../../../../tests/golden/mqadmin/commands.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#')).skip(1);
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [command, alias, kind, _, short, long, required, arg] = cells[..8] else { panic!("{line}") };
        Row { command, alias, kind, short, long, required, takes_value: arg == "arg" }
    };
    lines.map(row).collect()
}

/// What is not as upstream has it.
fn difference(command: &Command, row: &Row<'_>) -> Option<String> {
    // Some of upstream's long names have a space, and nobody can type them.
    let typed = !row.long.is_empty() && !row.long.contains(' ');
    let has_long =
        |arg: &&Arg| arg.get_long() == Some(row.long) || arg.get_all_aliases().unwrap_or_default().contains(&row.long);
    let has_short = |arg: &&Arg| arg.get_short().map(String::from).as_deref() == Some(row.short);
    let find = |has: &dyn Fn(&&Arg) -> bool| command.get_arguments().find(|arg| has(arg));
    let arg = if row.short.chars().count() == 1 { find(&has_short) } else { find(&has_long) };
    let Some(arg) = arg else { return Some("is not there".to_owned()) };
    if typed && !has_long(&arg) {
        return Some(format!("is called {:?}", arg.get_long()));
    }
    if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) != row.takes_value {
        return Some("takes a value here and not there, or the other way round".to_owned());
    }
    let required = row.required == "yes";
    (arg.is_required_set() != required).then(|| format!("required there: {required}"))
}

#[test]
fn every_command_and_option_of_upstream_is_here() {
    let mut root = Cli::command();
    root.build();
    let mut wrong = BTreeSet::new();
    for row in rows() {
        let Some(command) = root.find_subcommand(row.command) else {
            wrong.insert(format!("{}: is not there", row.command));
            continue;
        };
        if !row.alias.is_empty() && root.find_subcommand(row.alias).is_none() {
            wrong.insert(format!("{}: is not called {}", row.command, row.alias));
        }
        if row.short == "-" {
            continue;
        }
        if let Some(difference) = difference(command, &row) {
            wrong.insert(format!("{} -{} --{}: {difference}", row.command, row.short, row.long));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn whatever_upstream_only_reads_can_be_watched() {
    let reads: BTreeSet<&str> = rows().iter().filter(|row| row.kind == "read").map(|row| row.command).collect();
    let all = GROUPS.iter().flat_map(|group| group.commands);
    let cannot: Vec<&str> =
        all.filter(|(name, _, kind)| reads.contains(name) && *kind != Kind::Read).map(|(name, ..)| *name).collect();
    assert!(cannot.is_empty(), "{cannot:?}");
}
