//! Charts that a bundle is to hold, and the releases that they are for.

use std::path::PathBuf;

use url::Url;

use super::{ImageTemplate, Origin, names::clip};
use crate::{
    bundle::{Discover, Setting, is_namespace, is_release_name},
    helm::{oci::ChartReference, source::SourceError},
};

/// A chart, and the release that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedChart {
    /// Where it comes from.
    pub source: ChartSource,
    /// The version that is wanted: one, or a constraint as Helm takes it.
    pub version: Option<String>,
    /// The release's name; the chart's own where nothing is said.
    pub release: Option<String>,
    /// The namespace that it is installed into.
    pub namespace: String,
    /// The Kubernetes version that it is rendered for; Helm's own default where nothing is said.
    pub kube_version: Option<String>,
    /// API versions that the cluster has beside those of its Kubernetes version.
    pub api_versions: Vec<String>,
    /// Values files, in the order in which they apply.
    pub values: Vec<ValuesFile>,
    /// How its images are found.
    pub discover: Discover,
    /// Images that it needs and nothing shows.
    pub images: Vec<ChartImage>,
    /// Fields of the values that may hold what looks like a secret.
    pub allow_secrets: Vec<String>,
    /// Values that are set on the other side.
    pub relocate: Vec<Setting>,
    /// Whether the repository's credential is sent to wherever its index points.
    pub pass_credentials: bool,
    /// Whether an archive is taken that has not the digest that the repository's index says.
    pub allow_digest_mismatch: bool,
    /// Who asked for it.
    pub origin: Origin,
}

/// Where a chart comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChartSource {
    /// A classic repository: an `index.yaml` and archives.
    Repository {
        /// The repository's URL.
        url: Url,
        /// The chart's name in it.
        name: String,
    },
    /// An OCI registry.
    Registry(ChartReference),
    /// A directory or an archive on this machine.
    Path {
        /// Where it is.
        path: PathBuf,
        /// How the user named it.
        shown: String,
        /// The directory that it must not reach out of, where it comes from a `bundle.yaml`: that
        /// may be somebody else's.
        within: Option<PathBuf>,
    },
}

/// A values file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesFile {
    /// The name that it has in the bundle.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// An image that a chart needs and nothing shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartImage {
    /// The image.
    pub template: ImageTemplate,
    /// Who named it.
    pub origin: Origin,
}

impl ChartSource {
    /// What `chart`, `repo` and `name` say together; a path is what the caller makes of it.
    ///
    /// # Errors
    /// When it is no chart.
    pub(super) fn parse(
        chart: &str,
        repo: Option<&str>,
        path: impl FnOnce(&str) -> Result<(PathBuf, Option<PathBuf>), String>,
    ) -> Result<(Self, Option<String>), String> {
        if let Some(repo) = repo {
            if repo.starts_with("oci://") {
                return Self::registry(&format!("{}/{chart}", repo.trim_end_matches('/')));
            }
            let url: Url = repo
                .parse()
                .map_err(|_| format!("`{}` is not the URL of a chart repository", clip(repo)))?;
            if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
                return Err(format!(
                    "`{}` is not the URL of a chart repository: https://… or oci://…",
                    clip(repo)
                ));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(
                    "a repository's URL holds no credentials: bundle login HOST stores them".into(),
                );
            }
            if !is_chart_name(chart) {
                return Err(format!("`{}` is not the name of a chart", clip(chart)));
            }
            let name = chart.to_owned();
            return Ok((Self::Repository { url, name }, None));
        }
        if chart.starts_with("oci://") {
            return Self::registry(chart);
        }
        if chart.starts_with("https://") || chart.starts_with("http://") {
            return Err(format!(
                "`{}` is not a chart: name it, and give its repository with it",
                clip(chart)
            ));
        }
        let shown = chart.to_owned();
        let (path, within) = path(chart)?;
        let source = Self::Path {
            path,
            shown,
            within,
        };
        Ok((source, None))
    }

    /// A chart in a registry, and its version, if it is part of the name.
    fn registry(text: &str) -> Result<(Self, Option<String>), String> {
        let reference: ChartReference = text.parse().map_err(|e: SourceError| e.to_string())?;
        let version = reference.version().map(str::to_owned);
        Ok((Self::Registry(reference), version))
    }

    /// The chart as messages and the lock name it.
    pub fn shown(&self) -> String {
        match self {
            Self::Repository { url, name } => {
                format!("{}/{name}", url.as_str().trim_end_matches('/'))
            }
            Self::Registry(reference) => match reference.digest() {
                Some(digest) => format!("oci://{}@{digest}", reference.repository()),
                None => format!("oci://{}", reference.repository()),
            },
            Self::Path { shown, .. } => shown.clone(),
        }
    }

    /// The host that is asked for it (`HOST[:PORT]`), if any is.
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Repository { url, .. } => {
                let host = url.host_str()?;
                Some(match url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                })
            }
            Self::Registry(reference) => Some(reference.repository().host().to_owned()),
            Self::Path { .. } => None,
        }
    }
}

fn is_chart_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 250
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Checks the name of a release: RFC 1123 labels, with dots between, at most 53 bytes, as Helm has it.
///
/// # Errors
/// When it is not of that grammar.
pub fn check_release_name(name: &str) -> Result<(), String> {
    if is_release_name(name) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the name of a release: up to 53 lower-case letters, digits and `-`",
        clip(name)
    ))
}

/// Checks the name of a namespace (RFC 1123, "label").
///
/// # Errors
/// When it is not of that grammar.
pub fn check_namespace(name: &str) -> Result<(), String> {
    is_namespace(name).then_some(()).ok_or_else(|| {
        format!(
            "`{}` is not the name of a namespace: up to 63 lower-case letters, digits and `-`",
            clip(name)
        )
    })
}

/// Checks a Kubernetes version: `1.33`, `v1.33.2`, `1.33.2-gke.1`.
///
/// # Errors
/// When it is not of that form.
pub fn check_kube_version(version: &str) -> Result<(), String> {
    let bare = version.strip_prefix('v').unwrap_or(version);
    let (numbers, rest) = match bare.find(['-', '+']) {
        Some(at) => bare.split_at(at),
        None => (bare, ""),
    };
    let number =
        |part: &str| !part.is_empty() && part.len() < 8 && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = numbers.split('.').collect();
    let ok = matches!(parts.len(), 2 | 3)
        && parts.iter().all(|part| number(part))
        && rest.len() < 64
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b));
    ok.then_some(()).ok_or_else(|| {
        format!(
            "`{}` is not a Kubernetes version such as 1.33",
            clip(version)
        )
    })
}

/// Checks an API version as Helm takes it with `--api-versions`: `GROUP/VERSION[/KIND]`.
///
/// # Errors
/// When it is not of that form.
pub fn check_api_version(version: &str) -> Result<(), String> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
    };
    let parts: Vec<&str> = version.split('/').take(4).collect();
    let ok = version.len() <= 253 && parts.len() <= 3 && parts.iter().all(|p| part(p));
    // What starts like an option would be one.
    (ok && !version.starts_with('-'))
        .then_some(())
        .ok_or_else(|| {
            format!(
                "`{}` is not an API version: GROUP/VERSION or GROUP/VERSION/KIND",
                clip(version)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(chart: &str, repo: Option<&str>) -> Result<(ChartSource, Option<String>), String> {
        ChartSource::parse(chart, repo, |path| Ok((PathBuf::from(path), None)))
    }

    #[test]
    fn every_way_to_name_a_chart() {
        for (chart, repo, shown, host, version) in [
            (
                "calico-cloud",
                Some("https://installer.calicocloud.io/charts"),
                "https://installer.calicocloud.io/charts/calico-cloud",
                Some("installer.calicocloud.io"),
                None,
            ),
            (
                "c",
                Some("http://localhost:8080/"),
                "http://localhost:8080/c",
                Some("localhost:8080"),
                None,
            ),
            (
                "oci://ghcr.io/a/charts/c",
                None,
                "oci://ghcr.io/a/charts/c",
                Some("ghcr.io"),
                None,
            ),
            (
                "oci://ghcr.io:444/a/c:1.2.3+4",
                None,
                "oci://ghcr.io:444/a/c",
                Some("ghcr.io:444"),
                Some("1.2.3+4"),
            ),
            (
                "c",
                Some("oci://ghcr.io/a/charts/"),
                "oci://ghcr.io/a/charts/c",
                Some("ghcr.io"),
                None,
            ),
            ("./charts/mine", None, "./charts/mine", None, None),
            ("mine-1.0.tgz", None, "mine-1.0.tgz", None, None),
        ] {
            let (source, found) = parsed(chart, repo).unwrap();
            assert_eq!(source.shown(), shown);
            assert_eq!(source.host().as_deref(), host);
            assert_eq!(found.as_deref(), version);
        }
        let digest = format!("oci://ghcr.io/a/c@sha256:{}", "a".repeat(64));
        let (source, version) = parsed(&digest, None).unwrap();
        assert_eq!((source.shown(), version), (digest, None));
    }

    #[test]
    fn what_is_no_chart_is_refused() {
        for (chart, repo) in [
            ("c", Some("ftp://a.b/")),
            ("c", Some("a.b/charts")),
            ("c", Some("https://user:secret@a.b/")),
            ("../c", Some("https://a.b/")),
            ("", Some("https://a.b/")),
            ("https://a.b/c-1.tgz", None),
            ("oci://ghcr.io", None),
            ("oci://ghcr.io/A", None),
        ] {
            let error = parsed(chart, repo).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn names_and_versions() {
        for good in ["a", "calico-cloud", "a.b"] {
            assert!(check_release_name(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a/b", "--set", &"a".repeat(54)] {
            assert!(check_release_name(bad).is_err(), "{bad}");
            assert!(check_namespace(bad).is_err() || bad.len() == 54, "{bad}");
        }
        for good in ["1.33", "v1.33.2", "1.33.2-gke.100", "v1.30.0+k3s1"] {
            assert!(check_kube_version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.x", "1.2.3.4", "1.2 --x", "latest"] {
            assert!(check_kube_version(bad).is_err(), "{bad}");
        }
        for good in ["v1", "apps/v1", "monitoring.coreos.com/v1/ServiceMonitor"] {
            assert!(check_api_version(good).is_ok(), "{good}");
        }
        for bad in ["", "-f", "a//b", "a/b/c/d", "a b"] {
            assert!(check_api_version(bad).is_err(), "{bad}");
        }
    }
}
