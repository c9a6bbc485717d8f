//! `bundle check`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::{
    check::{
        Brought, CheckError, Checked, CheckedImage, CheckedRelease, Checker, ImageState, Rendered,
        place_text,
    },
    cli::{
        Context, Format,
        args::{ProxyArgs, RegistryArgs},
        escape::escape_path,
        exit::{CliError, Exit},
        table::{Align, Table},
    },
    handoff::record::{MAX_RECORD_BYTES, RECORD_FILE, Record, RecordedRelease},
    helm::render::Helm,
    human,
    installation::{ArchiveError, ArchivedChart, Installation},
    oci::{Reference, Repository},
    registry::Client,
};

/// Largest values file that is read, in bytes.
const MAX_VALUES_BYTES: u64 = 4 << 20;
/// Largest overlay that is read, in bytes; it can be larger than the values that it is made from.
const MAX_OVERLAY_BYTES: u64 = 64 << 20;

/// Check that an installation will find all its images
///
/// Renders every chart of a hand-off as it will be installed, and looks for each image that comes
/// out: it must be in the registry, or be found there by a mirror, with the digest that was
/// carried. So must every chart, and every other image of the bundle. `load --handoff` does the same where there is a helm.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle check handoff
  bundle check handoff --ca-file ca.crt --format json")]
pub struct CheckArgs {
    /// The directory that `bundle load --handoff` wrote
    #[arg(value_name = "HANDOFF")]
    pub directory: PathBuf,
    /// The `helm` that renders charts, 3.12 or later [default: the one in PATH]
    #[arg(long, value_name = "PATH", env = "BUNDLE_HELM")]
    pub helm: Option<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Whether through a proxy.
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// Runs the command.
///
/// # Errors
/// With exit code 6 when an image is not where nodes will look for it.
pub async fn run(args: CheckArgs, context: &Context) -> Result<(), CliError> {
    args.registry.check()?;
    let record = read_record(&args.directory)?;
    let helm = Helm::find(args.helm.as_deref()).await;
    let helm = helm.map_err(|error| CliError::usage(&error).maybe_hint(error.hint()))?;
    let host = record.destination.split('/').next().unwrap_or_default();
    let config = args
        .registry
        .client_config(args.proxy.proxy_use(), [host], &context.output)?;
    let client = Client::new(config).map_err(|error| CliError::destination(&error))?;
    let brought = brought(&record)?;
    let checker = Checker::new(Some(&client), Some(&helm), &brought);
    let mut checked = Checked::default();
    for recorded in &record.releases {
        let place = Recorded::of(recorded)?;
        let (overlay, values) = place.local_files(&args.directory)?;
        let tag = place.tag.as_str();
        let chart = checker.chart(&place.repository, tag, recorded.chart).await;
        let installation = async || Ok((place.installation(&client, values).await?, overlay));
        let done = checker.release(&recorded.release, chart, installation);
        checked.releases.push(done.await);
    }
    checked.others = checker.others().await;
    show(&checked, context)?;
    verdict(&checked)
}

/// Prints what was found.
fn show(checked: &Checked, context: &Context) -> Result<(), CliError> {
    if context.format == Format::Json {
        return context.output.json(&CheckedJson::of(checked));
    }
    let mut table = Table::new([
        ("IMAGE", Align::Left),
        ("RELEASE", Align::Left),
        ("NAMED BY", Align::Left),
        ("STATE", Align::Left),
    ]);
    for release in &checked.releases {
        if let Some(chart) = &release.chart {
            let state = chart.state.to_string().replace("IMAGE", "CHART");
            table.row([&chart.name, &release.release, "its chart", &state]);
        }
        if let Some(why_not) = release.rendering.why_not() {
            table.row(["", &release.release, "", &why_not]);
        }
        for image in &release.images {
            let place = image.places.first().map(place_text);
            table.row([
                image.reference.to_string(),
                release.release.clone(),
                place.unwrap_or_default(),
                image.state.to_string(),
            ]);
        }
    }
    for image in &checked.others {
        let (name, state) = (image.reference.to_string(), image.state.to_string());
        table.row([name.as_str(), "", "", &state]);
    }
    context.output.table(&table)
}

/// Fails when nodes will not find an image, or `helm` a chart.
pub(super) fn verdict(checked: &Checked) -> Result<(), CliError> {
    let releases = &checked.releases;
    if releases.iter().all(CheckedRelease::is_good)
        && checked.others.iter().all(|image| image.state.is_good())
    {
        return Ok(());
    }
    let bad = |images: &[CheckedImage]| {
        let bad = images.iter().filter(|image| !image.state.is_good());
        bad.cloned().collect::<Vec<_>>()
    };
    let strays: Vec<_> = releases.iter().flat_map(|r| bad(&r.images)).collect();
    let others = bad(&checked.others);
    let charts = releases.iter().filter_map(|release| release.chart.as_ref());
    let charts: Vec<_> = charts.filter(|chart| !chart.state.is_good()).collect();
    let failed = releases
        .iter()
        .filter_map(|release| match &release.rendering {
            Rendered::Failed(error) => Some(error),
            _ => None,
        });
    let failed: Vec<_> = failed.collect();
    let mut parts = Vec::new();
    if !strays.is_empty() {
        let total: usize = releases.iter().map(|release| release.images.len()).sum();
        let total = human::count(total, "image", "images");
        parts.push(format!(
            "{} of {total} would not be found by nodes",
            strays.len()
        ));
    }
    if !others.is_empty() {
        let what = human::count(others.len(), "other image", "other images");
        parts.push(format!(
            "{what} of the bundle cannot be had from the registry"
        ));
    }
    if !charts.is_empty() {
        let what = human::count(charts.len(), "chart", "charts");
        parts.push(format!("{what} would not be found by helm"));
    }
    if !failed.is_empty() {
        let total = human::count(releases.len(), "release", "releases");
        parts.push(format!("{} of {total} could not be checked", failed.len()));
    }
    let mut details = Vec::new();
    for chart in &charts {
        details.push(format!("the chart {} {}", chart.name, chart.state_text()));
    }
    details.extend(failed.iter().map(ToString::to_string));
    for image in strays.iter().chain(&others) {
        let places: Vec<_> = image.places.iter().map(place_text).collect();
        let places = match places.is_empty() {
            true => String::new(),
            false => format!("  ({})", places.join(", ")),
        };
        details.push(format!("{}  {}{places}", image.reference, image.state));
    }
    let only_values = parts.len() == 1
        && !failed.is_empty()
        && failed
            .iter()
            .all(|e| matches!(e, CheckError::Installation { .. }));
    let exit = if only_values {
        Exit::Usage
    } else {
        Exit::Destination
    };
    let states = strays.iter().chain(&others).map(|image| &image.state);
    let states = states.chain(charts.iter().map(|chart| &chart.state));
    let states: Vec<_> = states.collect();
    let unanswered = states.iter().find_map(|state| match state {
        ImageState::Unanswered { hint, .. } => hint.clone(),
        _ => None,
    });
    let is_foreign = states
        .iter()
        .any(|state| matches!(state, ImageState::Foreign));
    let hint = if unanswered.is_some() {
        unanswered
    } else if is_foreign {
        Some(
            "add what is missing to `images` of the chart in bundle.yaml and carry a new bundle, or \
             set values that name another image"
                .to_owned(),
        )
    } else if !states.is_empty() {
        Some(
            "load the bundle again, then `bundle check`; where something else has a tag: \
             --on-conflict replace"
                .to_owned(),
        )
    } else {
        failed.iter().find_map(|error| error.hint())
    };
    Err(CliError::new(exit, parts.join(", "))
        .details(details)
        .maybe_hint(hint))
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedJson {
    releases: Vec<serde_json::Value>,
    /// Images that were brought and that no rendered release names.
    others: Vec<serde_json::Value>,
}

impl CheckedJson {
    fn of(checked: &Checked) -> Self {
        let image = |image: &CheckedImage| {
            let places = image.places.iter().map(|place| {
                json!({
                    "template": place.template,
                    "object": place.object,
                    "path": place.field,
                })
            });
            json!({
                "reference": image.reference.to_string(),
                "good": image.state.is_good(),
                "state": image.state.to_string(),
                "places": places.collect::<Vec<_>>(),
            })
        };
        let releases = checked.releases.iter().map(|release| {
            let chart = release.chart.as_ref().map(|chart| {
                json!({
                    "reference": chart.name,
                    "good": chart.state.is_good(),
                    "state": chart.state_text(),
                })
            });
            json!({
                "release": release.release,
                "namespace": release.namespace,
                "good": release.is_good(),
                "chart": chart,
                "notRendered": release.rendering.why_not(),
                "images": release.images.iter().map(image).collect::<Vec<_>>(),
            })
        });
        Self {
            releases: releases.collect(),
            others: checked.others.iter().map(image).collect(),
        }
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let read = || {
        let mut content = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::Usage,
            _ => Exit::LocalIo,
        };
        CliError::new(exit, format!("{}: {error}", escape_path(path)))
    })?;
    if content.len() as u64 > most {
        let path = escape_path(path);
        return Err(CliError::usage(format!(
            "{path} is larger than {most} bytes"
        )));
    }
    Ok(content)
}

fn read_record(directory: &Path) -> Result<Record, CliError> {
    let path = directory.join(RECORD_FILE);
    let hint = "name the directory that `bundle load --handoff` wrote";
    let content = read(&path, MAX_RECORD_BYTES).map_err(|error| error.hint(hint))?;
    Record::parse(&content)
        .map_err(|error| CliError::usage(format!("{}: {error}", escape_path(&path))).hint(hint))
}

fn brought(record: &Record) -> Result<Brought, CliError> {
    let mut brought = Brought::new(record.mirrored_hosts.iter().cloned());
    for image in &record.images {
        let source: Reference = image.source.parse().map_err(CliError::usage)?;
        let repository = repository(&image.repository)?;
        brought.add(&source, &repository, image.digest);
    }
    Ok(brought)
}

fn repository(name: &str) -> Result<Repository, CliError> {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    Repository::new(host, path).map_err(CliError::usage)
}

/// Values files in their order: name and content.
type ValuesFiles = Vec<(String, Vec<u8>)>;

/// A release with its names parsed.
struct Recorded<'a> {
    recorded: &'a RecordedRelease,
    repository: Repository,
    /// The name of the chart.
    name: String,
    tag: String,
}

impl<'a> Recorded<'a> {
    fn of(recorded: &'a RecordedRelease) -> Result<Self, CliError> {
        let source: Reference = recorded.release.chart.parse().map_err(CliError::usage)?;
        let no_tag = || {
            let chart = &recorded.release.chart;
            CliError::usage(format!("{chart} in {RECORD_FILE} has no tag"))
        };
        let name = source.repository().path().rsplit('/').next();
        Ok(Self {
            recorded,
            repository: repository(&recorded.repository)?,
            name: name.unwrap_or_default().to_owned(),
            tag: source.tag().ok_or_else(no_tag)?.to_owned(),
        })
    }

    /// The overlay and the values files, from the hand-off.
    fn local_files(&self, directory: &Path) -> Result<(String, ValuesFiles), CliError> {
        let path = &self.recorded.overlay;
        let overlay = read(&directory.join(path), MAX_OVERLAY_BYTES)?;
        let overlay = String::from_utf8(overlay)
            .map_err(|_| CliError::usage(format!("{path} is not UTF-8 text")))?;
        let files = self.recorded.release.values.iter();
        let values = files.zip(&self.recorded.values).map(|(file, path)| {
            let content = read(&directory.join(path), MAX_VALUES_BYTES)?;
            Ok::<_, CliError>((file.name.clone(), content))
        });
        Ok((overlay, values.collect::<Result<_, _>>()?))
    }

    /// The chart from the registry with these values.
    async fn installation(
        &self,
        client: &Client,
        values: ValuesFiles,
    ) -> Result<Installation, CheckError> {
        let recorded = self.recorded;
        let place = format!("{}@{}", self.repository, recorded.chart);
        let archived = ArchivedChart {
            name: &self.name,
            version: &self.tag,
            digest: recorded.archive,
            size: recorded.archive_size,
        };
        let failed = |error| match error {
            ArchiveError::Registry(error) => CheckError::Destination {
                what: place.clone(),
                error,
            },
            error => CheckError::Chart {
                chart: place.clone(),
                problem: error.to_string(),
            },
        };
        let archive = archived.fetch(client, &self.repository).await;
        let archive = archive.map_err(failed)?;
        let chart = archived.read(&archive).map_err(failed)?;
        Ok(Installation {
            release: recorded.release.clone(),
            archive,
            chart,
            values,
        })
    }
}
