//! Which of the versions of a chart is meant.

use crate::{
    helm::{
        source::{SourceError, clip},
        version::{Constraint, Version, VersionError, newest},
    },
    request::nearest_few,
};

/// Versions among which those with a similar spelling are looked for.
const MAX_COMPARED: usize = 2_000;
/// Versions that a message proposes.
const PROPOSED: usize = 3;

/// Why none is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::helm) enum NoChoice {
    /// What was asked for is neither a version nor a constraint.
    Wanted(VersionError),
    /// None fits; these may have been meant.
    None(Vec<String>),
}

impl NoChoice {
    pub(in crate::helm) fn into_error(
        self,
        name: &str,
        place: &str,
        wanted: Option<&str>,
    ) -> SourceError {
        let (name, place) = (clip(name), place.to_owned());
        match (self, wanted.filter(|wanted| !wanted.is_empty())) {
            (Self::Wanted(source), _) => SourceError::Version { name, source },
            (Self::None(near), Some(wanted)) => SourceError::UnknownVersion {
                place,
                name,
                wanted: clip(wanted),
                near,
            },
            (Self::None(near), None) => SourceError::NoStableVersion { place, name, near },
        }
    }
}

/// The place of the version that is meant, as Helm chooses it: one that is spelled exactly so, or
/// else the newest that the constraint accepts. Without any wish, the newest stable one. Texts that
/// are no versions are chosen only by their exact spelling.
pub(in crate::helm) fn choose(texts: &[&str], wanted: Option<&str>) -> Result<usize, NoChoice> {
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    if let Some(exact) = wanted.and_then(|wanted| texts.iter().position(|text| *text == wanted)) {
        return Ok(exact);
    }
    let constraint = wanted
        .map(str::parse::<Constraint>)
        .transpose()
        .map_err(NoChoice::Wanted)?;
    let versions: Vec<Version> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    newest(versions.iter(), constraint.as_ref())
        .and_then(|chosen| texts.iter().position(|text| *text == chosen.as_str()))
        .ok_or_else(|| NoChoice::None(near(&versions, wanted)))
}

/// What is spelled like the version that is wanted, or else the newest.
fn near(versions: &[Version], wanted: Option<&str>) -> Vec<String> {
    let mut newest_first: Vec<&Version> = versions.iter().collect();
    newest_first.sort_by(|a, b| b.cmp(a));
    let texts: Vec<&str> = newest_first
        .iter()
        .take(MAX_COMPARED)
        .map(|version| version.as_str())
        .collect();
    let similar = match wanted {
        Some(wanted) => nearest_few(wanted, &texts, PROPOSED),
        None => Vec::new(),
    };
    let proposed = match similar.is_empty() {
        true => texts.into_iter().take(PROPOSED).collect(),
        false => similar,
    };
    proposed.into_iter().map(clip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 7] = [
        "1.2.0",
        "v1.10.0",
        "1.9.0+a",
        "2.0.0-rc.1",
        "nightly",
        "1.9.0+b",
        "0.1.000",
    ];

    fn chosen(wanted: Option<&str>) -> &'static str {
        TEXTS[choose(&TEXTS, wanted).unwrap()]
    }

    #[test]
    fn the_exact_spelling_wins_over_the_constraint() {
        assert_eq!(chosen(None), "v1.10.0");
        assert_eq!(chosen(Some("")), "v1.10.0");
        assert_eq!(chosen(Some("1.9.0+b")), "1.9.0+b");
        assert_eq!(chosen(Some("1.9.0")), "1.9.0+a");
        assert_eq!(chosen(Some("v1.2.0")), "1.2.0");
        assert_eq!(chosen(Some("nightly")), "nightly");
        assert_eq!(chosen(Some("2.0.0-rc.1")), "2.0.0-rc.1");
        assert_eq!(chosen(Some("~1.2")), "1.2.0");
        assert_eq!(chosen(Some(">0-0")), "2.0.0-rc.1");
        assert_eq!(chosen(Some("0.1.000")), "0.1.000");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let none = |wanted| choose(&TEXTS, wanted).unwrap_err();
        let versions =
            |list: &[&str]| NoChoice::None(list.iter().map(|v| (*v).to_owned()).collect());
        assert_eq!(none(Some("1.2.1")), versions(&["1.2.0"]));
        assert_eq!(
            none(Some(">=3.0.0, <4.0.0, !=3.1.0")),
            versions(&["2.0.0-rc.1", "v1.10.0", "1.9.0+a"])
        );
        assert!(matches!(none(Some("latest")), NoChoice::Wanted(_)));
        assert_eq!(
            choose(&["1.0.0-rc"], None).unwrap_err(),
            versions(&["1.0.0-rc"])
        );
        assert_eq!(choose(&[], None).unwrap_err(), versions(&[]));
    }
}
