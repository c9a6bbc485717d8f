//! One module a command: its arguments and what runs it.

pub mod chart_inputs;
pub mod check;
pub mod completions;
pub mod create;
pub mod extract;
pub mod inputs;
pub mod inspect;
pub mod keygen;
pub mod load;
mod lock_file;
pub mod login;
pub mod logout;
pub mod plan;
pub mod serve;
pub mod sign;
pub mod verify;

use super::{Context, args::Command, exit::CliError};

/// Runs a command.
pub(super) async fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::Create(args) => create::run(args, context).await,
        Command::Plan(args) => plan::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Inspect(args) => inspect::run(args, context).await,
        Command::Load(args) => load::run(args, context).await,
        Command::Check(args) => check::run(args, context).await,
        Command::Serve(args) => serve::run(args, context).await,
        Command::Extract(args) => extract::run(args, context).await,
        Command::Sign(args) => sign::run(args, context).await,
        Command::Keygen(args) => keygen::run(args, context).await,
        Command::Login(args) => login::run(args, context).await,
        Command::Logout(args) => logout::run(args, context).await,
        Command::Completions(args) => completions::run(args, context).await,
    }
}
