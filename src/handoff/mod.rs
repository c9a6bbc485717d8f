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
pub use record::OnlyByMirror;

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
    /// Of these images, by their names from before, the destination has other ones under their
    /// tags, which were kept.
    pub kept: &'a [Reference],
    /// All charts of the bundle, in the order of installation. For [`Maker`] their `values` and the
    /// content of `user_values` are left empty.
    pub charts: &'a [MovedChart],
    /// The name of the secret with the credentials for the registry.
    pub pull_secret: &'a str,
    /// The certificate authority of the registry in PEM, for the machine that installs, if it is a
    /// private one.
    pub certificate: Option<&'a [u8]>,
}

impl<'a> Input<'a> {
    /// The images that are at the destination as the bundle has them.
    pub(crate) fn images_there(&self) -> impl Iterator<Item = &'a MovedImage> {
        let kept: BTreeSet<&Reference> = self.kept.iter().collect();
        self.images
            .iter()
            .filter(move |image| !kept.contains(&image.source))
    }
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
    /// The files that were not those of a release, sorted by path; of [`files`], all.
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
    /// The path of the overlay.
    pub overlay_path: String,
    /// The paths of the user's values files, in their order.
    pub values_paths: Vec<String>,
    /// The command that installs it, to be run in the directory.
    pub command: String,
}

/// What a look at the rendered releases has found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Whether there was such a look.
    pub checked: bool,
    /// Images that only a mirror brings to nodes.
    pub only_by_mirror: Vec<OnlyByMirror>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// The certificate authority of the registry, in the hand-off.
pub(crate) const CA_FILE: &str = "ca.crt";

/// Makes a hand-off, one release after the other, so that the values of one are in memory at a time.
#[derive(Debug)]
pub struct Maker<'a> {
    input: Input<'a>,
    releases: Vec<values::Release<'a>>,
    mirrors: mirrors::Mirrors,
    notes: Vec<String>,
    /// Paths of the files that were given away.
    paths: Vec<String>,
    /// Releases that were made.
    made: usize,
    has_tigera: bool,
}

impl<'a> Maker<'a> {
    /// Checks every name that ends up in a path or on a command line.
    ///
    /// # Errors
    /// When one cannot: see [`HandoffError`].
    pub fn new(input: Input<'a>) -> Result<Self, HandoffError> {
        for chart in input.charts {
            overlay::check_settings(chart)?;
        }
        Ok(Self {
            releases: values::releases(&input)?,
            mirrors: mirrors::Mirrors::of(&input),
            notes: Vec::new(),
            paths: Vec::new(),
            made: 0,
            has_tigera: false,
            input,
        })
    }

    /// Hosts whose images nodes find by the names from before, if they are told of the mirror.
    pub fn mirrored_hosts(&self) -> Vec<String> {
        self.mirrors.covered_hosts()
    }

    /// The files of the next release, of which the overlay is the first, from its values: all of
    /// them merged, and the user's files.
    ///
    /// # Errors
    /// When a setting names a place that cannot be set.
    pub fn release(
        &mut self,
        values: serde_json::Value,
        user_values: Vec<Vec<u8>>,
    ) -> Result<Vec<HandoffFile>, HandoffError> {
        let Some(release) = self.releases.get(self.made) else {
            return Ok(Vec::new());
        };
        self.made += 1;
        let chart = MovedChart {
            values,
            user_values: Vec::new(),
            ..release.chart.clone()
        };
        self.has_tigera |= tigera::is_tigera(&chart);
        let overlay = overlay::overlay(&overlay::Request {
            chart: &chart,
            images: self.input.images,
            to: self.input.to,
            layout: self.input.layout,
            pull_secret: self.input.pull_secret,
        })?;
        for left in &overlay.left {
            self.notes.push(format!(
                "{}: value {} ({}) is left as it is: {}",
                release.label,
                quote::code(&left.path),
                quote::code(&left.value),
                left.reason
            ));
        }
        let notes = overlay.notes.iter();
        self.notes
            .extend(notes.map(|note| format!("{}: {note}", release.label)));
        let mut files = vec![text(release.overlay_path(), overlay.yaml)];
        let contents = release.values.iter().zip(user_values);
        files.extend(contents.map(|(path, content)| HandoffFile {
            path: path.clone(),
            content,
        }));
        self.paths
            .extend(files.iter().map(|file| file.path.clone()));
        Ok(files)
    }

    /// All other files.
    ///
    /// # Errors
    /// When two files would have one path.
    pub fn finish(mut self, findings: &Findings) -> Result<Handoff, HandoffError> {
        let input = &self.input;
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.mirrors.notes.iter().cloned());
        let mut files = containers::files(input, &self.mirrors);
        files.extend(kubernetes::files(input, &self.mirrors)?);
        if let Some(set) = tigera::image_set(input, self.has_tigera) {
            notes.extend(set.notes);
            files.extend(set.file);
        }
        files.extend(images::files(input));
        if let Some(certificate) = input.certificate {
            files.push(HandoffFile {
                path: CA_FILE.to_owned(),
                content: certificate.to_vec(),
            });
        }
        notes.extend(findings.notes.iter().cloned());
        let paths: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
        let page = install::page(input, &self.releases, &paths, findings, &notes);
        files.push(text("INSTALL.md".to_owned(), page));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut all = self.paths;
        all.extend(files.iter().map(|file| file.path.clone()));
        all.sort();
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(HandoffError::SamePath(pair[0].clone()));
        }
        let handed = self.releases.iter().map(|release| HandedRelease {
            overlay_path: release.overlay_path(),
            values_paths: release.values.clone(),
            command: install::command(input, release, false),
        });
        Ok(Handoff {
            files,
            notes,
            releases: handed.collect(),
            mirrored_hosts: self.mirrors.covered_hosts(),
        })
    }
}

/// Makes all files of a hand-off at once, of releases that nobody looked at.
///
/// # Errors
/// When a name in the input cannot stand in a file or on a command line: see [`HandoffError`].
pub fn files(input: &Input<'_>) -> Result<Handoff, HandoffError> {
    let mut maker = Maker::new(input.clone())?;
    let mut files = Vec::new();
    for chart in input.charts {
        let contents = chart.user_values.iter().map(|(_, content)| content.clone());
        files.extend(maker.release(chart.values.clone(), contents.collect())?);
    }
    let findings = Findings {
        checked: true,
        ..Findings::default()
    };
    let mut made = maker.finish(&findings)?;
    made.files.extend(files);
    made.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(made)
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
