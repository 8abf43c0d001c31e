//! `apogee top`: topics, groups, lag and rates, live.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::error::CliError;
use crate::pipe::Cluster;
use crate::run;

mod sample;
mod screen;
mod view;

use sample::Sampler;
use screen::Screen;
use view::{Rows, Sort, View};

const AFTER: &str = "\
Keys: q ends; tab shows groups instead of topics; s sorts by rate, messages or name; / filters by a part of the name;
p or space pauses; arrows and page keys scroll.

Of many topics and groups only --most are asked for each time: those on the screen, the busiest, and the others
in turn. A rate is what came between two looks; at first it is the server's own figure of the last minute.";

/// Options of `apogee top`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct TopArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Seconds between two looks.
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    interval: u32,
    /// What to show at first.
    #[arg(long, value_enum, default_value_t)]
    show: Rows,
    /// What to sort by at first.
    #[arg(short, long, value_enum, default_value_t)]
    sort: Sort,
    /// Only topics or groups whose name has this in it.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    filter: String,
    /// System, retry and dead letter topics, too.
    #[arg(long)]
    system: bool,
    /// Topics, and groups, that are looked at each time.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    most: u32,
    /// Look once and print it, as without a terminal.
    #[arg(long)]
    once: bool,
    /// Look once and print JSON.
    #[arg(long)]
    json: bool,
}

/// Shows what a cluster does until it is told to end.
pub fn top(args: TopArgs) -> ExitCode {
    run::block_on("apogee top", look(args))
}

async fn look(args: TopArgs) -> Result<(), CliError> {
    let client = args.cluster.client()?;
    let most = usize::try_from(args.most).unwrap_or(usize::MAX);
    let mut sampler = Sampler::new(client.admin(), most, args.system);
    let mut view = View::new(args.show, args.sort, args.filter);
    if args.once || args.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        sampler.look(&[]).await;
        return match sampler.error.take() {
            Some(error) => Err(error.into()),
            None => run::print(&view.report(&sampler, most), args.json),
        };
    }
    watch(&mut sampler, &mut view, Duration::from_secs(args.interval.into())).await
}

async fn watch(sampler: &mut Sampler, view: &mut View, interval: Duration) -> Result<(), CliError> {
    let no_terminal = |source| CliError::file("cannot use the terminal", source);
    let mut screen = Screen::take().map_err(no_terminal)?;
    let mut next = tokio::time::interval(interval);
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (columns, lines) = screen.size();
        let room = View::room(lines, sampler.brokers.len());
        screen.show(&view.report(sampler, room).to_text(Some(columns)), &view.keys()).map_err(no_terminal)?;
        let shown = view.shown(sampler, room);
        let look = async {
            next.tick().await;
            sampler.look(&shown).await;
        };
        // A key need not wait for servers: what was not seen in this look is seen in the next.
        let key = tokio::select! {
            key = screen.key() => key,
            () = look, if !view.paused => continue,
        };
        match key {
            Some(Some(key)) if !view.press(key, room) => return Ok(()),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
