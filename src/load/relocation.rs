//! From the name that an image had to the name that it gets.

use std::{fmt, str::FromStr};

use crate::{
    handoff,
    oci::{Reference, ReferenceError, Repository},
};

/// Which part of the source's name is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathLayout {
    /// The whole path without the host: `quay.io/tigera/cni` becomes `tigera/cni`.
    #[default]
    Strip,
    /// Host and path: `quay.io/tigera/cni` becomes `quay.io/tigera/cni`.
    Host,
    /// The last two parts of the name as it was written: `alpine` stays `alpine`.
    Last2,
    /// The last part of the name.
    Flat,
}

impl From<PathLayout> for handoff::Layout {
    fn from(layout: PathLayout) -> Self {
        match layout {
            PathLayout::Strip => Self::Strip,
            PathLayout::Host => Self::Host,
            PathLayout::Last2 => Self::Last2,
            PathLayout::Flat => Self::Flat,
        }
    }
}

/// A place for images: a registry, and a path in it that precedes all names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    prefix: String,
}

/// Replaces the start of a name: `quay.io/tigera=calico`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRule {
    from: String,
    to: String,
}

/// How names are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where everything goes.
    pub to: Place,
    /// What is kept of a name that no rule matches.
    pub layout: PathLayout,
    /// Rules, of which the one with the longest left side wins.
    pub rules: Vec<MapRule>,
    /// The path that all charts go to; may be empty.
    pub charts_path: String,
}

/// A text that is not a destination or a rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RelocationError {
    /// Not `HOST[:PORT][/PREFIX]`.
    #[error("`{0}` is not a destination: expected HOST[:PORT][/PREFIX]")]
    Place(String),
    /// Not `FROM=TO`.
    #[error(
        "`{0}` is not a mapping: expected SOURCE-PREFIX=DESTINATION-PATH, for example quay.io/tigera=calico"
    )]
    Rule(String),
    /// The name that results is none.
    #[error("{from} cannot be renamed: {error}")]
    Name {
        /// The image.
        from: String,
        /// What is wrong with the result.
        error: ReferenceError,
    },
}

impl Place {
    /// `HOST[:PORT]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path that precedes all names; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.prefix.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.prefix)
        }
    }
}

impl FromStr for Place {
    type Err = RelocationError;

    fn from_str(text: &str) -> Result<Self, RelocationError> {
        let wrong = || RelocationError::Place(text.chars().take(120).collect());
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let (host, prefix) = trimmed.split_once('/').unwrap_or((trimmed, ""));
        // The checks are those of a repository below it.
        let path = if prefix.is_empty() {
            "x".to_owned()
        } else {
            format!("{prefix}/x")
        };
        let checked = Repository::new(host, &path).map_err(|_| wrong())?;
        Ok(Self {
            host: checked.host().to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl FromStr for MapRule {
    type Err = RelocationError;

    fn from_str(text: &str) -> Result<Self, RelocationError> {
        let wrong = || RelocationError::Rule(text.chars().take(120).collect());
        let (from, to) = text.split_once('=').ok_or_else(wrong)?;
        let (from, to) = (from.trim_end_matches('/'), to.trim_matches('/'));
        let (host, path) = from.split_once('/').unwrap_or((from, "x"));
        let checked = Repository::new(host, path).map_err(|_| wrong())?;
        if !to.is_empty() {
            Repository::new("x", to).map_err(|_| wrong())?;
        }
        let from = from.replacen(host, checked.host(), 1);
        Ok(Self {
            from,
            to: to.to_owned(),
        })
    }
}

impl MapRule {
    /// What is left of `name` behind the rule's left side, if it matches whole path parts.
    fn rest<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_prefix(&self.from)?;
        match rest.strip_prefix('/') {
            Some(rest) => Some(rest),
            None => rest.is_empty().then_some(""),
        }
    }
}

impl Relocation {
    /// The destination of an image; its tag stays what it is.
    ///
    /// # Errors
    /// When the resulting name is not of the grammar.
    pub fn destination(&self, source: &Reference) -> Result<Repository, RelocationError> {
        let failed = |error| RelocationError::Name {
            from: source.to_string(),
            error,
        };
        let name = source.repository().to_string();
        let longest = self
            .rules
            .iter()
            .filter_map(|rule| Some((rule, rule.rest(&name)?)))
            .max_by_key(|(rule, _)| rule.from.len());
        let path = match longest {
            Some((rule, rest)) => join(&rule.to, rest),
            None => self.kept_part(source),
        };
        Repository::new(&self.to.host, &join(&self.to.prefix, &path)).map_err(failed)
    }

    /// The destination of a chart: its name in the path for charts. Helm finds a chart only where
    /// the last part of the path is its name, so that is never another.
    ///
    /// # Errors
    /// When the resulting name is not of the grammar.
    pub fn chart_destination(&self, source: &Reference) -> Result<Repository, RelocationError> {
        let path = source.repository().path();
        let name = path.rsplit('/').next().unwrap_or(path);
        let path = join(&self.to.prefix, &join(&self.charts_path, name));
        Repository::new(&self.to.host, &path).map_err(|error| RelocationError::Name {
            from: source.to_string(),
            error,
        })
    }

    fn kept_part(&self, source: &Reference) -> String {
        let repository = source.repository();
        let path = repository.path();
        let last = |count: usize, path: &str| {
            let parts: Vec<&str> = path.split('/').collect();
            parts[parts.len().saturating_sub(count)..].join("/")
        };
        match self.layout {
            PathLayout::Strip => path.to_owned(),
            // A port's colon cannot stand in a path.
            PathLayout::Host => join(&repository.host().replace(['[', ']', ':'], "-"), path),
            PathLayout::Last2 => last(2, &written_path(source)),
            PathLayout::Flat => last(1, path),
        }
    }
}

/// The path as the user wrote it: without what normalising has added.
fn written_path(source: &Reference) -> String {
    let path = source.repository().path();
    match path.strip_prefix("library/") {
        Some(short) if !source.as_written().contains("library/") => short.to_owned(),
        _ => path.to_owned(),
    }
}

fn join(first: &str, second: &str) -> String {
    match (first, second) {
        ("", other) | (other, "") => other.to_owned(),
        (first, second) => format!("{first}/{second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(to: &str, layout: PathLayout, rules: &[&str], source: &str) -> String {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let relocation = Relocation {
            to: to.parse().unwrap(),
            layout,
            rules,
            charts_path: "charts".to_owned(),
        };
        relocation
            .destination(&source.parse().unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn each_layout_keeps_its_part() {
        for (layout, source, path) in [
            (PathLayout::Strip, "quay.io/tigera/cni:v1", "tigera/cni"),
            (PathLayout::Strip, "alpine:3", "library/alpine"),
            (
                PathLayout::Host,
                "quay.io/tigera/cni:v1",
                "quay.io/tigera/cni",
            ),
            (PathLayout::Host, "localhost:5000/a:1", "localhost-5000/a"),
            (
                PathLayout::Last2,
                "us-docker.pkg.dev/a/b/c/cc-operator:1",
                "c/cc-operator",
            ),
            (PathLayout::Last2, "alpine:3.12.1", "alpine"),
            (
                PathLayout::Last2,
                "docker.io/library/alpine:3.12.1",
                "library/alpine",
            ),
            (PathLayout::Flat, "quay.io/tigera/cni:v1", "cni"),
        ] {
            assert_eq!(
                moved("r.local:5000", layout, &[], source),
                format!("r.local:5000/{path}")
            );
            assert_eq!(
                moved("r.local/a/b/", layout, &[], source),
                format!("r.local/a/b/{path}")
            );
        }
    }

    #[test]
    fn the_longest_rule_wins_and_matches_whole_parts() {
        let rules = [
            "quay.io=other",
            "quay.io/tigera=calico",
            "quay.io/tigera/cni=special/cni",
        ];
        for (source, path) in [
            ("quay.io/tigera/typha:1", "calico/typha"),
            ("quay.io/tigera/cni:1", "special/cni"),
            ("quay.io/tigerabc/x:1", "other/tigerabc/x"),
            ("docker.io/library/alpine", "library/alpine"),
        ] {
            let name = moved("r.local", PathLayout::Strip, &rules, source);
            assert_eq!(name, format!("r.local/{path}"));
        }
    }

    #[test]
    fn wrong_places_and_rules_are_refused() {
        for text in [
            "",
            "/a",
            "r.local/../x",
            "r.local//x",
            "r.local/A",
            "http://r.local",
            "r:0",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "a",
            "=b",
            "quay.io=../x",
            "quay.io/A=b",
            "quay.io=A",
            "a=b c",
            "a=b=c",
        ] {
            assert!(text.parse::<MapRule>().is_err(), "{text:?}");
        }
        let rule: MapRule = "Quay.io/=/hub/".parse().unwrap();
        assert_eq!((rule.from.as_str(), rule.to.as_str()), ("quay.io", "hub"));
    }
}
