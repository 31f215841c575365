//! The `lotse` binary: command line, configuration, wiring, daemon life cycle.

mod cli;
mod client;
mod commands;
mod daemon;
mod exit;
mod output;
mod profile;
mod settings;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A pod's shim is this binary too. It must stay single-threaded, so it leaves before anything else exists.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|argument| argument == "shim") {
        return lotse_runtime::shim_main(arguments);
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("lotse: the TLS provider is already installed");
        return ExitCode::FAILURE;
    }
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lotse: {failure}");
            if let Some(hint) = failure.hint() {
                eprintln!("hint: {hint}");
            }
            failure.code()
        }
    }
}
