//! The user's own values, and the names of releases.

use std::collections::{BTreeMap, BTreeSet};

use super::{HandoffError, Input, MovedChart, quote};
use crate::bundle::{is_dns_name, is_namespace, is_release_name};

/// Longest name of a values file, in bytes.
const MAX_FILE_NAME: usize = 100;

/// A chart with the names that its files have in the hand-off.
#[derive(Debug)]
pub(super) struct Release<'a> {
    pub chart: &'a MovedChart,
    /// The name of the release, with the namespace where that alone is not unique.
    pub label: String,
    /// The paths of the user's values files.
    pub values: Vec<String>,
}

impl Release<'_> {
    /// The path of the overlay.
    pub(super) fn overlay_path(&self) -> String {
        format!("values-{}.yaml", self.label)
    }
}

/// Checks every name that ends up in a path or on a command line, and gives each chart its files.
pub(super) fn releases<'a>(input: &Input<'a>) -> Result<Vec<Release<'a>>, HandoffError> {
    if !is_dns_name(input.pull_secret) {
        return Err(HandoffError::PullSecret(quote::shown(input.pull_secret)));
    }
    if let Some(file) = input.to.ca_file
        && (!file.starts_with('/') || file.chars().any(quote::is_invisible))
    {
        return Err(HandoffError::CaFile(quote::shown(file)));
    }
    let mut seen = BTreeSet::new();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for chart in input.charts {
        check(chart)?;
        if !seen.insert((&chart.release, &chart.namespace)) {
            return Err(HandoffError::SameRelease {
                release: chart.release.clone(),
                namespace: chart.namespace.clone(),
            });
        }
        *uses.entry(&chart.release).or_default() += 1;
    }
    let releases = input.charts.iter().map(|chart| {
        // A namespace has no dot, so this cannot be the name of another release in use.
        let label = match uses.get(chart.release.as_str()) {
            Some(1) => chart.release.clone(),
            _ => format!("{}_{}", chart.namespace, chart.release),
        };
        Release {
            chart,
            values: values_files(&label, &chart.user_values),
            label,
        }
    });
    Ok(releases.collect())
}

fn check(chart: &MovedChart) -> Result<(), HandoffError> {
    if !is_release_name(&chart.release) {
        return Err(HandoffError::Release(quote::shown(&chart.release)));
    }
    if !is_namespace(&chart.namespace) {
        return Err(HandoffError::Namespace(quote::shown(&chart.namespace)));
    }
    let of_version = |c: char| c.is_ascii_alphanumeric() || ".+-_".contains(c);
    let is_version = chart
        .version
        .starts_with(|c: char| c.is_ascii_alphanumeric())
        && chart.version.len() <= 256
        && chart.version.chars().all(of_version);
    if !is_version {
        return Err(HandoffError::Version {
            chart: quote::shown(&chart.name),
            version: quote::shown(&chart.version),
        });
    }
    Ok(())
}

/// Values files under their own names. Where that is not possible, for names that are not unique
/// or that Helm would split at a comma, with a number in front and safe characters.
fn values_files(label: &str, files: &[(String, Vec<u8>)]) -> Vec<String> {
    let names: Vec<String> = files.iter().map(|(name, _)| safe_name(name)).collect();
    // Not all file systems tell upper from lower case.
    let different: BTreeSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let unique = different.len() == names.len();
    let files = names.into_iter().enumerate().map(|(number, name)| {
        let name = match unique {
            true => name,
            false => format!("{:02}-{name}", number + 1),
        };
        format!("values/{label}/{name}")
    });
    files.collect()
}

fn safe_name(name: &str) -> String {
    let safe = |c: char| {
        let keep = c.is_ascii_alphanumeric() || "._-".contains(c);
        if keep { c } else { '_' }
    };
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = last.chars().take(MAX_FILE_NAME).map(safe).collect();
    match safe.trim_start_matches(['.', '-']) {
        "" => "values.yaml".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_files_keep_their_names_where_they_can() {
        let paths = |names: &[&str]| -> Vec<String> {
            let files: Vec<_> = names.iter().map(|n| ((*n).to_owned(), vec![])).collect();
            values_files("r", &files)
        };
        assert_eq!(paths(&["values.yaml"]), ["values/r/values.yaml"]);
        assert_eq!(
            paths(&["a/values.yaml", "b/Values.yaml"]),
            ["values/r/01-values.yaml", "values/r/02-Values.yaml"]
        );
        assert_eq!(
            paths(&["..", "a,b=$(id).yaml", "../../etc/x\n"]),
            [
                "values/r/values.yaml",
                "values/r/a_b___id_.yaml",
                "values/r/x_"
            ]
        );
    }
}
