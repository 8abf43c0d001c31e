//! Commands about replicas, and the controllers that elect masters.

pub mod container;
pub mod controller;
pub mod epoch;
pub mod ha;
pub mod set;

use clap::Args;

/// Doing it again, as upstream names it: the same as --watch.
#[derive(Args, Debug)]
pub struct Again {
    /// Do it again every so many seconds
    #[arg(short = 'i', long = "interval", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub interval: Option<u32>,
}
