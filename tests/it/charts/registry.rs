//! Charts of OCI registries: what a publisher pushed is what arrives, byte for byte.

use crate::support::{
    distribution::{Options, Registry},
    helm::{ChartFiles, HELMS, HelmCli},
    pki::TestCa,
    shop::{RENDERED, Shop, artifact_of, chart, chart_of, images_of},
    tools::require,
};

const TAG: &str = "1.2.3_0";

/// Pushes a chart as its publisher would.
#[track_caller]
fn push(helm: &'static str, registry: &Registry, chart: &ChartFiles) {
    let cli = HelmCli::new(helm);
    let file = cli.home().path().join(chart.archive_name());
    std::fs::write(&file, chart.archive()).unwrap();
    let place = format!("oci://{}/team/charts", registry.host());
    let arguments = ["push", file.to_str().unwrap(), &place, "--plain-http"];
    cli.run(&arguments).success();
}

#[test]
fn q68_what_helm_pushed_arrives_byte_for_byte_however_it_is_named() {
    require!("docker-registry", "helm3", "helm4");
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        let source = Registry::start(Options::default());
        push(helm, &source, &chart());
        push(helm, &source, &chart_of("1.0.0"));
        let name = format!("oci://{}/team/charts/shop", source.host());
        let served = source.client().manifest("team/charts/shop", TAG).unwrap();
        let digest = sneakernet::oci::Digest::sha256_of(&served.bytes);
        for (number, arguments) in [
            vec!["--chart", &name, "--version", "1.2.3+0"],
            vec!["--chart", &format!("{name}:1.2.3+0")],
            vec!["--chart", &name, "--version", "^1.1"],
            vec!["--chart", &name],
            vec!["--chart", &format!("{name}@{digest}")],
            vec![
                "--chart",
                "shop",
                "--repo",
                &format!("oci://{}/team/charts", source.host()),
            ],
        ]
        .into_iter()
        .enumerate()
        {
            let plan = shop.plan(&arguments);
            assert_eq!(images_of(&plan), RENDERED, "{arguments:?}");
            let locked = &plan["charts"][0];
            assert_eq!(locked["version"], "1.2.3+0", "{arguments:?}");
            assert_eq!(locked["digest"], digest.to_string(), "{arguments:?}");
            if number != 1 && number != 4 {
                continue;
            }
            let file = format!("{number}.bundle");
            shop.create(&file, &arguments).success();
            let destination = Registry::start(Options::default());
            shop.load(&file, destination.host(), &[]).success();
            let client = destination.client();
            assert_eq!(client.tags("charts/shop"), [TAG]);
            let arrived = client.manifest("charts/shop", TAG).unwrap();
            assert_eq!(arrived, served);
            let arrived = client.manifest("charts/shop", &digest.to_string());
            assert_eq!(arrived.unwrap(), served);
            let manifest: serde_json::Value = serde_json::from_slice(&served.bytes).unwrap();
            for layer in manifest["layers"].as_array().unwrap() {
                let digest = layer["digest"].as_str().unwrap().parse().unwrap();
                let content = client.blob("charts/shop", digest).unwrap();
                assert_eq!(content, chart().archive(), "the only layer");
            }
        }
    }
}

#[test]
fn a_guarded_registry_over_tls_gives_its_charts_to_whom_it_knows() {
    require!("docker-registry", "htpasswd", "helm3");
    let shop = Shop::new();
    let ca = TestCa::new();
    let options = Options::default().with_tls(&ca, &[]);
    let source = Registry::start(options.with_user("publisher", "password"));
    let image = artifact_of(&chart());
    source.client().push("team/charts/shop", TAG, &image);
    let name = format!("oci://{}/team/charts/shop", source.host());
    let ca_file = ca.write_to(shop.dir());
    let arguments = ["--chart", &name, "--ca-file", ca_file.to_str().unwrap()];
    shop.refuses(&arguments, 5, &["401", "bundle login"]);
    shop.home
        .log_in(&[(source.host(), "publisher", "password")]);
    let plan = shop.plan(&arguments);
    assert_eq!(images_of(&plan), RENDERED);
}

#[test]
fn what_is_not_in_a_registry_is_answered_with_what_is() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let source = Registry::start(Options::default());
    push("helm3", &source, &chart_of("1.2.3"));
    push("helm3", &source, &chart_of("2.0.0"));
    let name = format!("oci://{}/team/charts/shop", source.host());
    let with = |version: &'static str| ["--chart", &name, "--version", version].map(str::to_owned);
    let refuses = |arguments: [String; 4], code: i32, because: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        shop.refuses(&arguments, code, because);
    };
    refuses(with("1.2.4"), 5, &["no version `1.2.4`", "1.2.3"]);
    refuses(with(">=3"), 5, &["no version `>=3`", "2.0.0"]);
    let unknown = format!("oci://{}/team/charts/shopp", source.host());
    shop.refuses(&["--chart", &unknown], 5, &["shopp"]);
    let nobody = format!("{name}@sha256:{}", "0".repeat(64));
    shop.refuses(&["--chart", &nobody], 5, &["0000"]);
    // An image is no chart.
    let image = format!("oci://{}/shop/db:2.1", shop.upstream.host());
    shop.refuses(&["--chart", &image], 5, &["not a Helm chart"]);
}
