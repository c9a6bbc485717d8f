//! Charts as Helm pushes them, in a registry in memory.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    oci::media_type,
    registry::{
        ClientConfig, CredentialConfig,
        test_registry::TestRegistry,
        test_server::{Reply, TestServer},
    },
};

/// What a chart is made of in a registry.
pub(in crate::helm) struct TestChart {
    pub(in crate::helm) config: Vec<u8>,
    pub(in crate::helm) archive: Vec<u8>,
    pub(in crate::helm) layers: Vec<(&'static str, Vec<u8>)>,
}

impl TestChart {
    pub(in crate::helm) fn new(name: &str, version: &str) -> Self {
        let archive = [b"\x1f\x8b", name.as_bytes(), version.as_bytes()].concat();
        Self {
            config: json!({"name": name, "version": version, "apiVersion": "v2"})
                .to_string()
                .into_bytes(),
            layers: vec![
                (media_type::HELM_PROVENANCE, b"provenance".to_vec()),
                (media_type::HELM_CONTENT, archive.clone()),
            ],
            archive,
        }
    }

    /// The manifest as Helm writes it: without a media type of its own.
    fn manifest(&self, config_type: &str) -> Vec<u8> {
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "size": bytes.len(), "digest": Digest::sha256_of(bytes).to_string()});
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|(t, bytes)| descriptor(t, bytes))
            .collect();
        let config = descriptor(config_type, &self.config);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        format!("{manifest:#}\n").into_bytes()
    }

    pub(in crate::helm) fn push(&self, registry: &TestRegistry, path: &str, tag: &str) -> Digest {
        self.push_as(media_type::HELM_CONFIG, registry, path, tag)
    }

    fn push_as(&self, config_type: &str, registry: &TestRegistry, path: &str, tag: &str) -> Digest {
        registry.add_blob(path, &self.config);
        for (_, bytes) in &self.layers {
            registry.add_blob(path, bytes);
        }
        let manifest = self.manifest(config_type);
        let digest = registry.add_manifest(path, tag, media_type::OCI_MANIFEST, manifest);
        digest.parse().unwrap()
    }
}

pub(in crate::helm) async fn registry() -> (TestRegistry, TestServer) {
    let registry = TestRegistry::new();
    let content = registry.clone();
    let server = TestServer::start(move |request| content.answer(request)).await;
    (registry, server)
}

fn client() -> Client {
    Client::new(ClientConfig {
        backoff: Duration::from_millis(2),
        stall_timeout: Duration::from_millis(500),
        retries: 2,
        credentials: CredentialConfig::anonymous(),
        ..ClientConfig::default()
    })
    .unwrap()
}

async fn get(
    server: &TestServer,
    rest: &str,
    version: Option<&str>,
) -> Result<FetchedChart, SourceError> {
    let reference = format!("oci://{}/charts/demo{rest}", server.host()).parse()?;
    fetch(&client(), &reference, version).await
}

#[test]
fn references_are_read_and_written() {
    let digest = Digest::sha256_of(b"");
    for (text, host, path, name, version, pinned) in [
        (
            "oci://r.example/charts/demo",
            "r.example",
            "charts/demo",
            "demo",
            None,
            None,
        ),
        (
            "oci://r:5000/demo:1.2.3+b.7",
            "r:5000",
            "demo",
            "demo",
            Some("1.2.3+b.7"),
            None,
        ),
        (
            "oci://registry/a/b/demo",
            "registry",
            "a/b/demo",
            "demo",
            None,
            None,
        ),
        (
            &format!("oci://r.example/demo:v1@{digest}"),
            "r.example",
            "demo",
            "demo",
            Some("v1"),
            Some(digest),
        ),
        (
            &format!("oci://r.example/demo@{digest}"),
            "r.example",
            "demo",
            "demo",
            None,
            Some(digest),
        ),
    ] {
        let reference: ChartReference = text.parse().unwrap();
        assert_eq!(reference.repository().host(), host);
        assert_eq!(reference.repository().path(), path);
        assert_eq!(reference.name(), name);
        assert_eq!(reference.version(), version);
        assert_eq!(reference.digest(), pinned);
        assert_eq!(reference.is_exact(), version.is_some() || pinned.is_some());
        assert_eq!(reference.to_string(), text);
    }
    let hub: ChartReference = "oci://registry-1.docker.io/charts/demo/".parse().unwrap();
    assert_eq!(hub.to_string(), "oci://docker.io/charts/demo");
    for text in [
        "",
        "r.example/demo",
        "oci://",
        "oci://r.example",
        "oci://r.example/",
        "oci://r.example/Demo",
        "oci://r.example/demo:",
        "oci://r.example/demo:1 2",
        "oci://r.example/demo@sha256:12",
        "oci://u@r.example/demo",
        "oci:///demo",
    ] {
        let error = text.parse::<ChartReference>().unwrap_err();
        assert!(matches!(error, SourceError::Address { .. }), "{text}");
        assert!(error.hint().unwrap().contains("oci://"));
    }
    assert_eq!(version_of(&tag_of("v3.32.0+build.7")), "v3.32.0+build.7");
}

#[tokio::test]
async fn a_chart_comes_byte_for_byte() {
    let (content, server) = registry().await;
    let chart = TestChart::new("demo", "1.2.3+b.7");
    let digest = chart.push(&content, "charts/demo", "1.2.3_b.7");
    let by_digest = format!("@{digest}");
    for (rest, version) in [
        (":1.2.3+b.7", None),
        ("", Some("1.2.3+b.7")),
        ("", Some("~1.2")),
        ("", None),
        ("", Some("")),
        (&by_digest, None),
        (&by_digest, Some("1.2.3+b.7")),
        (&format!(":1.2.3+b.7{by_digest}"), None),
    ] {
        let fetched = get(&server, rest, version).await.unwrap();
        assert_eq!(fetched.name, "demo");
        assert_eq!(fetched.version, "1.2.3+b.7");
        assert_eq!(fetched.archive, chart.archive);
        assert_eq!(fetched.provenance.unwrap(), "provenance");
        assert_eq!(fetched.index_digest, IndexDigest::NoIndex);
        let artifact = fetched.artifact.unwrap();
        assert_eq!(
            artifact.manifest.bytes,
            chart.manifest(media_type::HELM_CONFIG)
        );
        assert_eq!(artifact.manifest.media_type, media_type::OCI_MANIFEST);
        assert_eq!(artifact.manifest.digest, digest);
        assert_eq!(artifact.reference.digest(), Some(digest));
        let tag = (rest != by_digest).then_some("1.2.3_b.7");
        assert_eq!(artifact.reference.tag(), tag);
        let sent: Vec<&[u8]> = artifact.blobs.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(sent, [&chart.config[..], b"provenance", &chart.archive]);
        for (descriptor, bytes) in &artifact.blobs {
            assert_eq!(descriptor.digest, Digest::sha256_of(bytes));
        }
    }
}

#[tokio::test]
async fn versions_are_chosen_among_tags() {
    let (content, server) = registry().await;
    for version in ["1.2.3", "1.10.0", "2.0.0-rc.1", "v3.0.0"] {
        TestChart::new("demo", version).push(&content, "charts/demo", version);
    }
    for tag in ["latest", "20240101", "1.99", "sha256-abc.sig"] {
        TestChart::new("demo", "0.0.1").push(&content, "charts/demo", tag);
    }
    for (wanted, version) in [
        (None, "1.10.0"),
        (Some("1"), "1.10.0"),
        (Some(">=1-0"), "2.0.0-rc.1"),
        (Some("~1.2"), "1.2.3"),
        (Some("^3"), "v3.0.0"),
        (Some("3.0.0"), "v3.0.0"),
        (Some("v1.2.3"), "1.2.3"),
    ] {
        let chart = get(&server, "", wanted).await.unwrap();
        assert_eq!(chart.version, version, "{wanted:?}");
    }
    assert!(!server.lines().iter().any(|line| line.contains("20240101")));
    let exact = server.log().len();
    get(&server, "", Some("1.2.3")).await.unwrap();
    assert!(
        !server.lines()[exact..]
            .iter()
            .any(|line| line.contains("tags/list"))
    );
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is() {
    let (content, server) = registry().await;
    let digest = TestChart::new("demo", "1.2.3").push(&content, "charts/demo", "1.2.3");
    let failed = get(&server, "", Some("1.2.4")).await.unwrap_err();
    let place = format!("oci://{}/charts", server.host());
    assert_eq!(
        failed.to_string(),
        format!("chart `demo` in {place} has no version `1.2.4`")
    );
    assert_eq!(failed.hint().unwrap(), "there are: 1.2.3");
    let failed = get(&server, ":9.9.9", None).await.unwrap_err();
    assert!(
        matches!(failed, SourceError::UnknownVersion { .. }),
        "{failed}"
    );
    let failed = get(&server, "", Some("newest")).await.unwrap_err();
    assert!(matches!(failed, SourceError::Version { .. }), "{failed}");
    let failed = get(&server, ":1.2.3", Some("1.2.4")).await.unwrap_err();
    assert!(matches!(failed, SourceError::Address { .. }), "{failed}");
    let failed = get(&server, &format!(":1.2.4@{digest}"), None)
        .await
        .unwrap_err();
    assert_eq!(failed.hint().unwrap(), "there are: 1.2.3");
    let absent = format!("@{}", Digest::sha256_of(b"absent"));
    let failed = get(&server, &absent, None).await.unwrap_err();
    assert!(
        failed.to_string().contains("has no version `sha256:"),
        "{failed}"
    );
    TestChart::new("demo", "1.0.0-rc").push(&content, "charts/rc", "1.0.0-rc");
    let reference = format!("{place}/rc").parse().unwrap();
    let failed = fetch(&client(), &reference, None).await.unwrap_err();
    assert_eq!(failed.hint().unwrap(), "name a pre-release: 1.0.0-rc");

    let server = TestServer::start(|request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => Reply::new(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    })
    .await;
    let failed = get(&server, "", None).await.unwrap_err();
    assert!(
        matches!(failed, SourceError::UnknownChart { .. }),
        "{failed}"
    );
}

#[tokio::test]
async fn what_is_no_chart_is_refused_before_its_layers_are_fetched() {
    let (content, server) = registry().await;
    let chart = || TestChart::new("demo", "1.2.3");
    let image = chart();
    image.push_as(media_type::OCI_CONFIG, &content, "charts/demo", "1.0.0");
    let mut twice = chart();
    twice
        .layers
        .push((media_type::HELM_CONTENT_LEGACY, b"\x1f\x8b2".to_vec()));
    twice.push(&content, "charts/demo", "1.0.1");
    let mut none = chart();
    none.layers.truncate(1);
    none.push(&content, "charts/demo", "1.0.2");
    let mut proven_twice = chart();
    proven_twice
        .layers
        .push((media_type::HELM_PROVENANCE, b"other".to_vec()));
    proven_twice.push(&content, "charts/demo", "1.0.3");
    let mut nameless = chart();
    nameless.config = b"{}".to_vec();
    nameless.push(&content, "charts/demo", "1.0.4");
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    content.add_manifest("charts/demo", "1.0.5", media_type::OCI_INDEX, index);
    let huge = String::from_utf8(chart().manifest(media_type::HELM_CONFIG)).unwrap();
    let size = format!("\"size\": {}", chart().archive.len());
    let huge = huge.replace(&size, "\"size\": 67108865");
    content.add_manifest("charts/demo", "1.0.6", media_type::OCI_MANIFEST, huge);
    let mut zip = chart();
    zip.layers[1].1 = b"PK".to_vec();
    zip.push(&content, "charts/demo", "1.0.7");
    for (version, words) in [
        ("1.0.0", "of type `application/vnd.oci.image.config"),
        ("1.0.1", "exactly one archive"),
        ("1.0.2", "exactly one archive"),
        ("1.0.3", "more than one provenance"),
        ("1.0.4", "its configuration: missing field `name`"),
        ("1.0.5", "an index"),
        ("1.0.6", "67108865 bytes"),
        ("1.0.7", "no gzip file"),
    ] {
        let before = server.log().len();
        let failed = get(&server, "", Some(version)).await.unwrap_err();
        assert!(failed.to_string().contains(words), "{version}: {failed}");
        assert!(failed.hint().is_some());
        if ["1.0.0", "1.0.5", "1.0.6"].contains(&version) {
            let blobs = |line: &String| line.contains("/blobs/");
            assert!(!server.lines()[before..].iter().any(blobs), "{version}");
        }
    }
    let mut legacy = chart();
    legacy.layers = vec![(media_type::HELM_CONTENT_LEGACY, legacy.archive.clone())];
    legacy.push(&content, "charts/demo", "1.1.0");
    let fetched = get(&server, "", Some("1.1.0")).await.unwrap();
    assert_eq!(
        (fetched.archive, fetched.provenance),
        (chart().archive.into(), None)
    );
}

#[tokio::test]
async fn content_that_never_has_its_digest_is_refused() {
    let content = TestRegistry::new();
    let chart = TestChart::new("demo", "1.2.3");
    chart.push(&content, "charts/demo", "1.2.3");
    let damaged = Digest::sha256_of(&chart.archive);
    let length = chart.archive.len();
    let server = TestServer::start(
        move |request| match request.path().ends_with(&damaged.hex()) {
            true => Reply::new(200).body(vec![0; length]),
            false => content.answer(request),
        },
    )
    .await;
    let failed = get(&server, ":1.2.3", None).await.unwrap_err();
    assert!(
        matches!(failed, SourceError::Damaged { digest, .. } if digest == damaged),
        "{failed}"
    );
}
