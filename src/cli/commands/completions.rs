//! `bundle completions`.

use clap::Args;
use clap_complete::Shell;

use crate::cli::{Context, args::definition, exit::CliError};

/// Print a completion script for a shell
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle completions bash > /etc/bash_completion.d/bundle
  bundle completions zsh > ~/.zfunc/_bundle
  bundle completions fish > ~/.config/fish/completions/bundle.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// When standard output cannot be written.
pub async fn run(args: CompletionsArgs, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "bundle", &mut script);
    context.output.raw(&script)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{output::Verbosity, tests::context};

    #[tokio::test]
    async fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let (context, stdout, _) = context(Verbosity::Normal);
            run(CompletionsArgs { shell }, &context).await.unwrap();
            for word in ["create", "on-conflict", "logout"] {
                assert!(stdout.text().contains(word), "{shell}: {word}");
            }
        }
    }
}
