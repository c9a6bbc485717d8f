//! The command line: what is common to all commands. Each command has its own arguments in
//! [`commands`](super::commands).
//!
//! Every option has an environment variable, except those that weaken trust: these have to be
//! written out where they are used. Lists in variables are separated by commas, lists of paths by
//! line ends.

use std::{num::NonZeroU64, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::registry::{ProxyUse, Resolve};

use super::{
    commands::{
        check::CheckArgs, completions::CompletionsArgs, create::CreateArgs, extract::ExtractArgs,
        inspect::InspectArgs, keygen::KeygenArgs, load::LoadArgs, login::LoginArgs,
        logout::LogoutArgs, plan::PlanArgs, serve::ServeArgs, sign::SignArgs, verify::VerifyArgs,
    },
    exit::CliError,
    output::Verbosity,
    values,
};

/// Carry container images and Helm charts across an air gap in one signed, seekable OCI archive
///
/// On a connected host, `bundle create` packs images and charts into ONE signed file. Behind the
/// air gap, `bundle load` checks the signature, pushes everything into the registry there, and
/// hands over what `helm install` needs.
#[derive(Debug, Parser)]
#[command(name = "bundle", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  bundle keygen
  bundle create --image alpine:3.12.1 --key cosign.key -o demo.bundle.tar.zst
  bundle load demo.bundle.tar.zst --to registry.local:5000 --key cosign.pub

Exit codes:
    0   done
    1   internal fault
    2   wrong usage or input
    3   the bundle is damaged or not canonical
    4   not trusted
    5   the source failed or is incomplete
    6   the destination failed or clashes
    7   local input or output failed
  130   interrupted

Every option can be given as an environment variable too (each option's help
names it), except those that weaken trust. Lists are separated by commas there,
lists of paths by line ends.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Plan(PlanArgs),
    Verify(VerifyArgs),
    Inspect(InspectArgs),
    Load(LoadArgs),
    Check(CheckArgs),
    Serve(ServeArgs),
    Extract(ExtractArgs),
    Sign(SignArgs),
    Keygen(KeygenArgs),
    Login(LoginArgs),
    Logout(LogoutArgs),
    Completions(CompletionsArgs),
}

/// The form of what is printed to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs; its form is stable
    Json,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "General options")]
pub struct GlobalArgs {
    /// The form of what is printed to standard output
    #[arg(
        long,
        global = true,
        env = "BUNDLE_FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,
    /// Say nothing but warnings and errors (and the result)
    #[arg(short, long, global = true, env = "BUNDLE_QUIET", value_parser = values::switch)]
    #[arg(conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, env = "BUNDLE_VERBOSE", value_parser = values::switch)]
    pub verbose: bool,
}

impl GlobalArgs {
    /// How much is to be said.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// How connections to registries are made; the same in every command that makes any.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry options")]
pub struct ConnectionArgs {
    /// Trust the certificate authorities in this PEM file too; may be repeated
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_CA_FILE",
        value_delimiter = '\n'
    )]
    pub ca_file: Vec<PathBuf>,
    /// Show the registry the certificate in this PEM file; goes with --client-key. For several
    /// registries, and their authorities, there are Docker's and Podman's `certs.d/HOST[:PORT]`
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_CLIENT_CERT",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// The key of --client-cert, a PEM file
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_CLIENT_KEY",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// Take this address for a host, whatever the name service says; may be repeated
    #[arg(
        long,
        value_name = "HOST[:PORT]=ADDRESS",
        env = "BUNDLE_RESOLVE",
        value_delimiter = ','
    )]
    pub resolve: Vec<Resolve>,
    /// Speak plain HTTP to this host; may be repeated. Loopback hosts need no mention
    #[arg(long, value_name = "HOST[:PORT]", value_parser = values::host)]
    pub plain_http: Vec<String>,
    /// Do not check the TLS certificate of this host; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = values::host)]
    pub insecure_skip_tls_verify: Vec<String>,
    /// Keep credentials in this file, in Docker's format, and nowhere else; a Kubernetes pull secret
    /// can be read, too
    #[arg(long, value_name = "FILE", env = "BUNDLE_AUTHFILE")]
    pub authfile: Option<PathBuf>,
    /// How often one request is attempted before it counts as failed
    #[arg(long, value_name = "N", env = "BUNDLE_RETRIES", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub retries: u32,
    /// How long a registry may fail everything before it is given up on: 90s, 10m, 1h. A pause that
    /// it asks for (Retry-After) counts
    #[arg(
        long,
        value_name = "TIME",
        env = "BUNDLE_RETRY_BUDGET",
        default_value = "5m"
    )]
    #[arg(value_parser = values::duration)]
    pub retry_budget: Duration,
    /// How long a connection may be silent, or bring less than 1 KiB a second, before it counts as
    /// broken; five times as long for the answer to an upload. A transfer as a whole has no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "BUNDLE_STALL_TIMEOUT",
        default_value = "60s"
    )]
    #[arg(value_parser = values::stall_timeout)]
    pub stall_timeout: Duration,
}

/// Whether there is a proxy behind the air gap; for the commands that are used there.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Registry options")]
pub struct ProxyArgs {
    /// Obey HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as `bundle create` does; otherwise the registry is
    /// asked directly
    #[arg(long, env = "BUNDLE_PROXY_FROM_ENVIRONMENT", value_parser = values::switch)]
    pub proxy_from_environment: bool,
}

impl ProxyArgs {
    /// What is to be done with the variables.
    pub fn proxy_use(self) -> ProxyUse {
        match self.proxy_from_environment {
            true => ProxyUse::Environment,
            false => ProxyUse::None,
        }
    }
}

/// How registries are spoken to in a transfer; the same in every command that makes one.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry options")]
pub struct RegistryArgs {
    /// How connections are made.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// User name; goes with --password-stdin. `bundle login` stores both instead
    #[arg(
        long,
        value_name = "NAME",
        env = "BUNDLE_USERNAME",
        requires = "password_stdin"
    )]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(long, env = "BUNDLE_PASSWORD_STDIN", value_parser = values::switch)]
    pub password_stdin: bool,
    /// How many transfers run at the same time; fewer, where a registry answers that there are too
    /// many (429)
    #[arg(
        long,
        value_name = "N",
        env = "BUNDLE_CONCURRENCY",
        default_value_t = 8
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Move no more bytes a second than this, all transfers together: 500K, 10M, 12.5MB
    #[arg(long, value_name = "BYTES", env = "BUNDLE_RATE_LIMIT")]
    #[arg(value_parser = values::byte_rate)]
    pub rate_limit: Option<NonZeroU64>,
}

/// What makes a bundle trusted; the same in every command that reads one.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Trust options")]
pub struct TrustArgs {
    /// Trust bundles that are signed with this public key; may be repeated
    #[arg(
        short,
        long,
        value_name = "PUB",
        env = "BUNDLE_KEY",
        value_delimiter = '\n'
    )]
    pub key: Vec<PathBuf>,
    /// How many of the trusted keys must have signed
    #[arg(long, value_name = "N", env = "BUNDLE_THRESHOLD", requires = "key")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threshold: Option<u16>,
    /// Look at the signature in this file too (an approval beside the bundle); may be repeated
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_SIGNATURE",
        value_delimiter = '\n'
    )]
    pub signature: Vec<PathBuf>,
    /// Accept a bundle that was made with --unsigned: nothing tells who made it
    #[arg(long, conflicts_with_all = ["key", "signature"])]
    pub allow_unsigned: bool,
}

impl TrustArgs {
    /// Refuses to go on when nothing says what is to be trusted.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.key.is_empty() && !self.allow_unsigned {
            return Err(
                CliError::usage("no key: cannot tell whether this bundle may be trusted")
                    .hint("--key cosign.pub, the public key of whoever made the bundle"),
            );
        }
        Ok(())
    }
}

/// What reads standard input; two that do so would each get a part.
pub(super) fn one_reader_of_stdin<const N: usize>(
    readers: [(&str, usize); N],
) -> Result<(), CliError> {
    let names = readers
        .iter()
        .filter(|(_, times)| *times > 0)
        .map(|(name, _)| *name);
    if readers.iter().map(|(_, times)| times).sum::<usize>() <= 1 {
        return Ok(());
    }
    let names = names.collect::<Vec<_>>().join(" and ");
    Err(CliError::usage("standard input can be read only once").detail(names))
}

/// The definition of the command line, for parsing and for completions. Values of variables are
/// not shown in help texts: some lead to secrets.
pub(super) fn definition() -> clap::Command {
    fn hide(command: clap::Command) -> clap::Command {
        command
            .mut_args(|argument| argument.hide_env_values(true))
            .mut_subcommands(hide)
    }
    hide(Cli::command())
}
