//! `bundle load`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::check;
use crate::{
    check::{CheckedImage, ImageState, Rendered},
    cli::{
        Context, Format,
        args::{ProxyArgs, RegistryArgs, TrustArgs, one_reader_of_stdin},
        clock,
        escape::escape_path,
        exit::{CliError, Exit},
        output::Output,
        table::{Align, Table},
        values::{self, input, is_dash},
    },
    handoff::DEFAULT_PULL_SECRET,
    helm::render::Helm,
    human,
    load::{
        self, HandedOff, HandoffRequest, LoadRequest, MapRule, PathLayout, Place, Receipt,
        Relocation, TagState,
    },
    registry::Client,
};

/// Push a bundle into a registry
///
/// Checks the signatures before anything is sent, sends what the registry does not have, reads it
/// back, and sets the tags last: a load that dies has changed no tag. Run it again and it goes on.
/// Needs no room on a disk.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle load calico.bundle.tar.zst --to registry.local:5000 --key cosign.pub
  bundle load calico.bundle.tar.zst --to harbor.local/mirror --key cosign.pub \\
      --dry-run
  bundle load calico.bundle.tar.zst --to registry.local:5000 --key cosign.pub \\
      --handoff handoff
  ssh gateway cat calico.bundle.tar.zst \\
      | bundle load - --to registry.local:5000 --key cosign.pub

Where quay.io/tigera/cni:v3.16.1 goes with --to registry.local:5000:
  --layout strip   registry.local:5000/tigera/cni:v3.16.1
  --layout host    registry.local:5000/quay.io/tigera/cni:v3.16.1
  --layout last2   registry.local:5000/tigera/cni:v3.16.1
  --layout flat    registry.local:5000/cni:v3.16.1")]
pub struct LoadArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// The registry, and what every repository in it starts with
    #[arg(long, value_name = "HOST[:PORT][/PREFIX]", env = "BUNDLE_TO")]
    pub to: Place,
    /// How names at the destination are made of those in the bundle
    #[arg(long, env = "BUNDLE_LAYOUT", value_enum, default_value_t)]
    pub layout: Layout,
    /// Send images whose name starts with FROM to the path TO; may be repeated, the longest FROM
    /// counts
    #[arg(
        long,
        value_name = "FROM=TO",
        env = "BUNDLE_MAP",
        value_delimiter = ','
    )]
    pub map: Vec<MapRule>,
    /// Send charts to this path below --to: `helm` finds them at oci://TO/PATH/NAME
    #[arg(
        long,
        value_name = "PATH",
        env = "BUNDLE_CHARTS_PATH",
        default_value = "charts"
    )]
    #[arg(value_parser = values::repository_path)]
    pub charts_path: String,
    /// What happens when a tag exists at the destination and is something else
    #[arg(long, env = "BUNDLE_ON_CONFLICT", value_enum, default_value_t)]
    pub on_conflict: OnConflict,
    /// What is sent of a multi-platform image of which the bundle has some platforms only
    #[arg(long, env = "BUNDLE_INDEX", value_enum, default_value_t)]
    pub index: IndexMode,
    /// Read and check the whole file before the first request
    #[arg(long, env = "BUNDLE_VERIFY_FIRST", value_parser = values::switch)]
    pub verify_first: bool,
    /// Write what was done to this file, as JSON
    #[arg(long, value_name = "FILE", env = "BUNDLE_RECEIPT")]
    pub receipt: Option<PathBuf>,
    /// Write what the installation needs into this directory: values for this registry, commands,
    /// files for nodes; and check that every chart will find its images
    #[arg(long, value_name = "DIR", env = "BUNDLE_HANDOFF")]
    pub handoff: Option<PathBuf>,
    /// The name of the pull secret in the hand-off
    #[arg(long, value_name = "NAME", env = "BUNDLE_PULL_SECRET")]
    #[arg(default_value = DEFAULT_PULL_SECRET, value_parser = values::kubernetes_name)]
    pub pull_secret: String,
    /// Where nodes have the registry's certificate authority, for the files of the hand-off
    // Like --helm without effect alone, for it may be set in the environment.
    #[arg(
        long,
        value_name = "PATH",
        env = "BUNDLE_NODE_CA_FILE",
        value_parser = values::path_on_nodes
    )]
    pub node_ca_file: Option<String>,
    /// The `helm` that checks the hand-off, 3.12 or later [default: the one in PATH, if there is one]
    // Without --handoff it has no effect, rather than being refused: the variable is that of `plan`
    // and `create`, too.
    #[arg(long, value_name = "PATH", env = "BUNDLE_HELM")]
    pub helm: Option<PathBuf>,
    /// Show what would be done, and change nothing
    #[arg(long, env = "BUNDLE_DRY_RUN", value_parser = values::switch)]
    pub dry_run: bool,
    /// What makes the bundle trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Whether through a proxy.
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// How names at the destination are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Leave out the host, as a registry mirror needs it
    #[default]
    Strip,
    /// Keep the host as the first part of the path
    Host,
    /// Keep the last two parts of the name as it was written
    Last2,
    /// Keep the last part only
    Flat,
}

/// What happens to tags that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// Stop before anything is sent
    #[default]
    Refuse,
    /// Let the tag point to what the bundle has
    Replace,
    /// Leave the tag as it is
    Keep,
}

/// What is sent of an index that is not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IndexMode {
    /// The index as it is, or a smaller one where the registry insists on every platform
    #[default]
    Auto,
    /// The index as it is
    Keep,
    /// A smaller index, which has another digest
    Filter,
}

impl LoadArgs {
    /// What the hand-off is made with. No helm is needed unless one is named.
    async fn handoff(&self, context: &Context) -> Result<Option<HandoffRequest>, CliError> {
        let Some(directory) = &self.handoff else {
            return Ok(None);
        };
        let helm = match (Helm::find(self.helm.as_deref()).await, &self.helm) {
            (Ok(helm), _) => Some(helm),
            (Err(error), Some(_)) => {
                return Err(CliError::usage(&error).maybe_hint(error.hint()));
            }
            (Err(error), None) => {
                context.output.detail(&error.to_string());
                None
            }
        };
        Ok(Some(HandoffRequest {
            directory: directory.clone(),
            pull_secret: self.pull_secret.clone(),
            ca_file: self.node_ca_file.clone(),
            certificate: certificates(&self.registry.connection.ca_file)?,
            helm,
        }))
    }

    /// Refuses what the grammar of the arguments cannot.
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self) -> Result<(), CliError> {
        self.trust.check()?;
        self.registry.check()?;
        let from_stdin = is_dash(&self.file);
        one_reader_of_stdin([
            ("the bundle", usize::from(from_stdin)),
            (
                "--password-stdin",
                usize::from(self.registry.password_stdin),
            ),
        ])
        .map_err(|error| error.hint("bundle login HOST stores the password beforehand"))?;
        if from_stdin && self.verify_first {
            return Err(CliError::usage(
                "--verify-first reads the bundle twice: it must be a file",
            )
            .hint("leave it out: what is damaged is found before its image is tagged"));
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// When the bundle is not trusted or damaged, or the registry fails or clashes. No tag has been
/// touched then, unless setting the tags was what failed.
pub async fn run(args: LoadArgs, context: &Context) -> Result<(), CliError> {
    args.check()?;
    let trust = args.trust.trust()?;
    let config =
        args.registry
            .client_config(args.proxy.proxy_use(), [args.to.host()], &context.output)?;
    let client = Client::new(config).map_err(|error| CliError::destination(&error))?;
    let handoff = args.handoff(context).await?;
    let request = LoadRequest {
        input: input(&args.file),
        trust,
        relocation: Relocation {
            to: args.to.clone(),
            layout: args.layout.into(),
            rules: args.map.clone(),
            charts_path: args.charts_path.clone(),
        },
        on_conflict: args.on_conflict.into(),
        index: args.index.into(),
        verify_first: args.verify_first,
        dry_run: args.dry_run,
        concurrency: args.registry.concurrency.into(),
        now: clock::now()?,
        handoff,
    };
    let loaded = load::load(&client, request, context.progress.as_ref()).await;
    // What the registry had to say may explain a failure.
    for warning in client.take_warnings() {
        context.output.warn(&warning);
    }
    let loaded = loaded?;
    let receipt = &loaded.receipt;
    if let Some(path) = &args.receipt {
        write_receipt(path, receipt)?;
        context.output.step("wrote", &escape_path(path), None);
    }
    match context.format {
        Format::Json => context.output.json(receipt)?,
        Format::Table => show(receipt, &args, &context.output)?,
    }
    match &loaded.handoff {
        Some(Ok(handoff)) => show_handoff(handoff, args.dry_run, &context.output),
        Some(Err(failure)) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Images that are named of those that only a mirror brings; all are in `INSTALL.md`.
const NAMED: usize = 20;

/// Says what to do next, and fails if that would not work.
fn show_handoff(handoff: &HandedOff, rehearsed: bool, output: &Output) -> Result<(), CliError> {
    for note in &handoff.notes {
        output.warn(note);
    }
    for release in &handoff.checked.releases {
        if !matches!(release.rendering, Rendered::Yes) {
            continue;
        }
        let images = &release.images;
        let good = images.iter().filter(|image| image.state.is_good());
        let mirrored =
            |image: &&CheckedImage| matches!(image.state, ImageState::ThroughMirror { .. });
        let by_mirror = good.clone().filter(mirrored).count();
        let mut text = format!(
            "release {}: {} of {} will be found",
            release.release,
            good.count(),
            human::count(images.len(), "image", "images")
        );
        if by_mirror > 0 {
            text.push_str(&format!(", {by_mirror} of them only by a mirror"));
        }
        output.step("checked", &text, None);
    }
    let by_mirror = &handoff.only_by_mirror;
    for one in by_mirror.iter().take(NAMED) {
        let places = one.places.join(", ");
        output.warn(&format!(
            "release {}: {} keeps its name ({places}): nodes need a mirror",
            one.release, one.image
        ));
    }
    if by_mirror.len() > NAMED {
        let more = human::count(by_mirror.len() - NAMED, "more image", "more images");
        output.warn(&format!("{more} that only a mirror brings: see INSTALL.md"));
    }
    check::verdict(&handoff.checked)?;
    let directory = escape_path(&handoff.directory);
    if rehearsed {
        let files = human::count(handoff.files.len(), "file", "files");
        output.next(&format!("the hand-off would be {files} in {directory}"));
        return Ok(());
    }
    output.next(&format!(
        "{directory}/INSTALL.md tells all; in short, in {directory}:"
    ));
    for command in &handoff.commands {
        output.next(command);
    }
    Ok(())
}

/// Largest file with certificate authorities that goes into a hand-off, in bytes.
const MAX_CA_BYTES: u64 = 1 << 20;

/// The certificates of `--ca-file`, and nothing else that is in these files.
fn certificates(files: &[PathBuf]) -> Result<Option<Vec<u8>>, CliError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut found = String::new();
    for path in files {
        let mut text = Vec::new();
        let mut read = || File::open(path)?.take(MAX_CA_BYTES).read_to_end(&mut text);
        read().map_err(|error| {
            CliError::new(Exit::LocalIo, format!("{}: {error}", escape_path(path)))
        })?;
        let text = String::from_utf8_lossy(&text);
        for block in text.split(BEGIN).skip(1) {
            if let Some((block, _)) = block.split_once(END) {
                found.push_str(&format!("{BEGIN}{block}{END}\n"));
            }
        }
    }
    Ok((!found.is_empty()).then(|| found.into_bytes()))
}

fn write_receipt(path: &Path, receipt: &Receipt) -> Result<(), CliError> {
    let mut text =
        serde_json::to_vec_pretty(receipt).map_err(|error| CliError::new(Exit::Internal, error))?;
    text.push(b'\n');
    std::fs::write(path, text)
        .map_err(|error| CliError::new(Exit::LocalIo, format!("{}: {error}", escape_path(path))))
}

/// Writes "there already" and the like, for images and charts.
fn show(receipt: &Receipt, args: &LoadArgs, output: &Output) -> Result<(), CliError> {
    let mut table = Table::new([
        ("IMAGE", Align::Left),
        ("DIGEST", Align::Left),
        ("TAG", Align::Left),
        ("FROM", Align::Left),
    ]);
    for image in receipt.images.iter().chain(&receipt.charts) {
        let tag = match (image.tag, receipt.dry_run) {
            (TagState::Present, _) => "was there",
            (TagState::Kept, _) => "kept as it is",
            (TagState::New, false) => "new",
            (TagState::New, true) => "would be new",
            (TagState::Replaced, false) => "moved",
            (TagState::Replaced, true) => "would be moved",
            (TagState::Extended, false) => "added to",
            (TagState::Extended, true) => "would be added to",
        };
        let digest = image.reduced_to.unwrap_or(image.digest).short();
        table.row([image.destination.as_str(), &digest, tag, &image.source]);
    }
    output.table(&table)?;
    if !receipt.files.is_empty() && !receipt.dry_run {
        let files = human::count(receipt.files.len(), "plain file", "plain files");
        let bundle = escape_path(&args.file);
        output.next(&format!(
            "{files} in the bundle: bundle extract {bundle} --output DIR, with the same key"
        ));
    }
    Ok(())
}

impl From<Layout> for PathLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Strip => Self::Strip,
            Layout::Host => Self::Host,
            Layout::Last2 => Self::Last2,
            Layout::Flat => Self::Flat,
        }
    }
}

impl From<OnConflict> for load::OnConflict {
    fn from(choice: OnConflict) -> Self {
        match choice {
            OnConflict::Refuse => Self::Refuse,
            OnConflict::Replace => Self::Replace,
            OnConflict::Keep => Self::Keep,
        }
    }
}

impl From<IndexMode> for load::IndexMode {
    fn from(mode: IndexMode) -> Self {
        match mode {
            IndexMode::Auto => Self::Auto,
            IndexMode::Keep => Self::Keep,
            IndexMode::Filter => Self::Filter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::parsed;

    #[test]
    fn only_certificates_leave_a_file_with_more() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("all.pem");
        let block = |what: &str| format!("-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n");
        let (one, key) = (block("CERTIFICATE"), block("PRIVATE KEY"));
        std::fs::write(&path, format!("# mine\n{one}{key}{one}")).unwrap();
        let found = certificates(std::slice::from_ref(&path)).unwrap().unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), format!("{one}{one}"));
        std::fs::write(&path, key).unwrap();
        assert_eq!(certificates(&[path]).unwrap(), None);
        assert_eq!(certificates(&[]).unwrap(), None);
        assert!(certificates(&[home.path().join("gone")]).is_err());
    }

    #[test]
    fn what_cannot_be_together_is_refused() {
        for (line, ok) in [
            ("load f --to r --key k", true),
            ("load f --to r", false),
            ("load f --to r --allow-unsigned", true),
            ("load - --to r --key k", true),
            ("load - --to r --key k --verify-first", false),
            ("load - --to r --key k --username u --password-stdin", false),
            ("load f --to r --key k --username u --password-stdin", true),
        ] {
            let crate::cli::args::Command::Load(args) = parsed(line).command else {
                panic!("{line}");
            };
            let checked = args.check();
            assert_eq!(checked.is_ok(), ok, "{line}");
            assert!(checked.is_ok() || checked.unwrap_err().exit == Exit::Usage);
        }
    }
}
