//! Why there is no hand-off.

/// A name that cannot stand where the hand-off would have to write it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandoffError {
    /// Not a name of a release by Helm's rules.
    #[error("`{0}` is not a release name (up to 53 of a-z, 0-9, `-` and `.`)")]
    Release(String),
    /// Not a name of a namespace.
    #[error("`{0}` is not a namespace (up to 63 of a-z, 0-9 and `-`)")]
    Namespace(String),
    /// Not a name of a Kubernetes secret.
    #[error("`{0}` is not a name for a secret (up to 63 of a-z, 0-9, `-` and `.`)")]
    PullSecret(String),
    /// A chart version that no command line should show.
    #[error("`{version}` is not a version of chart {chart}")]
    Version {
        /// The chart.
        chart: String,
        /// The version, clipped and escaped.
        version: String,
    },
    /// Two charts are to be the same release in the same namespace.
    #[error("two charts are release `{release}` in namespace `{namespace}`")]
    SameRelease {
        /// The release.
        release: String,
        /// The namespace.
        namespace: String,
    },
    /// `relocate.set` names a place that cannot be set.
    #[error("chart {chart}: cannot set `{path}`: {reason}")]
    Set {
        /// The chart.
        chart: String,
        /// The path as it was written, clipped and escaped.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The place of a certificate on the nodes is no absolute path.
    #[error("`{0}` is not an absolute path of a certificate on the nodes")]
    CaFile(String),
    /// Two files would have one path.
    #[error("two files of the hand-off would be `{0}`")]
    SamePath(String),
}

impl HandoffError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Release(_) | Self::SameRelease { .. } => {
                "give the chart another `release` in bundle.yaml, and create the bundle again"
            }
            Self::Namespace(_) => "correct `namespace` in bundle.yaml, and create the bundle again",
            Self::PullSecret(_) => "choose another name with --pull-secret",
            Self::Set { .. } => {
                "paths in `relocate.set` are written as for `helm --set`: a.b, a.list[0].c, a.dotted\\.key"
            }
            Self::CaFile(_) => "for example /etc/ssl/certs/registry-ca.crt",
            Self::Version { .. } | Self::SamePath(_) => return None,
        };
        Some(hint.to_owned())
    }
}
