//! Charts, releases and plain files of a forged bundle.

use bytes::Bytes;
use sneakernet::{
    bundle::{
        Discover, Entry, EntryKind, FILES_TYPE, LockedChart, LockedFile, Origin, RELEASE_TYPE,
        Release, artifact_descriptor, files_artifact,
    },
    oci::{Descriptor, Digest, media_type},
};

use super::{Forge, descriptor, push_once};

/// The archive of [`Forge::honest_chart`].
pub const ARCHIVE: &[u8] = b"this is said to be an archive";
/// The configuration of its chart.
pub const CHART_CONFIG: &[u8] = br#"{"apiVersion":"v2","name":"shop","version":"1.0.0"}"#;
/// The values file of its release.
pub const VALUES: &[u8] = b"replicas: 3\n";
/// The reference of its chart.
const SHOP: &str = "localhost/shop:1.0.0";

/// The JSON of a chart's manifest with these layers, each with its media type.
pub fn chart_manifest(config_type: &str, layers: &[(&str, &[u8])]) -> String {
    let layers = layers.iter();
    let layers: Vec<_> = layers
        .map(|(kind, layer)| descriptor(kind, layer))
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media_type::OCI_MANIFEST,
        descriptor(config_type, CHART_CONFIG),
        layers.join(",")
    )
}

/// A release of the chart of [`Forge::honest_chart`] with values files of these names and contents.
pub fn release(name: &str, values: &[(&str, &[u8])]) -> Release {
    let values = values.iter().map(|(name, content)| named(name, content));
    Release {
        api_versions: vec![],
        chart: SHOP.to_owned(),
        discover: Discover::Render,
        kube_version: None,
        name: name.to_owned(),
        namespace: "market".to_owned(),
        relocate: vec![],
        values: values.collect(),
    }
}

fn named(name: &str, content: &[u8]) -> LockedFile {
    LockedFile {
        digest: Digest::sha256_of(content),
        name: name.to_owned(),
        size: content.len() as u64,
    }
}

impl Forge {
    /// A bundle of one chart and two releases of it, one of them with a values file.
    pub fn honest_chart() -> Self {
        let manifest = chart_manifest(
            media_type::HELM_CONFIG,
            &[(media_type::HELM_CONTENT, ARCHIVE)],
        );
        Self::default()
            .chart(SHOP, &manifest, ARCHIVE, &[CHART_CONFIG, ARCHIVE])
            .release(release("one", &[("values.yaml", VALUES)]), &[VALUES])
            .release(release("two", &[]), &[])
    }

    /// Adds a chart: its manifest, the archive that the lock names, and its blobs.
    pub fn chart(
        mut self,
        reference: &str,
        manifest: &str,
        archive: &[u8],
        blobs: &[&[u8]],
    ) -> Self {
        let (rest, version) = reference.rsplit_once(':').expect("a tag");
        let name = rest.rsplit('/').next().expect("a path");
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, manifest.as_bytes());
        let sizes = blobs.iter().map(|blob| blob.len() as u64);
        self.charts.push(LockedChart {
            app_version: None,
            archive: named(&format!("{name}-{version}.tgz"), archive),
            content_size: sizes.sum::<u64>() + descriptor.size,
            dependencies: vec![],
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            name: name.to_owned(),
            provenance: None,
            reference: reference.to_owned(),
            requested_by: vec![Origin::Argument],
            size: descriptor.size,
            source: format!("./{name}"),
            source_digest: None,
            version: version.to_owned(),
        });
        self.entries.push(Entry {
            kind: EntryKind::Chart,
            reference: Some(reference.parse().expect("a reference")),
            descriptor,
        });
        push_once(&mut self.documents, manifest.as_bytes());
        for blob in blobs {
            push_once(&mut self.blobs, blob);
        }
        self
    }

    /// Adds a release of a chart that was added before, with the contents of its values files.
    pub fn release(self, release: Release, values: &[&[u8]]) -> Self {
        self.odd_release(release, values, |_| ())
    }

    /// The same with another manifest than the lock makes of it.
    pub fn odd_release(
        self,
        release: Release,
        values: &[&[u8]],
        edit: impl FnOnce(&mut String),
    ) -> Self {
        let charts = self.charts.iter().zip(&self.entries);
        let mut charts = charts.filter(|(chart, _)| chart.reference == release.chart);
        let known = charts.next().map(|(_, entry)| entry.descriptor.clone());
        let subject = known.unwrap_or_else(|| Descriptor::of(media_type::OCI_MANIFEST, b"gone"));
        let artifact = release.artifact(&subject).expect("an artifact");
        let mut manifest = String::from_utf8(artifact.manifest).expect("JSON");
        edit(&mut manifest);
        let layers = std::iter::once(Bytes::from(artifact.document));
        let values = values.iter().map(|content| Bytes::copy_from_slice(content));
        let layers = layers.chain(values).collect();
        self.own_entry(EntryKind::Release, RELEASE_TYPE, manifest, layers)
            .with_release(release)
    }

    fn with_release(mut self, release: Release) -> Self {
        self.releases.push(release);
        self
    }

    /// Adds plain files, with another manifest than the lock makes of them.
    pub fn odd_files(mut self, files: &[(&str, &[u8])], edit: impl FnOnce(&mut String)) -> Self {
        let listed = files.iter().map(|(name, content)| named(name, content));
        self.files = listed.collect();
        let (_, manifest) = files_artifact(&self.files).expect("an artifact");
        let mut manifest = String::from_utf8(manifest).expect("JSON");
        edit(&mut manifest);
        let layers = files.iter();
        let layers = layers.map(|(_, content)| Bytes::copy_from_slice(content));
        self.own_entry(EntryKind::Files, FILES_TYPE, manifest, layers.collect())
    }

    fn own_entry(
        mut self,
        kind: EntryKind,
        artifact_type: &str,
        manifest: String,
        layers: Vec<Bytes>,
    ) -> Self {
        let entry = Entry {
            kind,
            reference: None,
            descriptor: artifact_descriptor(artifact_type, manifest.as_bytes()),
        };
        self.own.push((entry, Bytes::from(manifest), layers));
        self
    }

    /// Files, then releases by digest, behind everything that has a reference.
    pub(super) fn place_own(&mut self) {
        let mut own = std::mem::take(&mut self.own);
        own.sort_by_key(|(entry, ..)| (entry.kind, entry.descriptor.digest.to_string()));
        for (entry, manifest, layers) in own {
            self.entries.push(entry);
            self.documents.push(manifest);
            self.blobs.extend(layers);
        }
    }
}
