//! Calico, Calico Enterprise and Calico Cloud: their operator makes pods that no chart names, and
//! takes the registry from its own settings.
//!
//! The operator puts a name together as `REGISTRY` `IMAGEPATH` `/` `IMAGEPREFIX` `IMAGE`, where the
//! registry ends with a slash, and an empty image path means each image's own (`calico/node`,
//! `tigera/cnx-node`). With an `ImageSet` it takes digests in place of tags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::oci::{Digest, Repository};

use super::{
    HandoffFile, Input, Layout, MovedChart, MovedImage,
    overlay::{Edits, Path, Request},
    text, yaml,
};

/// The owners of images whose names the operator knows.
const OWNERS: [&str; 2] = ["calico", "tigera"];
/// Images of these owners that are tools or installers and no components of the operator, which
/// refuses an `ImageSet` that names an image that it does not know.
const NOT_OF_THE_OPERATOR: [&str; 6] = [
    "calico/ctl",
    "tigera/calicoctl",
    "tigera/calicoq",
    "tigera/cc-core",
    "tigera/cc-operator",
    "tigera/installer",
];
/// The path that the chart of Calico Cloud gives its installer when a registry is set.
const CLOUD_INSTALLER: &str = "calico-cloud-public/cc-operator";

/// Where a chart is to be told that its images are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// `HOST[:PORT][/PATH]`, without a slash at the end.
    pub registry: String,
    /// The path in place of each image's own, or empty.
    pub image_path: String,
    /// What precedes the name of each image.
    pub image_prefix: String,
    /// Whether it follows from the images of the operator.
    of_operator: bool,
}

/// Which of Tigera's charts a chart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `tigera-operator` of Calico and Calico Enterprise.
    Operator,
    /// `calico-cloud`.
    Cloud,
}

/// Recognised by the keys of its values.
fn kind(chart: &MovedChart) -> Option<Kind> {
    let is_map = |key: &str| chart.values.get(key).is_some_and(Value::is_object);
    if is_map("installation") && is_map("tigeraOperator") {
        return Some(Kind::Operator);
    }
    let installer = chart.values.get("installer")?;
    let known = installer.get("registry").is_some() || chart.name == "calico-cloud";
    (installer.is_object() && known).then_some(Kind::Cloud)
}

/// The registry and image path for a chart: for Tigera's, what its operator has to be told; for
/// others, by the layout.
pub(super) fn place(request: &Request<'_>) -> Place {
    let of_operator = kind(request.chart).and_then(|kind| operator_place(kind, request.images));
    of_operator.unwrap_or_else(|| {
        let (registry, image_path) = match request.layout {
            Layout::Flat => (request.to.host.to_owned(), request.to.prefix.to_owned()),
            Layout::Strip | Layout::Host | Layout::Last2 => (request.to.place(), String::new()),
        };
        Place {
            registry,
            image_path,
            ..Place::default()
        }
    })
}

fn operator_place(kind: Kind, images: &[MovedImage]) -> Option<Place> {
    let known: Vec<(String, &Repository)> = images
        .iter()
        .filter_map(|image| Some((default_path(kind, image)?, &image.destination)))
        .collect();
    let base = |(path, place): &(String, &Repository)| {
        let name = place.to_string();
        Some(
            name.strip_suffix(path.as_str())?
                .strip_suffix('/')?
                .to_owned(),
        )
    };
    if let Some(registry) = common(&known, base) {
        return Some(Place {
            registry,
            of_operator: true,
            ..Place::default()
        });
    }
    // One path for all, as the operator's `imagePath` means it.
    let parts = |(path, place): &(String, &Repository)| {
        let image = path.rsplit('/').next()?;
        let (directory, name) = place.path().rsplit_once('/')?;
        let prefix = name.strip_suffix(image)?;
        Some((
            place.host().to_owned(),
            directory.to_owned(),
            prefix.to_owned(),
        ))
    };
    let (registry, image_path, image_prefix) = common(&known, parts)?;
    // The chart of Calico Cloud knows no prefix.
    if kind == Kind::Cloud && !image_prefix.is_empty() {
        return None;
    }
    Some(Place {
        registry,
        image_path,
        image_prefix,
        of_operator: true,
    })
}

/// `OWNER/IMAGE` as the operator knows it.
fn default_path(kind: Kind, image: &MovedImage) -> Option<String> {
    let path = image.source.repository().path();
    if kind == Kind::Cloud && path.rsplit('/').next() == Some("cc-operator") {
        return Some(CLOUD_INSTALLER.to_owned());
    }
    operator_path(image).map(str::to_owned)
}

fn operator_path(image: &MovedImage) -> Option<&str> {
    let path = image.source.repository().path();
    let (owner, name) = path.split_once('/')?;
    (OWNERS.contains(&owner) && !name.contains('/')).then_some(path)
}

fn common<T, U: PartialEq>(all: &[T], of: impl Fn(&T) -> Option<U>) -> Option<U> {
    let first = of(all.first()?)?;
    all.iter()
        .all(|one| of(one).as_ref() == Some(&first))
        .then_some(first)
}

/// Tells the operator where its images are.
pub(super) fn edit_values(
    request: &Request<'_>,
    place: &Place,
    edits: &mut Edits<'_>,
    notes: &mut Vec<String>,
) {
    let chart = request.chart;
    let Some(kind) = kind(chart) else { return };
    let is_known = |image: &MovedImage| default_path(kind, image).is_some();
    if !request.images.iter().any(is_known) {
        return;
    }
    let map = match kind {
        Kind::Operator => "installation",
        Kind::Cloud => "installer",
    };
    if !place.of_operator {
        notes.push(format!(
            "the operator's images were not moved to one registry and path, which is all that \
             `{map}.registry` and `{map}.imagePath` can say; load with `--layout last2`, or with \
             `--layout flat` and `--to HOST/PATH`"
        ));
        return;
    }
    let mut set = |keys: &[&str], to: Value| edits.put(Path::of(keys), to);
    set(
        &[map, "registry"],
        Value::from(format!("{}/", place.registry)),
    );
    for (key, to) in [
        ("imagePath", &place.image_path),
        ("imagePrefix", &place.image_prefix),
    ] {
        let there = Path::of(&[map, key]).find(&chart.values);
        if !to.is_empty()
            || there
                .and_then(Value::as_str)
                .is_some_and(|old| !old.is_empty())
        {
            set(&[map, key], Value::from(to.as_str()));
        }
    }
    match kind {
        Kind::Operator => {
            let keys = ["installation", "imagePullSecrets"];
            let mut secrets = match Path::of(&keys).find(&chart.values) {
                Some(Value::Array(secrets)) => secrets.clone(),
                _ => Vec::new(),
            };
            let ours = json!({"name": request.pull_secret});
            if !secrets.contains(&ours) {
                secrets.push(ours);
            }
            set(&keys, Value::Array(secrets));
        }
        Kind::Cloud => {
            let there = chart.values.get("imagePullSecrets");
            if there.is_none_or(|secrets| secrets.is_object() || secrets.is_null()) {
                set(
                    &["imagePullSecrets", "name"],
                    Value::from(request.pull_secret),
                );
            }
        }
    }
}

/// An `ImageSet`, if it could be made, and what there is to say about it.
pub(super) struct ImageSet {
    pub file: Option<HandoffFile>,
    pub notes: Vec<String>,
}

/// Whether a chart is one of Tigera's.
pub(super) fn is_tigera(chart: &MovedChart) -> bool {
    kind(chart).is_some()
}

/// The `ImageSet` with the digest of every image of the operator, for a chart of Tigera's or where
/// the operator is among the images.
pub(super) fn image_set(input: &Input<'_>, has_chart: bool) -> Option<ImageSet> {
    let is_operator = |image: &MovedImage| operator_path(image) == Some("tigera/operator");
    if !has_chart && !input.images.iter().any(is_operator) {
        return None;
    }
    let mut digests: BTreeMap<&str, (Digest, &str)> = BTreeMap::new();
    let mut notes = Vec::new();
    for image in input.images_there() {
        let Some(path) = operator_path(image).filter(|p| !NOT_OF_THE_OPERATOR.contains(p)) else {
            continue;
        };
        let tag = image.tag.as_deref().unwrap_or_default();
        match digests.insert(path, (image.digest, tag)) {
            Some((other, _)) if other != image.digest => {
                notes.push(format!(
                    "imageset.yaml was not written: `{path}` is there with more than one digest"
                ));
                return Some(ImageSet { file: None, notes });
            }
            _ => {}
        }
    }
    let (variant, release) = release(&digests)?;
    let images: Vec<Value> = digests
        .iter()
        .map(|(path, (digest, _))| json!({"image": path, "digest": digest.to_string()}))
        .collect();
    let name = format!("{variant}-{}", release.to_ascii_lowercase());
    if !crate::bundle::is_dns_name(&name) {
        notes.push(format!(
            "imageset.yaml was not written: {} is no name of a Kubernetes object",
            super::quote::code(&name)
        ));
        return Some(ImageSet { file: None, notes });
    }
    let object = json!({
        "apiVersion": "operator.tigera.io/v1",
        "kind": "ImageSet",
        "metadata": {"name": name},
        "spec": {"images": images},
    });
    let page = format!(
        "# Digests for the Tigera operator. It takes this set whole or not at all: the name must be\n\
         # `calico-` or `enterprise-` and the release that `operator --version` prints, and the\n\
         # images must be those of `operator --print-images=list`. Take out what it does not list.\n\
         {}",
        yaml::document(&object)
    );
    notes.push(
        "imageset.yaml is optional: compare it with `operator --print-images=list` before it is \
         applied, for the operator refuses a set with an image that it does not know"
            .to_owned(),
    );
    Some(ImageSet {
        file: Some(text("imageset.yaml".to_owned(), page)),
        notes,
    })
}

/// The product and its release: the tag that most components have.
fn release<'t>(digests: &BTreeMap<&'t str, (Digest, &'t str)>) -> Option<(&'static str, &'t str)> {
    let of_owner = |owner: &str| {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, (_, tag)) in digests {
            let is_component = !matches!(*path, "tigera/operator" | "tigera/key-cert-provisioner");
            if path.starts_with(owner) && is_component && tag.starts_with('v') {
                *votes.entry(tag).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(tag, count)| (*count, *tag))
    };
    match (of_owner("calico/"), of_owner("tigera/")) {
        (calico, Some((tag, count))) if calico.is_none_or(|(_, other)| count > other) => {
            Some(("enterprise", tag))
        }
        (Some((tag, _)), _) => Some(("calico", tag)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
