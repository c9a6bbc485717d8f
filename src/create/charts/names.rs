//! What charts are called in a bundle, and whether a version is the one that is wanted.

use url::Url;

use super::ChartFault;
use crate::{
    helm::{
        chart::Chart,
        version::{Constraint, Version},
    },
    oci::{Reference, Repository},
};

/// The host in the references of charts that come from no host.
const NO_HOST: &str = "localhost";

/// The place of a chart of a classic repository as a registry's: a name to know it by, where
/// nothing can be pulled.
pub(super) fn repository_of(url: &Url, name: &str) -> Result<Repository, ChartFault> {
    let host = url.host_str().unwrap_or(NO_HOST);
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        // A bare word would be read as a path of Docker Hub.
        None if !host.contains('.') && host != NO_HOST => {
            format!("{host}:{}", url.port_or_known_default().unwrap_or(443))
        }
        None => host.to_owned(),
    };
    let kept = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '/') => c,
        _ => '-',
    };
    let path: String = url.path().chars().map(kept).collect();
    let parts = path.split('/').map(|part| part.trim_matches('-'));
    let mut parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.push(name);
    Repository::new(&host, &parts.join("/"))
        .map_err(|error| ChartFault::Name(format!("{name}: {error}")))
}

pub(super) fn local_reference(chart: &Chart) -> Result<Reference, ChartFault> {
    let name = &chart.metadata.name;
    let repository = Repository::new(NO_HOST, name)
        .map_err(|error| ChartFault::Name(format!("{name}: {error}")))?;
    reference_of(&repository, chart)
}

pub(super) fn reference_of(
    repository: &Repository,
    chart: &Chart,
) -> Result<Reference, ChartFault> {
    let text = format!("{repository}:{}", chart.metadata.tag());
    text.parse()
        .map_err(|error| ChartFault::Name(format!("{text}: {error}")))
}

pub(super) fn check_version(chart: &Chart, wanted: Option<&str>) -> Result<(), ChartFault> {
    let found = &chart.metadata.version;
    match wanted {
        Some(wanted)
            if !version_fits(Some(wanted), found)
                && wanted.replace('+', "_") != chart.metadata.tag() =>
        {
            Err(ChartFault::Version {
                wanted: wanted.to_owned(),
                found: found.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Whether a version is the one that is wanted, or one of those.
pub(super) fn version_fits(wanted: Option<&str>, version: &str) -> bool {
    let Some(wanted) = wanted else { return true };
    if wanted == version {
        return true;
    }
    match (wanted.parse::<Constraint>(), version.parse::<Version>()) {
        (Ok(wanted), Ok(version)) => wanted.matches(&version),
        _ => false,
    }
}
