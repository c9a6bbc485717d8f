use super::*;
use crate::helm::chart::testing::{chart_yaml, tgz};

#[test]
fn a_chart_is_the_artifact_that_helm_makes() {
    let archive = tgz(&[(
        "demo/Chart.yaml",
        &chart_yaml(
            "demo",
            "description: a <b>\nhome: https://example.com\nsources: [s, t]\nmaintainers: [{name: A}, {email: b@c}]\n\
             annotations: {org.opencontainers.image.title: other, org.opencontainers.image.url: mine, x: '&'}\n",
        ),
    )]);
    let chart = Chart::read(&archive).unwrap();
    let artifact = Artifact::new(&chart, &archive, None).unwrap();
    let content = artifact.content.digest.to_string();
    let config = artifact.config_descriptor.digest.to_string();
    let (size, config_size) = (archive.len(), artifact.config.len());
    assert_eq!(
        String::from_utf8(artifact.manifest.clone()).unwrap(),
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"{content}","size":{size}}}],"annotations":{{"org.opencontainers.image.authors":"A,  (b@c)","org.opencontainers.image.description":"a \u003cb\u003e","org.opencontainers.image.source":"s","org.opencontainers.image.title":"demo","org.opencontainers.image.url":"mine","org.opencontainers.image.version":"1.2.3","x":"\u0026"}}}}"#
        )
    );
    assert_eq!(
        artifact.descriptor.media_type,
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(artifact.descriptor.size, artifact.manifest.len() as u64);
}

#[test]
fn layers_are_sorted_by_digest_whichever_comes_first() {
    let archive = tgz(&[("demo/Chart.yaml", &chart_yaml("demo", ""))]);
    let chart = Chart::read(&archive).unwrap();
    let mut orders = [false; 2];
    for provenance in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let artifact = Artifact::new(&chart, &archive, Some(provenance.as_bytes())).unwrap();
        let manifest = String::from_utf8(artifact.manifest).unwrap();
        let position = |text: &str| manifest.find(text).unwrap();
        let content = artifact.content.digest.to_string();
        let other = artifact.provenance.unwrap().digest.to_string();
        assert_eq!(position(&content) < position(&other), content < other);
        orders[usize::from(content < other)] = true;
    }
    assert_eq!(orders, [true, true], "both orders are met");
}

#[test]
fn metadata_that_no_registry_would_take_is_refused() {
    let large = format!("annotations: {{x: {}}}\n", "y".repeat(3 << 20));
    let archive = tgz(&[("demo/Chart.yaml", &chart_yaml("demo", &large))]);
    Artifact::new(&Chart::read(&archive).unwrap(), &archive, None).unwrap();
    let large = format!("annotations: {{x: {}}}\n", "y".repeat((4 << 20) + 1));
    let archive = tgz(&[("demo/Chart.yaml", &chart_yaml("demo", &large))]);
    let error = Artifact::new(&Chart::read(&archive).unwrap(), &archive, None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the configuration of the chart's OCI artifact has")
    );
}

#[test]
fn configuration_and_annotations_are_byte_for_byte_those_of_helm() {
    let chart_yaml = include_bytes!("../golden/Chart.yaml");
    let archive = tgz(&[("demo/Chart.yaml", chart_yaml)]);
    let artifact = Artifact::new(&Chart::read(&archive).unwrap(), &archive, None).unwrap();
    let config = String::from_utf8(artifact.config).unwrap();
    assert_eq!(config, include_str!("../golden/config.json"));
    let manifest = String::from_utf8(artifact.manifest).unwrap();
    let (_, annotations) = manifest.split_once("\"annotations\":").unwrap();
    assert_eq!(
        annotations,
        concat!(include_str!("../golden/annotations.json"), "}")
    );
}
