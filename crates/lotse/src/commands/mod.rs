//! One file for each command.

mod app;
mod down;
mod image;
mod info;
mod render;
mod reset;
mod status;
mod up;

use crate::{
    cli::{Cli, Command},
    exit::{Failure, Kind},
    profile::Profile,
};

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let profile = || Profile::find(&cli.profile);
    match cli.command {
        Command::Up(arguments) => up::run(&cli.profile, &arguments),
        Command::Down(arguments) => down::run(&profile()?, arguments.timeout),
        Command::Status(arguments) => block_on(status::run(&profile()?, arguments.output)),
        Command::Reset(arguments) => reset::run(&profile()?, arguments.yes),
        Command::Kubeconfig(arguments) => info::kubeconfig(&profile()?, arguments.path),
        Command::Logs(arguments) => info::logs(&profile()?, &arguments),
        Command::Version(arguments) => info::version(arguments.output),
        Command::App(command) => block_on(app::run(&profile()?, command)),
        Command::Image(command) => block_on(image::run(&profile()?, command)),
        Command::Render(arguments) => render::run(&arguments),
    }
}

/// Runs a command that talks to the cluster; one thread is plenty.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot start: {error}")))?
        .block_on(future)
}
