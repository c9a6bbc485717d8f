//! `index.yaml`: what a classic repository holds (Helm documentation, "The Chart Repository Guide").
//!
//! Indexes reach tens of megabytes and hundreds of thousands of entries, of which one chart's are
//! wanted. The text is read once from front to back, and nothing else of it is built.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Location, MessageFormatter as _, UserMessageFormatter,
    options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy},
};

/// Names of other charts that are kept, to tell which one may have been meant.
const MAX_NAMES: usize = 20_000;
/// Longest name that is kept for that, in bytes.
const MAX_NAME: usize = 64;
/// Versions of one chart that are read.
const MAX_VERSIONS: usize = 100_000;
/// Longest text of an entry, in bytes. URLs with signatures are the longest.
const MAX_FIELD: usize = 8 << 10;
/// URLs of an entry that are read.
const MAX_URLS: usize = 16;

/// Scalars, lists and mappings that are read, all charts together. Real indexes have one for every
/// sixteen bytes.
const MAX_NODES: usize = 12_000_000;

/// One version of a chart. Fields that are not needed to fetch it are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it is written.
    pub(super) version: String,
    /// Where the archive is, absolute or relative to the repository.
    pub(super) urls: Vec<String>,
    /// SHA-256 of the archive, as it is written.
    pub(super) digest: Option<String>,
    /// Whether the publisher advises against it.
    pub(super) deprecated: bool,
}

/// What an index says about one chart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// The versions of the chart, in the order of the index; `None` when there is no such chart.
    pub(super) entries: Option<Vec<Entry>>,
    /// Names of the other charts, or of many of them.
    pub(super) others: Vec<String>,
}

/// Why a text is no index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// From one; zero when unknown.
    pub(super) line: u64,
    /// From one; zero when unknown.
    pub(super) column: u64,
    pub(super) detail: String,
}

/// Reads what an index, as YAML or JSON, says about the chart `wanted`.
pub(super) fn read(bytes: &[u8], wanted: &str) -> Result<Index, Unreadable> {
    let nowhere = |detail: &str| Unreadable {
        line: 0,
        column: 0,
        detail: detail.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| nowhere("it is not UTF-8 text"))?;
    match text.trim_start_matches('\u{feff}').trim_start().as_bytes() {
        [] => Err(nowhere("it is empty")),
        [b'<', ..] => Err(nowhere("it is a web page")),
        [b'{', ..] => match read_json(text, wanted) {
            Ok(index) => Ok(index),
            // A mapping in braces need not be JSON.
            Err(error) => read_yaml(text, wanted).map_err(|_| Unreadable {
                line: error.line() as u64,
                column: error.column() as u64,
                detail: crate::helm::source::clip(&error.to_string()),
            }),
        },
        _ => read_yaml(text, wanted),
    }
}

fn read_json(text: &str, wanted: &str) -> Result<Index, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let index = Root(wanted).deserialize(&mut reader)?;
    reader.end()?;
    Ok(index)
}

fn read_yaml(text: &str, wanted: &str) -> Result<Index, Unreadable> {
    let mut options = serde_saphyr::options! {
        // Keys are compared here, where they matter; the parser would remember all of them.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        emit_comments: false,
        with_snippet: false,
    };
    if let Some(budget) = &mut options.budget {
        // The limits on depth and on what aliases multiply stay.
        budget.max_events = 2 * MAX_NODES;
        budget.max_nodes = MAX_NODES;
        budget.max_total_scalar_bytes = usize::MAX;
    }
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        Root(wanted).deserialize(reader)
    })
    .map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let message = UserMessageFormatter.format_message(&error);
        Unreadable {
            line: at.line(),
            column: at.column(),
            detail: crate::helm::source::clip(message.trim_end_matches('.')),
        }
    })
}

/// The document: of its keys, only `entries` is read.
struct Root<'w>(&'w str);

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Index, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index of a chart repository")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "entries" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if index.is_some() {
                return Err(A::Error::duplicate_field("entries"));
            }
            index = Some(map.next_value_seed(Entries(self.0))?);
        }
        index.ok_or_else(|| A::Error::missing_field("entries"))
    }
}

/// Charts by name: of their versions, only those of one chart are read.
struct Entries<'w>(&'w str);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Index, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("charts by name")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Index, E> {
        Ok(Index::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = Index::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0 {
                if index.entries.is_some() {
                    return Err(A::Error::custom("the chart is listed twice"));
                }
                index.entries = Some(map.next_value::<Versions>()?.0);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            if name.len() <= MAX_NAME && index.others.len() < MAX_NAMES {
                index.others.push(name);
            }
        }
        Ok(index)
    }
}

/// The versions of a chart.
struct Versions(Vec<Entry>);

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(VersionsVisitor)
    }
}

struct VersionsVisitor;

impl<'de> Visitor<'de> for VersionsVisitor {
    type Value = Versions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of versions")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Versions, E> {
        Ok(Versions(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Versions, A::Error> {
        let mut entries = Vec::new();
        while let Some(raw) = list.next_element::<Option<RawEntry>>()? {
            // Helm passes over entries that are empty or have no version.
            let Some((raw, version)) = raw.and_then(|mut raw| raw.version.take().map(|v| (raw, v)))
            else {
                continue;
            };
            if entries.len() == MAX_VERSIONS {
                let message = format!("the chart has more than {MAX_VERSIONS} versions");
                return Err(A::Error::custom(message));
            }
            let entry = Entry {
                version,
                urls: raw.urls.unwrap_or_default(),
                digest: raw.digest.filter(|digest| !digest.is_empty()),
                deprecated: raw.deprecated.unwrap_or(false),
            };
            let texts = entry
                .urls
                .iter()
                .chain(&entry.digest)
                .chain([&entry.version]);
            if entry.urls.len() > MAX_URLS || texts.into_iter().any(|t| t.len() > MAX_FIELD) {
                return Err(A::Error::custom("an entry is too large to be one"));
            }
            entries.push(entry);
        }
        Ok(Versions(entries))
    }
}

#[derive(Deserialize)]
struct RawEntry {
    version: Option<String>,
    urls: Option<Vec<String>>,
    digest: Option<String>,
    deprecated: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"apiVersion: v1
entries:
  other:
  - name: other
    version: 9.9.9
    urls: [x]
  calico:
  - apiVersion: v2
    annotations: {a: "b", c: !custom d, e: .inf}
    appVersion: 1.10
    created: "2023-01-01T00:00:00.000000000Z"
    dependencies:
    - name: x
      repository: https://x
    description: |
      text: with
      - things
    digest: 1111111111111111111111111111111111111111111111111111111111111111
    name: calico
    urls:
    - https://example.com/calico-v3.1.0.tgz
    version: v3.1.0+build.7
  - version: 1.10
    urls: ["calico-1.10.tgz"]
    deprecated: true
  - null
  - name: no version
  - version: 0.1.000
    urls: ~
  empty: []
generated: "2023-01-01T00:00:00.000000000Z"
"#;

    fn entry(version: &str, urls: &[&str]) -> Entry {
        Entry {
            version: version.to_owned(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            digest: None,
            deprecated: false,
        }
    }

    fn expected() -> Vec<Entry> {
        vec![
            Entry {
                digest: Some("1".repeat(64)),
                ..entry("v3.1.0+build.7", &["https://example.com/calico-v3.1.0.tgz"])
            },
            Entry {
                deprecated: true,
                ..entry("1.10", &["calico-1.10.tgz"])
            },
            entry("0.1.000", &[]),
        ]
    }

    #[test]
    fn only_the_wanted_chart_is_read_and_its_texts_stay_as_they_are() {
        let index = read(YAML.as_bytes(), "calico").unwrap();
        assert_eq!(index.entries.unwrap(), expected());
        assert_eq!(index.others, ["other", "empty"]);
        let index = read(YAML.as_bytes(), "empty").unwrap();
        assert_eq!(index.entries.unwrap(), []);
        let index = read(YAML.as_bytes(), "absent").unwrap();
        assert_eq!(index.entries, None);
        assert_eq!(index.others.len(), 3);
    }

    #[test]
    fn an_index_may_be_json() {
        let json = r#"
            {"serverInfo":{},"entries":{"other":[{"version":"1","deep":[[{"a":1}]]}],
            "calico":[{"name":"calico","version":"v3.1.0+build.7","digest":"1111111111111111111111111111111111111111111111111111111111111111",
            "urls":["https://example.com/calico-v3.1.0.tgz"]},{"version":"1.10","urls":["calico-1.10.tgz"],
            "deprecated":true},null,{"name":"x"},{"version":"0.1.000"}]},"generated":"x"}"#;
        let index = read(json.as_bytes(), "calico").unwrap();
        assert_eq!(index.entries.unwrap(), expected());
        assert_eq!(index.others, ["other"]);
        let flow = "{entries: {calico: [{version: 1.2.3, urls: [a]}]}}";
        let index = read(flow.as_bytes(), "calico").unwrap();
        assert_eq!(index.entries.unwrap(), [entry("1.2.3", &["a"])]);
    }

    #[test]
    fn an_empty_repository_is_one() {
        for text in [
            "apiVersion: v1\nentries: {}\n",
            "entries:\n",
            r#"{"entries":null}"#,
        ] {
            assert_eq!(
                read(text.as_bytes(), "a").unwrap(),
                Index::default(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_index_is_refused_with_its_place() {
        for (text, line, words) in [
            ("", 0, "empty"),
            (" \n<!DOCTYPE html>", 0, "web page"),
            ("apiVersion: v1\n", 1, "entries"),
            ("apiVersion: v1\nentries: [1]\n", 2, "charts by name"),
            ("entries:\n  a: 1\n", 2, "list of versions"),
            ("entries:\n  a:\n  - version: [1]\n", 3, "string"),
            ("entries:\n  a: []\n  a: []\n", 2, "twice"),
            (
                "entries:\n  a:\n  - version: 1\n    version: 2\n",
                3,
                "version",
            ),
            ("entries: {}\nentries: {}\n", 0, "duplicate"),
            ("entries: {}\n---\nentries: {}\n", 3, "multiple"),
            ("entries:\n  a: [\n", 2, "bracket"),
            (r#"{"entries":{"a":[],"a":[]}}"#, 1, "twice"),
            ("{\"entries\":{},\n\"a\":]}", 2, "expected value"),
            ("entries: *absent\n", 1, ""),
        ] {
            let found = read(text.as_bytes(), "a").unwrap_err();
            assert_eq!(found.line, line, "{text:?}: {found:?}");
            assert!(
                found.detail.to_lowercase().contains(words),
                "{text:?}: {found:?}"
            );
        }
        assert!(read(b"entries: {}\n# \xff", "a").is_err());
    }

    #[test]
    fn what_multiplies_is_stopped() {
        let mut bomb = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
        for level in 1..12 {
            let below = format!("*x{}, ", level - 1).repeat(10);
            bomb.push_str(&format!(
                "x{level}: &x{level} [{}]\n",
                below.trim_end_matches(", ")
            ));
        }
        bomb.push_str("entries: {}\n");
        assert!(read(bomb.as_bytes(), "a").is_err());
        let deep = format!("entries:\n  b: {}{}\n", "[".repeat(5000), "]".repeat(5000));
        assert!(read(deep.as_bytes(), "a").is_err());
        let long = format!(
            "entries:\n  a:\n  - version: {}\n",
            "1".repeat(MAX_FIELD + 1)
        );
        assert!(read(long.as_bytes(), "a").is_err());
    }

    /// Some of the shape of a large public index.
    fn large(charts: usize, versions: usize) -> String {
        let mut text = String::from("apiVersion: v1\nentries:\n");
        for chart in 0..charts {
            text.push_str(&format!("  chart-{chart}:\n"));
            for version in 0..versions {
                text.push_str(&format!(
                    "  - annotations:\n      category: Database\n    apiVersion: v2\n    appVersion: {version}.0.1\n    \
                     created: \"2023-10-12T18:36:14.353684216Z\"\n    dependencies:\n    - name: common\n      \
                     repository: oci://registry.example/charts\n      tags:\n      - common\n      version: 2.x.x\n    \
                     description: A chart that is described in some words that say little.\n    digest: {:064x}\n    \
                     home: https://example.com\n    maintainers:\n    - name: Someone\n      url: https://example.com\n    \
                     name: chart-{chart}\n    urls:\n    - https://charts.example.com/chart-{chart}-{version}.0.1.tgz\n    \
                     version: {version}.0.1\n",
                    chart * versions + version
                ));
            }
        }
        text
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(
            text in "(entries:\\n  )?[ab:{}\\[\\]\"'&*!|>#,\\n -]{0,40}",
            wanted in "[ab]",
        ) {
            let _ = read(text.as_bytes(), &wanted);
        }
    }

    #[test]
    fn more_nodes_than_a_usual_budget_are_read() {
        let text = large(100, 200);
        let index = read(text.as_bytes(), "chart-99").unwrap();
        assert_eq!(index.entries.unwrap().len(), 200);
        assert_eq!(index.others.len(), 99);
    }
}
