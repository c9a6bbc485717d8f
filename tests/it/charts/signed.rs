//! A chart in a registry crosses the gap byte for byte, with the signatures that belong to it.

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    helm::{ChartFiles, HelmCli},
    tools::{Home, require, run},
};

const PASSWORD: &str = "of the publisher";

/// Pushes with helm, signs with cosign, carries, and verifies with cosign.
fn carried(source: &str, destination: &str) {
    let publisher = HelmCli::new("helm4");
    let home = publisher.home();
    let chart = ChartFiles::new("signed", "1.2.3+4");
    let archive = home.path().join(chart.archive_name());
    std::fs::write(&archive, chart.archive()).unwrap();
    let to = format!("oci://{source}/charts");
    publisher
        .run(&["push", archive.to_str().unwrap(), &to, "--plain-http"])
        .success();
    let cosign = |arguments: &[&str]| {
        let mut cosign = home.tool("cosign");
        cosign.args(arguments).env("COSIGN_PASSWORD", PASSWORD);
        run(cosign)
    };
    cosign(&["generate-key-pair", "--output-key-prefix", "publisher"]).success();
    let mut digest = home.tool("crane");
    digest.args(["digest", "--insecure"]);
    digest.arg(format!("{source}/charts/signed:1.2.3_4"));
    let digest = run(digest).success().text().trim().to_owned();
    let signed = format!("{source}/charts/signed@{digest}");
    let sign = [
        "sign",
        "--yes",
        "--key",
        "publisher.key",
        "--allow-http-registry",
    ];
    let offline = ["--use-signing-config=false", "--tlog-upload=false", &signed];
    cosign(&[&sign[..], &offline[..]].concat()).success();

    home.run_bundle(["keygen", "--no-password"]).success();
    let chart = format!("oci://{source}/charts/signed");
    let create = ["create", "--chart", &chart, "--discover", "none"];
    let rest = ["--key", "cosign.key", "-o", "bundle"];
    home.run_bundle([&create[..], &rest[..]].concat()).success();
    let load = ["load", "bundle", "--key", "cosign.pub", "--to", destination];
    home.run_bundle(load).success();

    let arrived = format!("{destination}/charts/signed@{digest}");
    let verify = ["verify", "--key", "publisher.pub", "--allow-http-registry"];
    let verified = cosign(&[&verify[..], &["--insecure-ignore-tlog=true", &arrived]].concat());
    assert!(verified.success().text().contains(&digest));
}

#[test]
fn where_registries_keep_lists_of_what_refers_to_a_chart() {
    require!("helm4", "cosign", "crane");
    let (source, destination) = (Embedded::start(), Embedded::start());
    carried(&source.host(), &destination.host());
}

#[test]
fn q74_where_clients_keep_them_under_a_tag() {
    require!("helm4", "cosign", "crane", "docker-registry");
    let source = Registry::start(Options::default());
    let destination = Registry::start(Options::default());
    carried(source.host(), destination.host());
}

#[test]
fn q69_a_registry_that_does_not_say_what_belongs_to_a_chart_makes_no_bundle() {
    require!("helm4", "cosign", "crane");
    let source = Embedded::failing("GET:/referrers/:status=403");
    let home = Home::new();
    let publisher = HelmCli::new("helm4");
    let chart = ChartFiles::new("signed", "1.0.0");
    let archive = home.path().join(chart.archive_name());
    std::fs::write(&archive, chart.archive()).unwrap();
    let to = format!("oci://{}/charts", source.host());
    publisher
        .run(&["push", archive.to_str().unwrap(), &to, "--plain-http"])
        .success();
    let chart = format!("oci://{}/charts/signed", source.host());
    let create = [
        "create",
        "--chart",
        &chart,
        "--discover",
        "none",
        "--unsigned",
    ];
    let refused = home
        .run_bundle([&create[..], &["-o", "bundle"]].concat())
        .exits(5);
    assert!(refused.stderr.contains("signatures"), "{refused:?}");
    assert!(refused.stderr.contains("--no-referrers"), "{refused:?}");
    assert!(!home.path().join("bundle").exists());
}
