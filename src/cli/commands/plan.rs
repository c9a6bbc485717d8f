//! `bundle plan`.

use std::path::PathBuf;

use clap::Args;

use super::{inputs::InputArgs, lock_file};
use crate::{
    bundle::{Absent, AbsentReason, Lock, LockedChart, Origin, Release},
    cli::{
        Context, Format,
        args::RegistryArgs,
        clock,
        escape::escape_path,
        exit::{CliError, Exit},
        output::Output,
        table::{Align, Table},
        values,
    },
    create::{self, Advice, PlanReport, Suggested, Unsure},
    human,
    oci::Platform,
    registry::ProxyUse,
};

/// Show what a bundle would hold, and write bundle.lock
///
/// Resolves everything as `create` does, prints each image with its digest, size, platforms and
/// who asked for it, and pins it all in a lock. Nothing is downloaded but manifests.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle plan -f bundle.yaml
  bundle plan --images-from images.txt -o images.lock
  bundle plan --check

In CI, --check fails when a tag has moved since bundle.lock was written.")]
pub struct PlanArgs {
    /// What goes in.
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Write the lock to this file [default: bundle.lock beside bundle.yaml, if there is one]
    #[arg(short, long, value_name = "FILE", env = "BUNDLE_LOCK")]
    pub output: Option<PathBuf>,
    /// Write nothing; fail if the lock does not say what would be resolved now
    #[arg(long, env = "BUNDLE_CHECK", value_parser = values::switch)]
    pub check: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

impl PlanArgs {
    /// Refuses what the grammar of the arguments cannot.
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self) -> Result<(), CliError> {
        self.registry.check()?;
        self.inputs.check(self.registry.password_stdin)
    }
}

/// Runs the command.
///
/// # Errors
/// When something does not resolve; with exit code 5 when --check finds that something moved.
pub async fn run(args: PlanArgs, context: &Context) -> Result<(), CliError> {
    args.check()?;
    let request = args.inputs.request(&context.output)?;
    let client = args.inputs.client(
        &args.registry,
        &request,
        ProxyUse::Environment,
        &context.output,
    )?;
    let concurrency = args.registry.concurrency.into();
    let path = args.output.clone().or_else(|| args.inputs.default_lock());
    if args.check && path.is_none() {
        return Err(CliError::usage("--check needs a lock to compare with")
            .hint("-o bundle.lock, or a bundle.yaml with a bundle.lock beside it"));
    }
    let progress = context.progress.as_ref();
    let charts = args.inputs.charts.options();
    let now = clock::now()?;
    let planned = create::plan(&client, &request, &charts, now, concurrency, progress).await?;
    let (lock, size) = (&planned.lock, planned.content_size);
    if let (true, Some(path)) = (args.check, &path) {
        return compare(&lock_file::read(path)?, lock, &escape_path(path));
    }
    match context.format {
        Format::Json => context.output.json(&PlanReport::of(&planned))?,
        Format::Table => {
            show(lock, size, &context.output)?;
            show_advice(&planned.advice, &context.output)?;
        }
    }
    if let Some(path) = path {
        lock_file::write(&path, lock)?;
        context.output.step("wrote", &escape_path(&path), None);
    }
    Ok(())
}

fn show(lock: &Lock, content_size: u64, output: &Output) -> Result<(), CliError> {
    let referrers = lock.images.iter().filter(|image| image.is_only_referrer());
    let referrers = referrers.count();
    let mut what = human::count(lock.images.len() - referrers, "image", "images");
    let values: usize = lock
        .releases
        .iter()
        .map(|release| release.values.len())
        .sum();
    for (count, one, many) in [
        (referrers, "referrer", "referrers"),
        (lock.charts.len(), "chart", "charts"),
        (values, "values file", "values files"),
        (lock.files.len(), "file", "files"),
    ] {
        if count > 0 {
            what.push_str(&format!(" · {}", human::count(count, one, many)));
        }
    }
    let (name, version) = (&lock.metadata.name, &lock.metadata.version);
    let size = human::bytes(content_size);
    output.line(&format!("{name} {version}   {what}   {size} to carry"))?;
    output.line("")?;
    let mut table = Table::new([
        ("IMAGE", Align::Left),
        ("DIGEST", Align::Left),
        ("PLATFORMS", Align::Left),
        ("SIZE", Align::Right),
        ("WHY", Align::Left),
    ]);
    for image in &lock.images {
        table.row([
            image.reference.clone(),
            image.digest.short(),
            platforms(&image.platforms),
            human::bytes(image.content_size),
            why(&image.requested_by),
        ]);
    }
    for chart in &lock.charts {
        table.row([
            format!("{} {} (chart)", chart.name, chart.version),
            chart.digest.short(),
            "-".to_owned(),
            human::bytes(chart.content_size),
            why(&chart.requested_by),
        ]);
    }
    output.table(&table)?;
    show_absent(&lock.absent, output)
}

/// The cell with who asked for an image; `--format json` and the lock have all of them.
fn why(origins: &[Origin]) -> String {
    const SHOWN: usize = 2;
    let first: Vec<String> = origins
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    let more = match origins.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" · {more} more"),
    };
    first.join(" · ") + &more
}

fn show_advice(advice: &Advice, output: &Output) -> Result<(), CliError> {
    for suggested in &advice.suggested {
        let Suggested {
            reference,
            release,
            from,
        } = suggested;
        output.line(&format!(
            "suggested  {reference}   {from} of release {release}; not in the bundle (--include-suggested takes it along)"
        ))?;
    }
    for Unsure { release, unsure } in &advice.unsure {
        output.line(&format!(
            "unsure     {}   {} {} of release {release}: {}; list the image if it is one",
            unsure.text, unsure.place.object, unsure.place.field, unsure.why
        ))?;
    }
    for found in &advice.not_relocatable {
        let unless = match found.except_with_last2 {
            true => "it is to be loaded with --layout last2, or nodes need a mirror",
            false => "no value brings it to another registry, nodes need a mirror",
        };
        for stray in &found.strays {
            let place = stray.places.first();
            let place = place.map(|place| format!("{} {}", place.object, place.field));
            output.line(&format!(
                "fixed      {}   {} of release {}: {unless}",
                stray.reference,
                place.unwrap_or_default(),
                found.release
            ))?;
        }
    }
    for (release, why) in &advice.fixed_values {
        output.line(&format!(
            "fixed      release {release} does not render with values for another registry, nodes need a mirror: {why}"
        ))?;
    }
    for list in &advice.unreadable {
        output.warn(&format!(
            "a list of images in a chart cannot be read: {list}"
        ));
    }
    for operator in &advice.operators {
        output.warn(operator);
    }
    Ok(())
}

/// The cell with the platforms of an image; the system is left out where it is Linux.
pub(super) fn platforms(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "-".to_owned();
    }
    let names = platforms.iter().map(|platform| {
        let name = platform.to_string();
        match name.strip_prefix("linux/") {
            Some(architecture) => architecture.to_owned(),
            None => name,
        }
    });
    names.collect::<Vec<_>>().join(" ")
}

/// A line for everything that is left out.
pub(super) fn show_absent(absent: &[Absent], output: &Output) -> Result<(), CliError> {
    for absent in absent {
        let why = match absent.reason {
            AbsentReason::Platform => {
                format!(
                    "for {}",
                    absent.platform.as_deref().unwrap_or("another platform")
                )
            }
            AbsentReason::Foreign => {
                let from = absent.urls.first().map_or("elsewhere", String::as_str);
                format!(
                    "foreign layer of {}, stays at {from}",
                    human::bytes(absent.size)
                )
            }
        };
        output.line(&format!("absent     {}   {why}", absent.digest.short()))?;
    }
    Ok(())
}

/// Says what moved since the lock was written. Its time does not count.
fn compare(locked: &Lock, now: &Lock, path: &str) -> Result<(), CliError> {
    let same_time = Lock {
        created: locked.created.clone(),
        ..now.clone()
    };
    if same_time == *locked {
        return Ok(());
    }
    let mut details = Vec::new();
    for image in &now.images {
        let reference = &image.reference;
        match locked
            .images
            .iter()
            .find(|known| known.reference == *reference)
        {
            None => details.push(format!("{reference}  is new")),
            Some(known) if known.digest != image.digest => {
                let (was, is) = (known.digest.short(), image.digest.short());
                details.push(format!("{reference}  was {was}, is {is}"));
            }
            Some(_) => {}
        }
    }
    for known in &locked.images {
        if !now
            .images
            .iter()
            .any(|image| image.reference == known.reference)
        {
            details.push(format!("{}  is no longer asked for", known.reference));
        }
    }
    for chart in &now.charts {
        let same = |known: &&LockedChart| known.reference == chart.reference;
        match locked.charts.iter().find(same) {
            None => details.push(format!("{}  is new", chart.reference)),
            Some(known) if known.digest != chart.digest => {
                let (was, is) = (known.digest.short(), chart.digest.short());
                details.push(format!("{}  was {was}, is {is}", chart.reference));
            }
            Some(_) => {}
        }
    }
    for known in &locked.charts {
        let same = |chart: &LockedChart| known.reference == chart.reference;
        if !now.charts.iter().any(same) {
            details.push(format!("{}  is no longer asked for", known.reference));
        }
    }
    compare_releases(&locked.releases, &now.releases, &mut details);
    if details.is_empty() {
        details.push("platforms, files, places or names have changed".to_owned());
    }
    Err(
        CliError::new(Exit::Source, format!("{path} is out of date"))
            .details(details)
            .hint("bundle plan writes it anew"),
    )
}

/// Says which releases differ, and which of their values.
fn compare_releases(locked: &[Release], now: &[Release], details: &mut Vec<String>) {
    let name = |release: &Release| format!("release {}/{}", release.namespace, release.name);
    let find = |all: &[Release], wanted: &Release| {
        let mut all = all.iter();
        all.find(|release| name(release) == name(wanted)).cloned()
    };
    for release in now {
        let title = name(release);
        let Some(known) = find(locked, release) else {
            details.push(format!("{title}  is new"));
            continue;
        };
        if known == *release {
            continue;
        }
        let mut same_values = true;
        for file in &release.values {
            let was = known.values.iter().find(|was| was.name == file.name);
            match was.map(|was| was.digest) {
                Some(was) if was == file.digest => continue,
                Some(was) => {
                    let (was, is) = (was.short(), file.digest.short());
                    details.push(format!("{title}  {}: was {was}, is {is}", file.name));
                }
                None => details.push(format!("{title}  {}: is new", file.name)),
            }
            same_values = false;
        }
        if same_values {
            details.push(format!("{title}  is described otherwise"));
        }
    }
    for known in locked {
        if find(now, known).is_none() {
            details.push(format!("{}  is no longer asked for", name(known)));
        }
    }
}
