//! Real `helm` of both versions reads the loaded chart: pull, show and template, by tag and by digest,
//! over plain HTTP and over TLS with credentials.

use std::process::Command;

use crate::support::{
    distribution::{Options, Registry},
    helm::{HELMS, HelmCli},
    netns::NetNs,
    pki::TestCa,
    shop::{Shop, chart},
    tools::{Finished, require, run},
};

/// Reads the chart in every way; `finish` says how a command is run.
fn reads(
    helm: &'static str,
    place: &str,
    digest: &str,
    flags: &[&str],
    finish: &dyn Fn(&HelmCli, Command) -> Finished,
) {
    let cli = HelmCli::new(helm);
    let run = |arguments: &[&str]| {
        let mut command = cli.command();
        command.args(arguments).args(flags);
        finish(&cli, command).success().text()
    };
    let by_digest = format!("{place}@{digest}");
    let archive = chart().archive();
    // Pulled by digest, the file has the digest in its name.
    let pulled = || {
        let entries = std::fs::read_dir(cli.home().path()).unwrap();
        let mut files = entries.map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|kind| kind == "tgz"))
    };
    for (reference, version) in [
        (place, &["--version", "1.2.3+0"][..]),
        (place, &["--version", "^1"]),
        (place, &[]),
        (&by_digest, &[]),
    ] {
        run(&[&["pull", reference], version].concat());
        let file = pulled().expect("an archive");
        assert!(
            std::fs::read(&file).unwrap() == archive,
            "{helm}: {reference}"
        );
        std::fs::remove_file(&file).unwrap();
        let shown = run(&[&["show", "chart", reference], version].concat());
        assert!(
            shown.contains("version: 1.2.3+0"),
            "{helm}: {reference}: {shown}"
        );
        let rendered = run(&[&["template", "x", reference], version].concat());
        assert!(
            rendered.contains("registry.example.com/shop/web:1.0"),
            "{rendered}"
        );
    }
    let shown = run(&["show", "values", &by_digest]);
    assert!(
        shown.contains("sidecar: registry.example.com/shop/proxy:3"),
        "{shown}"
    );
}

fn bundled() -> (Shop, String) {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.create("shop.bundle", &["--chart", &archive]).success();
    let plan = shop.plan(&["--chart", &archive]);
    let digest = plan["charts"][0]["digest"].as_str().unwrap().to_owned();
    (shop, digest)
}

#[test]
fn over_plain_http() {
    require!("docker-registry", "helm3", "helm4");
    let (shop, digest) = bundled();
    let registry = Registry::start(Options::default());
    shop.load("shop.bundle", &format!("{}/a/b", registry.host()), &[])
        .success();
    let place = format!("oci://{}/a/b/charts/shop", registry.host());
    for helm in HELMS {
        reads(helm, &place, &digest, &["--plain-http"], &|_, command| {
            run(command)
        });
    }
}

#[test]
fn over_tls_with_an_authority_of_its_own_and_credentials() {
    require!("docker-registry", "htpasswd", "helm3", "helm4", "root");
    let (shop, digest) = bundled();
    let netns = NetNs::new();
    // Helm speaks plain HTTP to addresses of loopback, whatever it is told, but not to names.
    netns.hosts(&[("127.0.1.9", "registry.local")]);
    let ca = TestCa::new();
    let options = Options::default()
        .with_tls(&ca, &["registry.local"])
        .with_user("operator", "of the gap");
    let _registry = Registry::start(options.inside(&netns, "127.0.1.9:5000"));
    let logins = [("registry.local:5000", "operator", "of the gap")];
    shop.home.log_in(&logins);
    let ca_file = ca.write_to(shop.dir());
    let ca_file = ca_file.to_str().unwrap();
    let load = [
        "load",
        "shop.bundle",
        "--allow-unsigned",
        "--to",
        "registry.local:5000",
    ];
    let handoff = [
        "--handoff",
        "handoff",
        "--ca-file",
        ca_file,
        "--node-ca-file",
        ca_file,
    ];
    let command = shop.bundle(&[&load[..], &handoff].concat());
    run(netns.wrap(&command)).success();
    for helm in HELMS {
        let flags = ["--ca-file", ca_file];
        let place = "oci://registry.local:5000/charts/shop";
        reads(helm, place, &digest, &flags, &|cli, command| {
            cli.log_in(&logins);
            run(netns.wrap(&command))
        });
    }
    let page = std::fs::read_to_string(shop.dir().join("handoff/INSTALL.md")).unwrap();
    let command = page
        .lines()
        .find(|line| line.starts_with("helm upgrade"))
        .unwrap();
    let words: Vec<&str> = command.split_whitespace().skip(3).collect();
    for helm in HELMS {
        let cli = HelmCli::new(helm);
        cli.log_in(&logins);
        let mut template = cli.command();
        template.arg("template");
        template.args(words.iter().filter(|word| **word != "--create-namespace"));
        template.current_dir(shop.dir().join("handoff"));
        let rendered = run(netns.wrap(&template)).success().text();
        assert!(
            rendered.contains("registry.local:5000/shop/web:1.0"),
            "{helm}: {rendered}"
        );
    }
    let check = shop.bundle(&["check", "handoff", "--ca-file", ca_file]);
    run(netns.wrap(&check)).success();
    let check = shop.bundle(&["check", "handoff"]);
    run(netns.wrap(&check)).exits(6);
}
