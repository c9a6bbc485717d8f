//! What can be wrong with rendered objects.

use std::fmt;

use super::Place;
use crate::oci::ReferenceError;

/// Why the images of rendered objects cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// More text than any chart renders to.
    #[error("the rendered objects are {size} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Bytes of rendered text.
        size: usize,
        /// The most that is read.
        limit: usize,
    },
    /// A document that is not YAML, or beyond the parser's budget.
    #[error(
        "{}: {message} (document {document}, line {line}, column {column})",
        shown(template)
    )]
    Yaml {
        /// The template of the document's `# Source:` comment, empty where there is none.
        template: String,
        /// Which document of the rendered text, from 1.
        document: usize,
        /// Line in the rendered text, from 1; 0 where it is not known.
        line: u64,
        /// Column, from 1; 0 where it is not known.
        column: u64,
        /// What the parser says.
        message: String,
    },
    /// A document that is YAML, but no Kubernetes object.
    #[error(
        "{}: document {document} is {what}, not a Kubernetes object",
        shown(template)
    )]
    NotAnObject {
        /// The template of the document's `# Source:` comment, empty where there is none.
        template: String,
        /// Which document of the rendered text, from 1.
        document: usize,
        /// What it is instead.
        what: &'static str,
    },
    /// Containers whose image cannot be pulled; all of them.
    #[error("{}", all(.0))]
    Images(Vec<BadImage>),
}

impl DiscoverError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Images(_) => Some(
                "give the values that set these images, or list what the chart needs under \
                 `images` and turn rendering off with `discover: none`"
                    .to_owned(),
            ),
            Self::Yaml { .. } | Self::NotAnObject { .. } => Some(
                "look at it with `helm template --debug` and the same values: \
                 the cluster would not take it either"
                    .to_owned(),
            ),
            Self::TooLarge { .. } => None,
        }
    }
}

/// A container whose image is no reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadImage {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    pub problem: ImageProblem,
}

impl fmt::Display for BadImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// What is wrong with the image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageProblem {
    /// There is none, or it is empty.
    Missing,
    /// It is a number, a list or an object.
    NotText,
    /// It is text, but no reference: the message of [`ReferenceError`], which is clipped.
    Reference(String),
}

impl From<ReferenceError> for ImageProblem {
    fn from(error: ReferenceError) -> Self {
        Self::Reference(error.to_string())
    }
}

impl fmt::Display for ImageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the container has no image"),
            Self::NotText => f.write_str("the image is not text"),
            Self::Reference(message) => f.write_str(message),
        }
    }
}

fn shown(template: &str) -> &str {
    if template.is_empty() {
        "the rendered objects"
    } else {
        template
    }
}

/// How many are named in one message.
const NAMED: usize = 20;

fn all(problems: &[BadImage]) -> String {
    let mut lines: Vec<String> = problems.iter().take(NAMED).map(|p| p.to_string()).collect();
    if problems.len() > NAMED {
        lines.push(format!("and {} more", problems.len() - NAMED));
    }
    lines.join("\n")
}
