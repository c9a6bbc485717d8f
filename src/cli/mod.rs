//! The program `bundle`: arguments, progress, output, exit codes. Nothing else in this crate
//! knows that there is a terminal.

mod args;
mod clock;
pub mod commands;
mod errors;
pub mod escape;
pub mod exit;
mod interrupt;
pub mod keys;
mod meter;
pub mod output;
mod pauses;
mod progress;
pub mod prompt;
mod registry;
pub mod table;
pub mod values;

use std::{
    any::Any,
    ffi::OsString,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
};

use clap::{FromArgMatches as _, error::ErrorKind};

pub use args::{Cli, ConnectionArgs, Format, GlobalArgs, RegistryArgs, TrustArgs};
pub use interrupt::Interrupt;
pub use progress::TerminalProgress;

use self::{
    escape::escape_to,
    exit::{CliError, Exit},
    output::{Output, Verbosity},
};

/// What a command works with besides its arguments.
#[derive(Debug)]
pub struct Context {
    /// Where everything is printed.
    pub output: Arc<Output>,
    /// Shows the progress of a flow on `output`.
    pub progress: Arc<TerminalProgress>,
    /// The form of what is printed to standard output.
    pub format: Format,
    /// Tells commands that end by themselves of the first signal.
    pub interrupt: Interrupt,
}

impl Context {
    /// A context that prints to `output`.
    pub fn new(output: Arc<Output>, format: Format, interrupt: Interrupt) -> Self {
        let progress = Arc::new(TerminalProgress::new(Arc::clone(&output)));
        Self {
            output,
            progress,
            format,
            interrupt,
        }
    }
}

/// How a command came to its end.
enum End {
    Finished(Result<(), CliError>),
    Panicked,
    Interrupted,
}

/// Runs the program with the arguments of this process; what it returns is what the process ends
/// with.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error).into(),
    };
    let output = Arc::new(Output::of_process(cli.global.verbosity()));
    let exit = match run_to_end(cli, &output) {
        End::Finished(Ok(())) => Exit::Done,
        End::Finished(Err(error)) => failed(&output, &error),
        End::Interrupted => {
            crate::helm::render::abandon_workspaces();
            failed(&output, &CliError::interrupted())
        }
        // The hook has said what there is to say.
        End::Panicked => Exit::Internal,
    };
    exit.into()
}

fn failed(output: &Output, error: &CliError) -> Exit {
    output.clear_bars();
    output.error(error);
    error.exit
}

/// Runs the command on a thread of its own, so that a signal ends it whatever it is waiting for.
fn run_to_end(cli: Cli, output: &Arc<Output>) -> End {
    let (ended, end) = mpsc::channel();
    let interrupted = ended.clone();
    let first_signal = move || {
        // The receiver is gone when the program is ending anyway.
        let _ = interrupted.send(End::Interrupted);
    };
    let failure = |what: &str, error: std::io::Error| {
        let error = CliError::new(Exit::Internal, format!("cannot {what}: {error}"));
        End::Finished(Err(error))
    };
    let interrupt = match Interrupt::install(first_signal) {
        Ok(interrupt) => interrupt,
        Err(error) => return failure("handle signals", error),
    };
    let context = Context::new(Arc::clone(output), cli.global.format, interrupt);
    let work = move || {
        let run = AssertUnwindSafe(|| run_command(cli.command, &context));
        let finished = panic::catch_unwind(run);
        let _ = ended.send(finished.map_or(End::Panicked, End::Finished));
    };
    if let Err(error) = thread::Builder::new()
        .name("command".to_owned())
        .spawn(work)
    {
        return failure("start a thread", error);
    }
    // Both senders gone without a word cannot happen: the command's thread always sends.
    end.recv().unwrap_or(End::Panicked)
}

fn run_command(command: args::Command, context: &Context) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(Exit::Internal, format!("cannot start threads: {e}")))?;
    let result = runtime.block_on(commands::run(command, context));
    // A thread that is still busy with a system call is not worth waiting for.
    runtime.shutdown_background();
    result
}

/// Parses arguments and the environment.
fn parse<T: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    let mut definition = args::definition();
    let mut matches = definition.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))
}

/// Prints help or what is wrong with the arguments.
fn unparsed(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // The text is the program's own. A closed pipe is nobody's loss.
            let _ = error.print();
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            let error = usage_error(error);
            Output::of_process(Verbosity::Normal).error(&error);
            error.exit
        }
    }
}

/// What the parser says, as an error like all others: its text quotes arguments, which may be
/// foreign.
fn usage_error(error: &clap::Error) -> CliError {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut usage = CliError::usage(first.strip_prefix("error: ").unwrap_or(first));
    for line in lines {
        match line.strip_prefix("tip: ") {
            Some(tip) if usage.hint.is_none() => usage.hint = Some(tip.to_owned()),
            _ if line.starts_with("For more information") => {}
            _ => usage.details.push(line.to_owned()),
        }
    }
    if usage.hint.is_none() {
        usage.hint = Some("--help says more".to_owned());
    }
    usage
}

/// The panic hook: one line, and that it is not the user's fault.
fn report_panic(info: &PanicHookInfo<'_>) {
    let what = panic_text(info.payload());
    let place = info
        .location()
        .map_or_else(String::new, |at| format!(" at {at}"));
    let message = format!("internal fault{place}: {}", escape_to(what, 300));
    let version = env!("CARGO_PKG_VERSION");
    let error = CliError::new(Exit::Internal, message).hint(format!(
        "this is a bug in bundle {version}: please report it with this line"
    ));
    Output::of_process(Verbosity::Quiet).error(&error);
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests;
