//! References with gaps that a chart fills: `cc-operator:{chart.version|replace:+:-g}`.

use super::names::clip;
use crate::oci::Reference;

/// A reference with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Gap {
        fact: Fact,
        /// What is replaced by what, in order.
        replace: Vec<(String, String)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Name,
    Version,
    AppVersion,
}

/// What a chart says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ChartFacts<'a> {
    /// `name` of its Chart.yaml.
    pub name: &'a str,
    /// `version` of its Chart.yaml, as it is written.
    pub version: &'a str,
    /// `appVersion` of its Chart.yaml.
    pub app_version: Option<&'a str>,
}

impl ImageTemplate {
    /// Parses a text with gaps `{chart.name}`, `{chart.version}`, `{chart.appVersion}`, each with
    /// any number of `|replace:FROM:TO` behind it. Neither FROM nor TO holds `:`, `|` or `}`.
    ///
    /// # Errors
    /// When a gap is none of these, or the text is no reference whatever fills the gaps.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            parts.push(Part::Text(before.to_owned()));
            let (gap, behind) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{}` has a `{{` without a `}}`", clip(text)))?;
            parts.push(parse_gap(gap)?);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self {
            text: text.to_owned(),
            parts,
        };
        // What is wrong apart from the gaps shows with any chart.
        template.fill(&ChartFacts {
            name: "name",
            version: "1.2.3",
            app_version: Some("1.2.3"),
        })?;
        Ok(template)
    }

    /// Whether a text has gaps at all.
    pub fn has_gaps(text: &str) -> bool {
        text.contains('{')
    }

    /// Fills the gaps.
    ///
    /// # Errors
    /// When the chart does not say what is asked for, or the result is no reference.
    pub fn fill(&self, chart: &ChartFacts<'_>) -> Result<Reference, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Gap { fact, replace } => {
                    let value = match fact {
                        Fact::Name => chart.name,
                        Fact::Version => chart.version,
                        Fact::AppVersion => chart.app_version.ok_or_else(|| {
                            format!("{}: the chart {} has no appVersion", self.text, chart.name)
                        })?,
                    };
                    let replaced = replace.iter().fold(value.to_owned(), |value, (from, to)| {
                        value.replace(from, to)
                    });
                    filled.push_str(&replaced);
                }
            }
        }
        filled.parse().map_err(|error| match filled == self.text {
            true => format!("{error}"),
            false => format!("{}: {error}", clip(&self.text)),
        })
    }

    /// The text as it was written.
    pub fn as_written(&self) -> &str {
        &self.text
    }
}

fn parse_gap(gap: &str) -> Result<Part, String> {
    let mut words = gap.split('|');
    let fact = match words.next() {
        Some("chart.name") => Fact::Name,
        Some("chart.version") => Fact::Version,
        Some("chart.appVersion") => Fact::AppVersion,
        _ => {
            return Err(format!(
                "`{{{}}}` is not known: there are {{chart.name}}, {{chart.version}} and {{chart.appVersion}}",
                clip(gap)
            ));
        }
    };
    let replace = words.map(|filter| {
        let arguments = filter.strip_prefix("replace:");
        let found = arguments.and_then(|arguments| arguments.split_once(':'));
        match found {
            Some((from, to)) if !from.is_empty() && !to.contains(':') => {
                Ok((from.to_owned(), to.to_owned()))
            }
            _ => Err(format!(
                "`|{}` is not known: there is |replace:FROM:TO",
                clip(filter)
            )),
        }
    });
    Ok(Part::Gap {
        fact,
        replace: replace.collect::<Result<_, String>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: ChartFacts<'_> = ChartFacts {
        name: "calico-cloud",
        version: "v3.16.1+0",
        app_version: None,
    };

    #[test]
    fn gaps_are_filled_with_what_the_chart_says() {
        for (text, filled) in [
            (
                "us-docker.pkg.dev/a/cc-operator:{chart.version|replace:+:-g}",
                "us-docker.pkg.dev/a/cc-operator:v3.16.1-g0",
            ),
            (
                "quay.io/a/{chart.name}:{chart.version|replace:v:|replace:+0:}",
                "quay.io/a/calico-cloud:3.16.1",
            ),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
        ] {
            let template = ImageTemplate::parse(text).unwrap();
            assert_eq!(template.fill(&CHART).unwrap().to_string(), filled);
            assert_eq!(template.as_written(), text);
        }
        let wanted = ImageTemplate::parse("a.b/c:{chart.appVersion}").unwrap();
        assert!(
            wanted
                .fill(&CHART)
                .unwrap_err()
                .contains("has no appVersion")
        );
        let plus = ImageTemplate::parse("a.b/c:{chart.version}").unwrap();
        assert!(plus.fill(&CHART).is_err(), "a tag has no plus sign");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "a:{chart.version",
            "a:{version}",
            "a:{chart.version|lower}",
            "a:{chart.version|replace:+}",
            "a:{chart.version|replace::x}",
            "a:{chart.version|replace:a:b:c}",
            "A:{chart.version}",
            "",
        ] {
            assert!(ImageTemplate::parse(text).is_err(), "{text}");
        }
    }
}
