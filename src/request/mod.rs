//! What a bundle is asked to hold: `bundle.yaml`, lists of images, and arguments, read and checked
//! before anything is fetched.
//!
//! Everything comes together in a [`Request`]: each image once, however often and wherever it was
//! asked for, with all its [`Origin`]s, sorted, so that the same wishes in another order are the
//! same request.

mod builder;
mod builder_chart;
mod chart;
mod error;
mod list;
mod names;
mod referrers;
mod source;
mod spec;
mod spec_chart;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod yaml;

use std::{fmt, path::PathBuf};

pub use builder::RequestBuilder;
pub use builder_chart::ChartArguments;
pub use chart::{
    ChartImage, ChartSource, RequestedChart, ValuesFile, check_api_version, check_kube_version,
    check_namespace, check_release_name,
};
pub use error::{Problem, RequestError};
pub use list::{ListedImage, MAX_LINE_BYTES, MAX_LIST_BYTES, parse_list, read_list};
pub use names::{
    NameError, check_bundle_name, check_bundle_version, check_file_name, check_platform,
};
pub use referrers::{COSIGN_TAGS, ReferrerChoice, check_referrer_type};
pub use source::read_contained_list;
pub use spec::{MAX_SPEC_BYTES, Spec, SpecFile, SpecImage, SpecImageSource, load_spec, parse_spec};
pub use spec_chart::{SpecChart, SpecChartImage, SpecChartImageSource};
pub use suggest::{nearest, nearest_few};
pub use template::{ChartFacts, ImageTemplate};

use crate::oci::Reference;

/// Where an image was asked for. It goes into the lock, so it names files the way the user wrote
/// them in `bundle.yaml`, or by their bare file name: never by a path of this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A line of `bundle.yaml` or of a list of images.
    File {
        /// The name of the file, or `stdin`.
        file: String,
        /// The line, counted from 1.
        line: u64,
    },
    /// An argument on the command line.
    Argument,
    /// A place in an object that a chart makes.
    Rendered {
        /// The release.
        release: String,
        /// The object: `Deployment/NAMESPACE/NAME`.
        object: String,
        /// The field in it.
        path: String,
        /// The template that makes the object.
        template: String,
    },
    /// A chart's values, annotations or `Images.lock`.
    Suggested {
        /// The release.
        release: String,
        /// Where it is named.
        path: String,
    },
    /// The list of what an operator runs.
    Operator {
        /// The operator's image.
        operator: String,
        /// The catalogue's file.
        path: String,
    },
    /// What it refers to, at the source.
    Referrer {
        /// The subject: `quay.io/team/app@sha256:…`.
        subject: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Argument => f.write_str("argument"),
            Self::Rendered {
                release,
                object,
                path,
                ..
            } => write!(f, "release {release} {object} {path}"),
            Self::Suggested { release, path } => write!(f, "release {release} {path}"),
            Self::Operator { operator, path } => write!(f, "{path} for {operator}"),
            Self::Referrer { subject } => write!(f, "refers to {subject}"),
        }
    }
}

/// An image that the bundle is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedImage {
    /// The image, normalised.
    pub reference: Reference,
    /// The platforms wanted of it, sorted, or `None` for those of the whole request.
    pub platforms: Option<Vec<String>>,
    /// Everyone who asked for it: at least one, sorted, without repetitions.
    pub origins: Vec<Origin>,
}

impl RequestedImage {
    /// Whether nobody asked for it but what it refers to.
    pub fn is_only_referrer(&self) -> bool {
        let mut origins = self.origins.iter();
        origins.all(|origin| matches!(origin, Origin::Referrer { .. }))
    }
}

/// A plain file that the bundle is to carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestedFile {
    /// The name it has in the bundle: one path component, unique within the request.
    pub name: String,
    /// Where it is now. Files of `bundle.yaml` have been resolved to a path without symbolic
    /// links.
    pub path: PathBuf,
    /// Who asked for it.
    pub origin: Origin,
}

/// All that a bundle is asked to hold, before any of it is looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `metadata.name`, which [`check_bundle_name`] accepts.
    pub name: Option<String>,
    /// `metadata.version`, which [`check_bundle_version`] accepts.
    pub version: Option<String>,
    /// The platforms wanted of every image that names none itself, sorted, as
    /// `OS/ARCH[/VARIANT]`; `None` when nothing was said.
    pub platforms: Option<Vec<String>>,
    /// The images, sorted by reference.
    pub images: Vec<RequestedImage>,
    /// The files, sorted by name.
    pub files: Vec<RequestedFile>,
    /// The charts, in the order in which they were asked for: that of their installation.
    pub charts: Vec<RequestedChart>,
    /// Catalogues of what operators run.
    pub operators: Vec<RequestedFile>,
    /// Which signatures, attestations and the like come along with images and charts.
    pub referrers: ReferrerChoice,
}

impl Request {
    /// The file name that a bundle of this name and version has unless another is asked for:
    /// `NAME-VERSION.bundle.tar.zst`.
    pub fn default_file_name(&self) -> Option<String> {
        let (name, version) = (self.name.as_ref()?, self.version.as_ref()?);
        Some(format!("{name}-{version}.bundle.tar.zst"))
    }

    /// Images that were asked for more than once, which is no error but may be a mistake.
    pub fn repeated(&self) -> impl Iterator<Item = &RequestedImage> {
        self.images.iter().filter(|image| image.origins.len() > 1)
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.files.is_empty() && self.charts.is_empty()
    }

    /// Takes an image away; gives back who asked for it.
    pub fn take_image(&mut self, reference: &Reference) -> Vec<Origin> {
        let place = self.images.iter().position(|i| i.reference == *reference);
        place.map_or_else(Vec::new, |at| self.images.remove(at).origins)
    }

    /// Adds images that turned out to be needed; one that was asked for already gets one more
    /// origin.
    pub fn add_images(&mut self, images: impl IntoIterator<Item = (Reference, Origin)>) {
        for (reference, origin) in images {
            let place = self
                .images
                .binary_search_by(|i| i.reference.cmp(&reference));
            let image = match place {
                Ok(at) => &mut self.images[at],
                Err(at) => {
                    let image = RequestedImage {
                        reference,
                        // What refers to an image is for none or for all of its platforms.
                        platforms: matches!(origin, Origin::Referrer { .. }).then(Vec::new),
                        origins: Vec::new(),
                    };
                    self.images.insert(at, image);
                    &mut self.images[at]
                }
            };
            if let Err(at) = image.origins.binary_search(&origin) {
                image.origins.insert(at, origin);
            }
        }
    }
}
