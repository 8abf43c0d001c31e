//! Pages of the documentation about commands, made of what `--help` is made of.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

/// Writes a page for each command into a folder, and `README.md`, which lists them. A page is named by the command's
/// words: `admin-topicList.md`.
pub fn write(root: &mut Command, folder: &Path) -> io::Result<()> {
    root.build();
    std::fs::create_dir_all(folder)?;
    let mut list = String::from("# Commands\n\nWhat `--help` says, a page for each command.\n\n");
    for command in visible(root) {
        page(command, &[], folder, &mut list)?;
    }
    std::fs::write(folder.join("README.md"), list)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn page(command: &Command, above: &[&str], folder: &Path, list: &mut String) -> io::Result<()> {
    let words: Vec<&str> = above.iter().copied().chain([command.get_name()]).collect();
    let name = words.join("-");
    let about = plain(command.get_about());
    let indent = "  ".repeat(above.len());
    // Writing to a text does not fail.
    let _ = writeln!(list, "{indent}- [`apogee {}`]({name}.md): {}", words.join(" "), about.trim_end_matches('.'));
    std::fs::write(folder.join(format!("{name}.md")), text(command, &words))?;
    visible(command).try_for_each(|below| page(below, &words, folder, list))
}

fn text(command: &Command, words: &[&str]) -> String {
    let mut text = format!("# apogee {}\n\n", words.join(" "));
    let long = command.get_long_about().or(command.get_about());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let _ = write!(text, "{}\n\n```\n{usage}\n```\n", plain(long));
    let (places, options): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        .partition(|arg| arg.is_positional());
    // Those of all commands of a family are on its own page.
    let options: Vec<&Arg> = options.into_iter().filter(|arg| words.len() == 1 || !arg.is_global_set()).collect();
    for (heading, arguments) in [("Arguments", places), ("Options", options)] {
        if !arguments.is_empty() {
            let _ = write!(text, "\n## {heading}\n\n| {} | meaning |\n|---|---|\n", heading.to_lowercase());
            arguments.iter().for_each(|arg| row(&mut text, arg));
        }
    }
    if let ([family, _], true) = (words, command.get_arguments().any(Arg::is_global_set)) {
        let _ = write!(text, "\nBeside these, [`apogee {family}`]({family}.md) has options for all its commands.\n");
    }
    if visible(command).next().is_some() {
        text.push_str("\n## Commands\n\n");
        for below in visible(command) {
            let name = [words, &[below.get_name()]].concat();
            let _ = writeln!(text, "- [`{}`]({}.md): {}", below.get_name(), name.join("-"), plain(below.get_about()));
        }
    }
    text
}

fn row(text: &mut String, arg: &Arg) {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!(" <{name}>")).collect();
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = if takes { values.concat() } else { String::new() };
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let mut meaning = plain(arg.get_long_help().or(arg.get_help()));
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes && !possible.is_empty() {
        let _ = write!(meaning, " One of: {}.", possible.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        let _ = write!(meaning, " Default: `{}`.", defaults.join(" "));
    }
    if let Some(name) = arg.get_env() {
        let _ = write!(meaning, " Environment: `{}`.", name.to_string_lossy());
    }
    if arg.is_required_set() {
        meaning.push_str(" Required.");
    }
    let meaning = meaning.replace('\n', " ").replace('|', "\\|");
    let name = names.join("`, `") + &values;
    let _ = writeln!(text, "| `{}` | {} |", name.trim(), meaning.trim());
}

/// A sentence without colours, with a full stop.
fn plain(text: Option<&StyledStr>) -> String {
    let text = text.map(|text| text.to_string()).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '?', '!', ':']) { text.to_owned() } else { format!("{text}.") }
}
