//! `bundle create`.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;

use serde::Serialize;

use super::{inputs::InputArgs, lock_file};
use crate::{
    bundle::Lock,
    cli::{
        Context,
        args::{Format, RegistryArgs},
        clock,
        escape::escape_path,
        exit::CliError,
        keys::signing_keys,
        values::{self, is_dash},
    },
    create::{self, CreateReport, CreateRequest, Destination},
    registry::ProxyUse,
    request::Request,
};

/// Pack images and charts into one signed bundle
///
/// Renders every chart to find the images that it installs, resolves every image to its digest,
/// writes and signs the list of all, and downloads what is in it. Either all of it is in the bundle or there is no bundle. A run that was interrupted goes on
/// where it stopped when it is started again.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle create -f bundle.yaml --key cosign.key
  bundle create --images-from images.txt --platform linux/amd64 \\
      --key cosign.key -o calico.bundle.tar.zst
  bundle create --chart web --repo https://charts.example.com --version ~1.2 \\
      --values values.yaml --key cosign.key -o web.bundle.tar.zst
  bundle create --image alpine --key cosign.key -o - \\
      | ssh gateway 'cat > alpine.bundle.tar.zst'

bundle.yaml:
  apiVersion: sneakernet/v1
  kind: Bundle
  metadata: {name: demo, version: \"1.0\"}
  platforms: [linux/amd64, linux/arm64]
  images:
    - {from: images.txt}
    - alpine:3.12.1
  charts:
    - name: web
      repo: https://charts.example.com
      version: ~1.2
      values: [values.yaml]
      images: [\"quay.io/web/agent:{chart.appVersion}\"]
    - {chart: oci://ghcr.io/org/charts/db, version: 2.0.1}
  files: [install.md]")]
pub struct CreateArgs {
    /// What goes in.
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Sign with this private key; may be repeated. `bundle keygen` makes one
    #[arg(
        short,
        long,
        value_name = "KEY",
        env = "BUNDLE_KEY",
        value_delimiter = '\n'
    )]
    pub key: Vec<PathBuf>,
    /// Make a bundle that nobody has signed; it says so, and `load` refuses it unless told
    /// otherwise
    #[arg(long, conflicts_with = "key")]
    pub unsigned: bool,
    /// Write the bundle to this file (`-` for standard output)
    /// [default: NAME-VERSION.bundle.tar.zst]
    #[arg(short, long, value_name = "FILE", env = "BUNDLE_OUTPUT")]
    pub output: Option<PathBuf>,
    /// Take digests from this lock [default: bundle.lock beside bundle.yaml, when it is there]
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_LOCK",
        conflicts_with = "no_lock"
    )]
    pub lock: Option<PathBuf>,
    /// Resolve everything anew, whatever a lock says
    #[arg(long, env = "BUNDLE_NO_LOCK", value_parser = values::switch)]
    pub no_lock: bool,
    /// Replace the output if it exists
    #[arg(long, env = "BUNDLE_FORCE", value_parser = values::switch)]
    pub force: bool,
    /// Do not go on with an interrupted run, start over
    #[arg(long, env = "BUNDLE_NO_RESUME", value_parser = values::switch)]
    pub no_resume: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Where the bundle goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleOutput {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl CreateArgs {
    /// Refuses what the grammar of the arguments cannot.
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self, format: Format) -> Result<(), CliError> {
        if self.key.is_empty() && !self.unsigned {
            return Err(CliError::usage("no key to sign the bundle with")
                .hint("--key cosign.key (`bundle keygen` makes one), or --unsigned"));
        }
        self.registry.check()?;
        self.inputs.check(self.registry.password_stdin)?;
        if self.writes_to_stdout() && format == Format::Json {
            return Err(CliError::usage(
                "-o - and --format json would both write to standard output",
            )
            .hint("-o FILE"));
        }
        Ok(())
    }

    /// Where the bundle goes: where it was told to, or to the default name of the request.
    ///
    /// # Errors
    /// With exit code 2 when there is no name to make a file name of, or when the bundle would be
    /// written onto a terminal.
    pub fn bundle_output(&self, request: &Request) -> Result<BundleOutput, CliError> {
        self.bundle_output_with(request, io::stdout().is_terminal())
    }

    fn bundle_output_with(
        &self,
        request: &Request,
        stdout_is_terminal: bool,
    ) -> Result<BundleOutput, CliError> {
        match &self.output {
            Some(_) if self.writes_to_stdout() && stdout_is_terminal => {
                Err(CliError::usage("a bundle is not written to a terminal")
                    .hint("-o FILE, or pass it on: bundle create … -o - | COMMAND"))
            }
            Some(_) if self.writes_to_stdout() => Ok(BundleOutput::Stdout),
            Some(file) => Ok(BundleOutput::File(file.clone())),
            None => request
                .default_file_name()
                .map(|name| BundleOutput::File(name.into()))
                .ok_or_else(|| {
                    CliError::usage("no file name for the bundle")
                        .hint("-o FILE, or --name NAME and --bundle-version VERSION")
                }),
        }
    }

    fn writes_to_stdout(&self) -> bool {
        self.output.as_deref().is_some_and(is_dash)
    }
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    root: String,
    path: Option<&'a PathBuf>,
    file_size: u64,
    content_size: u64,
    fetched: u64,
    signed_by: &'a [String],
    lock: &'a Lock,
}

/// Runs the command.
///
/// # Errors
/// When anything is wrong; then there is no bundle.
pub async fn run(args: CreateArgs, context: &Context) -> Result<(), CliError> {
    args.check(context.format)?;
    let request = args.inputs.request(&context.output)?;
    let output = args.bundle_output(&request)?;
    let lock = args.lock_to_use()?;
    let keys = signing_keys(&args.key, &context.interrupt)?;
    let client = args.inputs.client(
        &args.registry,
        &request,
        ProxyUse::Environment,
        &context.output,
    )?;
    let create = CreateRequest {
        request,
        keys,
        lock,
        now: clock::now()?,
        output: match output {
            BundleOutput::Stdout => Destination::Stdout,
            BundleOutput::File(path) => Destination::File {
                path,
                force: args.force,
                resume: !args.no_resume,
            },
        },
        concurrency: args.registry.concurrency.into(),
        charts: args.inputs.charts.options(),
    };
    let report = create::create(&client, create, context.progress.as_ref()).await;
    // What a registry had to say may explain a failure.
    for warning in client.take_warnings() {
        context.output.warn(&warning);
    }
    show(&report?, &args, context)
}

fn show(report: &CreateReport, args: &CreateArgs, context: &Context) -> Result<(), CliError> {
    if args.unsigned {
        context
            .output
            .warn("the bundle is NOT SIGNED: nothing tells who made it");
    }
    if context.format == Format::Json {
        return context.output.json(&Created {
            root: report.root.to_string(),
            path: report.path.as_ref(),
            file_size: report.file_size,
            content_size: report.content_size,
            fetched: report.fetched,
            signed_by: &report.signed_by,
            lock: &report.lock,
        });
    }
    let Some(path) = &report.path else {
        return Ok(());
    };
    let bundle = escape_path(path);
    let public = args
        .key
        .first()
        .map(|key| escape_path(&key.with_extension("pub")));
    context.output.next(&match public {
        Some(public) => format!(
            "carry it with {public}, then: bundle load {bundle} --to REGISTRY --key {public}"
        ),
        None => format!("carry it, then: bundle load {bundle} --to REGISTRY --allow-unsigned"),
    });
    Ok(())
}

impl CreateArgs {
    /// The lock that pins the digests: the one that is named, or the one beside bundle.yaml.
    fn lock_to_use(&self) -> Result<Option<Lock>, CliError> {
        let beside = || self.inputs.default_lock().filter(|path| path.exists());
        match (&self.lock, self.no_lock) {
            (_, true) => Ok(None),
            (Some(path), false) => lock_file::read(path).map(Some),
            (None, false) => beside().map(|path| lock_file::read(&path)).transpose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::Exit, tests::parsed};

    fn args(line: &str) -> CreateArgs {
        match parsed(line).command {
            crate::cli::args::Command::Create(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_output_has_a_name_or_is_refused() {
        let mut request = Request::default();
        let plain = args("create --unsigned");
        assert_eq!(
            plain.bundle_output_with(&request, true).unwrap_err().exit,
            Exit::Usage
        );
        request.name = Some("demo".to_owned());
        request.version = Some("1".to_owned());
        assert_eq!(
            plain.bundle_output_with(&request, true),
            Ok(BundleOutput::File("demo-1.bundle.tar.zst".into()))
        );
        let dash = args("create --unsigned -o -");
        assert_eq!(
            dash.bundle_output_with(&request, false),
            Ok(BundleOutput::Stdout)
        );
        assert!(dash.bundle_output_with(&request, true).is_err());
    }

    #[test]
    fn a_key_is_needed_and_one_stream_is_not_used_twice() {
        for (line, ok) in [
            ("create -o x --images-from -", false),
            ("create --key k -o x --images-from -", true),
            ("create --unsigned -o x --images-from -", true),
            (
                "create --unsigned -o x --images-from - --images-from -",
                false,
            ),
            (
                "create --unsigned --images-from - --username a --password-stdin",
                false,
            ),
            ("create --unsigned --password-stdin", false),
        ] {
            assert_eq!(args(line).check(Format::Table).is_ok(), ok, "{line}");
        }
        let dash = args("create --unsigned -o -");
        assert!(dash.check(Format::Table).is_ok());
        assert!(dash.check(Format::Json).is_err());
    }

    #[test]
    fn bundle_yaml_is_read_when_nothing_else_is_asked_for() {
        for (line, exists, read) in [
            ("create --unsigned", true, Some("bundle.yaml")),
            ("create --unsigned", false, None),
            ("create --unsigned --image alpine", true, None),
            (
                "create --unsigned --image alpine -f b.yaml",
                true,
                Some("b.yaml"),
            ),
        ] {
            let spec = args(line).inputs.spec_file(exists);
            assert_eq!(spec, read.map(PathBuf::from), "{line}");
        }
    }
}
