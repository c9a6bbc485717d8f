//! The hand-off directory: everything that an installation inside the gap needs beside the
//! registry, as files.
//!
//! Pure: data in, files out; no network, no clock, no file system, and the same input always gives
//! the same bytes. Names in the input come from bundles and charts that others made, so each file
//! is written with the quoting of its own language (see [`quote`]).

mod containers;
mod error;
mod images;
mod install;
mod kubernetes;
mod mirrors;
pub mod overlay;
pub mod quote;
pub mod record;
mod tigera;
mod values;
mod yaml;

use std::collections::BTreeSet;

use crate::oci::{Digest, Reference, Repository};

pub use error::HandoffError;

/// What identifies the bundle whose content was loaded.
#[derive(Clone, Debug)]
pub struct BundleName<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The digest of its root.
    pub root: Digest,
}

/// The registry that the content is in now.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// `HOST[:PORT]`.
    pub host: &'a str,
    /// A path that precedes all names; may be empty.
    pub prefix: &'a str,
    /// Whether it answers plain HTTP only.
    pub plain_http: bool,
    /// Where nodes will have the certificate authority of the registry, if it is a private one:
    /// an absolute path on the node.
    pub ca_file: Option<&'a str>,
}

impl Destination<'_> {
    /// `HOST[:PORT][/PREFIX]`.
    pub(crate) fn place(&self) -> String {
        if self.prefix.is_empty() {
            self.host.to_owned()
        } else {
            format!("{}/{}", self.host, self.prefix)
        }
    }

    fn scheme(&self) -> &'static str {
        if self.plain_http { "http" } else { "https" }
    }
}

/// Which part of an image's name was kept (`--layout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The whole path without the host.
    Strip,
    /// Host and path.
    Host,
    /// The last two parts.
    Last2,
    /// The last part.
    Flat,
}

/// An image and where it is now.
#[derive(Clone, Debug)]
pub struct MovedImage {
    /// The name that it had, with the digest that it was pinned to, if any.
    pub source: Reference,
    /// The repository that it is in now.
    pub destination: Repository,
    /// The tag that it has there.
    pub tag: Option<String>,
    /// The digest that it has there. Differs from that of `source` where an index was reduced to
    /// the platforms that the bundle carries.
    pub digest: Digest,
    /// Its platforms, as `OS/ARCHITECTURE[/VARIANT]`.
    pub platforms: Vec<String>,
}

impl MovedImage {
    /// The full name at the destination: by tag where there is one, else by digest.
    pub(crate) fn destination_reference(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.destination),
            None => format!("{}@{}", self.destination, self.digest),
        }
    }
}

/// A chart, where it is now, and how it is to be installed.
#[derive(Clone, Debug)]
pub struct MovedChart {
    /// The name in `Chart.yaml`.
    pub name: String,
    /// The version in `Chart.yaml`, verbatim.
    pub version: String,
    /// The repository that it is in now; its last part is `name`.
    pub destination: Repository,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The values that Helm computes for it: the defaults of the chart, with the defaults of
    /// sub-charts under their names or aliases, and the user's values over them.
    pub values: serde_json::Value,
    /// The user's values files in their order: name and content.
    pub user_values: Vec<(String, Vec<u8>)>,
    /// The name of the release.
    pub release: String,
    /// The namespace that it is installed into.
    pub namespace: String,
    /// The version of Kubernetes that it was rendered for.
    pub kube_version: Option<String>,
    /// `relocate.set` of `bundle.yaml`: path as for `helm --set`, and value, in which
    /// `{registry}`, `{registryHost}`, `{imagePath}` and `{pullSecret}` are filled in.
    pub set: Vec<(String, String)>,
}

/// What the hand-off is made from.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The bundle.
    pub bundle: BundleName<'a>,
    /// The registry.
    pub to: Destination<'a>,
    /// How images were renamed.
    pub layout: Layout,
    /// Whether `--map` rules had a part in it.
    pub has_map_rules: bool,
    /// All images of the bundle.
    pub images: &'a [MovedImage],
    /// All charts of the bundle, in the order of installation.
    pub charts: &'a [MovedChart],
    /// The name of the secret with the credentials for the registry.
    pub pull_secret: &'a str,
}

/// The usual name of the pull secret.
pub const DEFAULT_PULL_SECRET: &str = "registry-credentials";

/// One file of the hand-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoffFile {
    /// The path below the hand-off directory, with `/`; its parts are plain names.
    pub path: String,
    /// The content.
    pub content: Vec<u8>,
}

/// The hand-off.
#[derive(Clone, Debug)]
pub struct Handoff {
    /// The files, sorted by path.
    pub files: Vec<HandoffFile>,
    /// What could not be written, or needs a decision, and why; also in `INSTALL.md`.
    pub notes: Vec<String>,
    /// The releases, in the order of the charts.
    pub releases: Vec<HandedRelease>,
    /// Hosts whose images nodes find by the names from before, if they are told of the mirror.
    pub mirrored_hosts: Vec<String>,
}

/// What the hand-off has for one release.
#[derive(Clone, Debug)]
pub struct HandedRelease {
    /// What was done with the values.
    pub overlay: overlay::Overlay,
    /// The path of the overlay.
    pub overlay_path: String,
    /// The paths of the user's values files, in their order.
    pub values_paths: Vec<String>,
    /// The command that installs it, to be run in the directory.
    pub command: String,
}

/// Makes all files of the hand-off.
///
/// # Errors
/// When a name in the input cannot stand in a file or on a command line: see [`HandoffError`].
pub fn files(input: &Input<'_>) -> Result<Handoff, HandoffError> {
    let releases = values::releases(input)?;
    let mut notes = Vec::new();
    let mut handed = Vec::new();
    let mut files = Vec::new();
    for release in &releases {
        let overlay = overlay::overlay(&overlay::Request {
            chart: release.chart,
            images: input.images,
            to: input.to,
            layout: input.layout,
            pull_secret: input.pull_secret,
        })?;
        for left in &overlay.left {
            notes.push(format!(
                "{}: value {} ({}) is left as it is: {}",
                release.label,
                quote::code(&left.path),
                quote::code(&left.value),
                left.reason
            ));
        }
        notes.extend(
            overlay
                .notes
                .iter()
                .map(|note| format!("{}: {note}", release.label)),
        );
        files.push(text(release.overlay_path(), overlay.yaml.clone()));
        for file in &release.values {
            files.push(HandoffFile {
                path: file.path.clone(),
                content: file.content.to_vec(),
            });
        }
        handed.push(HandedRelease {
            overlay,
            overlay_path: release.overlay_path(),
            values_paths: release.values.iter().map(|f| f.path.clone()).collect(),
            command: install::command(input, release, false),
        });
    }
    let mirrors = mirrors::Mirrors::of(input);
    notes.extend(mirrors.notes.iter().cloned());
    files.extend(containers::files(input, &mirrors));
    files.extend(kubernetes::files(input, &mirrors)?);
    if let Some(set) = tigera::image_set(input) {
        notes.extend(set.notes);
        files.extend(set.file);
    }
    files.extend(images::files(input));
    let paths: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    files.push(text(
        "INSTALL.md".to_owned(),
        install::page(input, &releases, &paths, &notes),
    ));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(HandoffError::SamePath(pair[0].path.clone()));
    }
    Ok(Handoff {
        files,
        notes,
        releases: handed,
        mirrored_hosts: mirrors.covered_hosts(),
    })
}

fn text(path: String, content: String) -> HandoffFile {
    HandoffFile {
        path,
        content: content.into_bytes(),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
