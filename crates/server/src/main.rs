//! The one binary: wiring and command line.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

mod address;
mod args;
mod cluster;
mod controller;
mod doctor;
mod logging;
mod outside;
mod pages;
mod run;
mod store;

use args::{Cli, Command, MqAdmin, MqBroker, MqController, MqNamesrv};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = apogee_cli::plain(std::env::args_os());
    let called =
        arguments.first().and_then(|path| Path::new(path).file_stem()?.to_str()).unwrap_or("apogee").to_owned();
    let command = match called.as_str() {
        "mqnamesrv" => Command::Namesrv(MqNamesrv::parse().args),
        "mqbroker" => {
            let mut broker = MqBroker::parse();
            broker.args.common.print_settings |= broker.print_important;
            Command::Broker(broker.args)
        }
        "mqcontroller" => Command::Controller(MqController::parse().args),
        "mqadmin" => Command::MqAdmin(MqAdmin::parse_from(arguments).args),
        _ => Cli::parse_from(arguments).chosen(),
    };
    match run::run(command) {
        Ok(code) => code,
        Err(error) => {
            // Standard error is where a supervisor looks; nothing is left to do if it is closed.
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "apogee: {error}");
            ExitCode::FAILURE
        }
    }
}
