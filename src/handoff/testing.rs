//! Inputs for tests.

use serde_json::Value;

use super::{BundleName, Destination, Input, Layout, MovedChart, MovedImage};
use crate::oci::{Algorithm, Digest, Hasher, Repository};

pub(crate) fn digest(text: &str) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(text.as_bytes());
    hasher.finish()
}

pub(crate) fn place(text: &str) -> Repository {
    let (host, path) = text.split_once('/').unwrap();
    Repository::new(host, path).unwrap()
}

/// Images, each as `SOURCE DESTINATION`.
pub(crate) fn images(pairs: &[(&str, &str)]) -> Vec<MovedImage> {
    let image = |(source, destination): &(&str, &str)| {
        let source: crate::oci::Reference = source.parse().unwrap();
        MovedImage {
            tag: source.tag().map(str::to_owned),
            digest: digest(&source.repository().to_string()),
            source,
            destination: place(destination),
            platforms: vec!["linux/amd64".to_owned(), "linux/arm64/v8".to_owned()],
        }
    };
    pairs.iter().map(image).collect()
}

pub(crate) fn chart(name: &str, values: Value) -> MovedChart {
    MovedChart {
        name: name.to_owned(),
        version: "1.2.3+b1".to_owned(),
        destination: place(&format!("r.local:5000/charts/{name}")),
        digest: digest(name),
        values,
        user_values: Vec::new(),
        release: name.to_owned(),
        namespace: format!("{name}-system"),
        kube_version: None,
        set: Vec::new(),
    }
}

pub(crate) const TO: Destination<'static> = Destination {
    host: "r.local:5000",
    prefix: "",
    plain_http: false,
    ca_file: None,
};

pub(crate) fn input<'a>(images: &'a [MovedImage], charts: &'a [MovedChart]) -> Input<'a> {
    Input {
        bundle: BundleName {
            name: "demo",
            version: "1.0",
            root: digest("root"),
        },
        to: TO,
        layout: Layout::Strip,
        has_map_rules: false,
        images,
        kept: &[],
        charts,
        pull_secret: super::DEFAULT_PULL_SECRET,
        certificate: None,
    }
}
