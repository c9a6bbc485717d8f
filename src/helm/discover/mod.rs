//! Finds the container images that rendered Kubernetes objects name.
//!
//! Only what is certain is taken, by these rules; nothing is asked of a registry:
//!
//! | where | what |
//! |---|---|
//! | `containers`, `initContainers`, `ephemeralContainers` at any depth of any object | `image` |
//! | `volumes` | `image.reference` (image volumes) |
//! | fields, variables and flags called `*image`, `imageName`, `imageRef` | values with a tag or a digest |
//! | `registry`, `repository`, `image`, `tag`, `version`, `digest` with a common prefix | put together |
//! | `hub` and `tag` with `image: NAME` below (Istio) | put together |
//! | `args`, `command`, `env` | words that can be nothing but a reference |
//! | text in ConfigMaps and Secrets | YAML and JSON by all these rules, other text by its words |
//!
//! Custom resource definitions are schemas and name no image. What an operator decides in its own code is in no
//! rendered text: see [`operators`](super::operators).

mod documents;
mod error;
mod groups;
mod place;
mod pods;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod walk;
mod words;

use crate::oci::Reference;

pub use error::{BadImage, DiscoverError, ImageProblem};
pub use place::Place;
pub(in crate::helm) use place::clip;

/// The most rendered text that is read, in bytes.
pub const MAX_RENDERED: usize = 64 * 1024 * 1024;

/// An image, and every place that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The image.
    pub reference: Reference,
    /// Where it is named: at least one place, sorted.
    pub places: Vec<Place>,
}

/// Something that may name an image, but does not say which with certainty. It is never pulled: whoever
/// looks at the plan decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsure {
    /// What stands there, clipped.
    pub text: String,
    /// Where.
    pub place: Place,
    /// Why it is not taken.
    pub why: &'static str,
}

/// What is in rendered objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Sorted by reference, each once.
    pub found: Vec<Found>,
    /// Sorted by text.
    pub unsure: Vec<Unsure>,
}

/// Finds the images in the output of `helm template`, each once, sorted by reference.
///
/// # Errors
/// As [`discover`].
pub fn find_images(rendered: &str) -> Result<Vec<Found>, DiscoverError> {
    discover(rendered).map(|discovery| discovery.found)
}

/// As [`find_images`], with what is not certain beside it.
///
/// # Errors
/// When the text is larger than [`MAX_RENDERED`], a document is not a Kubernetes object in YAML, or containers
/// of Kubernetes' own objects have no valid image (all of them are named).
pub fn discover(rendered: &str) -> Result<Discovery, DiscoverError> {
    if rendered.len() > MAX_RENDERED {
        return Err(DiscoverError::TooLarge {
            size: rendered.len(),
            limit: MAX_RENDERED,
        });
    }
    let mut sink = sink::Sink::default();
    for (index, document) in documents::split(rendered).iter().enumerate() {
        let value = documents::parse_document(document, index)?;
        walk::document(&mut sink, &value, document, index)?;
    }
    sink.finish()
}

/// Finds what the values of a chart name. That is no certainty: what is disabled is named too.
pub(in crate::helm) fn in_values(values: &serde_json::Value) -> Vec<Found> {
    let mut sink = sink::Sink::default();
    walk::values(&mut sink, values);
    sink.finish().map(|d| d.found).unwrap_or_default()
}
