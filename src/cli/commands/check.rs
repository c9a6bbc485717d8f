//! `bundle check`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::{
    check::{self, Brought, CheckedRelease},
    cli::{
        Context, Format,
        args::RegistryArgs,
        escape::escape_path,
        exit::{CliError, Exit},
        output::Output,
        table::{Align, Table},
    },
    handoff::record::{MAX_RECORD_BYTES, RECORD_FILE, Record, RecordedRelease},
    helm::{chart::Chart, chart::MAX_ARCHIVE_BYTES, render::Helm},
    human,
    installation::Installation,
    oci::{Reference, Repository},
    registry::{Client, ProxyUse},
};

/// Largest values file that is read, in bytes.
const MAX_VALUES_BYTES: u64 = 4 << 20;

/// Check that an installation will find all its images
///
/// Renders every chart of a hand-off as it will be installed, and looks for each image that comes
/// out: it must be in the registry, or be found there by a mirror, with the digest that was
/// carried. `load --handoff` does the same where there is a helm.
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
    let config = args.registry.client_config(ProxyUse::None, [host])?;
    let client = Client::new(config).map_err(|error| CliError::destination(&error))?;
    let brought = brought(&record)?;
    let mut releases = Vec::new();
    for recorded in &record.releases {
        let overlay = read(&args.directory.join(&recorded.overlay), MAX_VALUES_BYTES)?;
        let overlay = String::from_utf8(overlay)
            .map_err(|_| CliError::usage(format!("{} is not UTF-8 text", recorded.overlay)))?;
        let installation = installation(&client, &args.directory, recorded).await?;
        let checked = check::check(&client, &helm, &installation, &overlay, &brought).await?;
        releases.extend(checked);
    }
    show(&releases, context)?;
    verdict(&releases)
}

/// Prints what was found.
pub(super) fn show(releases: &[CheckedRelease], context: &Context) -> Result<(), CliError> {
    if context.format == Format::Json {
        return context.output.json(&CheckedJson::of(releases));
    }
    show_table(releases, &context.output)
}

pub(super) fn show_table(releases: &[CheckedRelease], output: &Output) -> Result<(), CliError> {
    let mut table = Table::new([
        ("IMAGE", Align::Left),
        ("RELEASE", Align::Left),
        ("NAMED BY", Align::Left),
        ("STATE", Align::Left),
    ]);
    for release in releases {
        for image in &release.images {
            let first = image.places.first();
            let place = first.map(|place| format!("{} {}", place.object, place.field));
            table.row([
                image.reference.to_string(),
                release.release.clone(),
                place.unwrap_or_default(),
                image.state.to_string(),
            ]);
        }
    }
    output.table(&table)
}

/// Fails when nodes will not find an image.
pub(super) fn verdict(releases: &[CheckedRelease]) -> Result<(), CliError> {
    let images = releases.iter().flat_map(|release| &release.images);
    let strays: Vec<_> = images.clone().filter(|i| !i.state.is_good()).collect();
    if strays.is_empty() {
        return Ok(());
    }
    let total = human::count(images.count(), "image", "images");
    let details = strays.iter().map(|image| {
        let places = image.places.iter();
        let places = places.map(|place| format!("{} {}", place.object, place.field));
        let places: Vec<_> = places.collect();
        format!(
            "{}  {}  ({})",
            image.reference,
            image.state,
            places.join(", ")
        )
    });
    let message = format!("{} of {total} would not be found by nodes", strays.len());
    Err(CliError::new(Exit::Destination, message)
        .details(details)
        .hint("add what is missing to `images` of the chart in bundle.yaml and carry a new bundle, or set values that name another image"))
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckedJson {
    releases: Vec<serde_json::Value>,
}

impl CheckedJson {
    pub(super) fn of(releases: &[CheckedRelease]) -> Self {
        let releases = releases.iter().map(|release| {
            let images = release.images.iter().map(|image| {
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
            });
            json!({
                "release": release.release,
                "namespace": release.namespace,
                "images": images.collect::<Vec<_>>(),
            })
        });
        Self {
            releases: releases.collect(),
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

/// A release with its chart from the registry and its values from the hand-off.
async fn installation(
    client: &Client,
    directory: &Path,
    recorded: &RecordedRelease,
) -> Result<Installation, CliError> {
    let repository = repository(&recorded.repository)?;
    let source: Reference = recorded.release.chart.parse().map_err(CliError::usage)?;
    let tag = source.tag().ok_or_else(|| {
        CliError::usage(format!(
            "{} in {RECORD_FILE} has no tag",
            recorded.release.chart
        ))
    })?;
    check::check_chart(client, &repository, tag, recorded.chart).await?;
    let size = recorded.archive_size;
    let wrong = |why: String| {
        let exit = Exit::Destination;
        CliError::new(
            exit,
            format!("the chart {repository}@{}: {why}", recorded.chart),
        )
    };
    if size > MAX_ARCHIVE_BYTES as u64 {
        return Err(wrong("larger than any chart".to_owned()));
    }
    let failed = |error| CliError::destination(&error);
    let blob = client
        .blob(&repository, &recorded.archive, 0..size, size)
        .await;
    let mut blob = blob.map_err(failed)?;
    let mut content = BytesMut::new();
    while let Some(chunk) = blob.chunk().await.map_err(failed)? {
        content.extend_from_slice(&chunk);
    }
    let archive: Bytes = content.freeze();
    if recorded.archive.of_same_algorithm(&archive) != recorded.archive {
        return Err(wrong("the registry has other content for it".to_owned()));
    }
    let chart = tokio::task::block_in_place(|| Chart::read(&archive));
    let chart = chart.map_err(|error| wrong(error.to_string()))?;
    let files = recorded.release.values.iter().zip(&recorded.values);
    let values = files.map(|(file, path)| {
        let content = read(&directory.join(path), MAX_VALUES_BYTES)?;
        Ok::<_, CliError>((file.name.clone(), content))
    });
    Ok(Installation {
        release: recorded.release.clone(),
        archive,
        chart,
        values: values.collect::<Result<_, _>>()?,
    })
}
