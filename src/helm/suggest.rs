//! Images that a chart names outside of what it renders: in values of features that are off, in annotations, in
//! `Images.lock`. They are shown beside the plan, and taken only when asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::discover::{clip, in_values};
use crate::oci::Reference;

/// Annotations of a `Chart.yaml` that list images: Artifact Hub's, Bitnami's, and that of Hauler and Zarf. Each is
/// a YAML list of objects with the key `image`.
pub const ANNOTATIONS: [&str; 3] = ["artifacthub.io/images", "images", "helm.sh/images"];

/// A chart, or one of its sub-charts.
#[derive(Clone, Copy, Debug)]
pub struct ChartSource<'c> {
    /// Where its files lie in the archive: empty for the chart itself, `charts/redis/` for a sub-chart.
    pub folder: &'c str,
    /// The parsed `values.yaml`.
    pub values: &'c Value,
    /// The `annotations` of its `Chart.yaml`.
    pub annotations: &'c BTreeMap<String, String>,
    /// The text of its `Images.lock`.
    pub images_lock: Option<&'c str>,
}

/// An image that the installation may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The image.
    pub reference: Reference,
    /// Where it is named, for example `values.yaml metrics.image.repository` or
    /// `charts/redis/Chart.yaml annotation images`; at least one, sorted.
    pub from: Vec<String>,
}

/// What may be needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestions {
    /// Sorted by reference, each once.
    pub images: Vec<Suggestion>,
    /// Lists of images that could not be read, with the reason.
    pub unreadable: Vec<String>,
}

/// Collects what the charts name but `already` does not hold.
pub fn suggestions(charts: &[ChartSource<'_>], already: &BTreeSet<Reference>) -> Suggestions {
    let mut images: BTreeMap<Reference, BTreeSet<String>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for chart in charts {
        for found in in_values(chart.values) {
            let fields = found.places.iter().map(|place| &place.field);
            images
                .entry(found.reference)
                .or_default()
                .extend(fields.map(|field| format!("{}values.yaml {field}", chart.folder)));
        }
        let listed = ANNOTATIONS
            .iter()
            .filter_map(|name| {
                let text = chart.annotations.get(*name)?;
                let from = format!("{}Chart.yaml annotation {name}", chart.folder);
                Some((from, list(text)))
            })
            .chain(chart.images_lock.map(|text| {
                let from = format!("{}Images.lock", chart.folder);
                (from, lock(text))
            }));
        for (from, items) in listed {
            let items = items.unwrap_or_else(|reason| {
                unreadable.push(format!("{from}: {reason}"));
                Vec::new()
            });
            // One that is no image does not take the others along.
            for item in items {
                match item.image.trim().parse() {
                    Ok(reference) => {
                        images.entry(reference).or_default().insert(from.clone());
                    }
                    Err(error) => unreadable.push(format!("{from}: {}", clip(&error.to_string()))),
                }
            }
        }
    }
    Suggestions {
        images: images
            .into_iter()
            .filter(|(reference, _)| !already.contains(reference))
            .map(|(reference, from)| Suggestion {
                reference,
                from: from.into_iter().collect(),
            })
            .collect(),
        unreadable,
    }
}

/// An item of a list of images; whatever else it holds is for other tools.
#[derive(Deserialize)]
struct Item {
    image: String,
}

/// Bitnami's `Images.lock`.
#[derive(Deserialize)]
struct ImagesLock {
    #[serde(default)]
    images: Vec<Item>,
}

fn list(text: &str) -> Result<Vec<Item>, String> {
    parse::<Option<Vec<Item>>>(text).map(Option::unwrap_or_default)
}

fn lock(text: &str) -> Result<Vec<Item>, String> {
    parse::<ImagesLock>(text).map(|lock| lock.images)
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let options = serde_saphyr::options! { emit_comments: false, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| clip(&error.without_snippet().to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn lines(suggestions: &Suggestions) -> Vec<String> {
        let line = |s: &Suggestion| format!("{} <- {}", s.reference, s.from.join(", "));
        suggestions.images.iter().map(line).collect()
    }

    #[test]
    fn everything_that_a_chart_names_is_suggested_once() {
        let values = json!({
            "image": {"registry": "quay.io", "repository": "a/b", "tag": "v1", "pullPolicy": "Always"},
            "metrics": {"enabled": false, "image": "quay.io/a/metrics:v2"},
            "service": {"port": "web:80"},
        });
        let sub = json!({"sidecar": {"image": {"repository": "quay.io/a/side", "tag": "1.0"}}});
        let of_chart = annotations(&[
            (
                "artifacthub.io/images",
                "- name: b\n  image: quay.io/a/b:v1\n- name: x\n  image: a/x:1\n  platforms: [linux/amd64]\n",
            ),
            ("images", "- image: quay.io/a/metrics:v2\n  name: metrics\n"),
            ("licenses", "Apache-2.0"),
        ]);
        let lock = "apiVersion: v0\nkind: ImagesLock\nimages:\n- name: l\n  image: a/l:1\n  digests: [{digest: 'sha256:00', arch: linux/amd64}]\n";
        let none = annotations(&[]);
        let charts = [
            ChartSource {
                folder: "",
                values: &values,
                annotations: &of_chart,
                images_lock: Some(lock),
            },
            ChartSource {
                folder: "charts/s/",
                values: &sub,
                annotations: &none,
                images_lock: None,
            },
        ];
        let already = BTreeSet::from(["a/x:1".parse().unwrap()]);
        let found = suggestions(&charts, &already);
        assert_eq!(
            lines(&found),
            [
                "docker.io/a/l:1 <- Images.lock",
                "quay.io/a/b:v1 <- Chart.yaml annotation artifacthub.io/images, values.yaml image.repository",
                "quay.io/a/metrics:v2 <- Chart.yaml annotation images, values.yaml metrics.image",
                "quay.io/a/side:1.0 <- charts/s/values.yaml sidecar.image.repository",
            ]
        );
        assert_eq!(found.unreadable, Vec::<String>::new());
    }

    #[test]
    fn a_list_that_cannot_be_read_is_said() {
        let of_chart = annotations(&[
            ("images", "not a list"),
            ("helm.sh/images", "- image: Not An Image\n"),
            ("artifacthub.io/images", ""),
        ]);
        let chart = ChartSource {
            folder: "",
            values: &Value::Null,
            annotations: &of_chart,
            images_lock: Some("images: 7"),
        };
        let found = suggestions(&[chart], &BTreeSet::new());
        assert_eq!(found.images, []);
        assert_eq!(found.unreadable.len(), 3, "{:?}", found.unreadable);
        for (line, start) in found.unreadable.iter().zip([
            "Chart.yaml annotation images: ",
            "Chart.yaml annotation helm.sh/images: `Not An Image`",
            "Images.lock: ",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
    }

    #[test]
    fn one_that_is_no_image_does_not_take_the_others_along() {
        let annotations =
            annotations(&[("images", "- image: a/b:1\n- image: 'A B'\n- image: c/d:2\n")]);
        let source = ChartSource {
            folder: "",
            values: &Value::Null,
            annotations: &annotations,
            images_lock: None,
        };
        let found = suggestions(&[source], &BTreeSet::new());
        assert_eq!(found.images.len(), 2);
        assert_eq!(found.unreadable.len(), 1, "{:?}", found.unreadable);
    }
}
