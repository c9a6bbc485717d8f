//! Several versions of a chart in one bundle, and images that are pinned or carried in part.

use serde_json::Value;

use crate::support::{
    chart_repository::ChartRepository,
    distribution::{Options, Registry},
    helm::{ChartFiles, HELMS, HelmCli},
    shop::{HOST, RENDERED, Shop, chart, chart_of, images_of},
    tools::{require, run},
};

#[test]
fn two_versions_of_a_chart_travel_together_and_keep_their_locks() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    for version in ["1.0.0", "2.0.0"] {
        repository.publish(&chart_of(version));
    }
    let url = repository.url();
    // The first constraint takes 2.0.0, but 1.0.0 is within it, too.
    shop.spec(&format!(
        "charts:\n  - {{name: shop, repo: \"{url}\", version: \">=1\", release: new}}\n  \
         - {{name: shop, repo: \"{url}\", version: \"1.0.0\", release: old}}\n"
    ));
    let plan = shop.plan(&[]);
    let of = |list: &str, key: &str| -> Vec<String> {
        let all = plan[list].as_array().unwrap().iter();
        all.map(|item| item[key].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("charts", "version"), ["1.0.0", "2.0.0"]);
    let charts = of("releases", "chart");
    assert!(
        charts[0].ends_with("shop:2.0.0") && charts[1].ends_with("shop:1.0.0"),
        "{charts:?}"
    );
    run(shop.making(&["plan", "--check"])).success();
    repository.publish(&chart_of("3.0.0"));
    shop.create("shop.bundle", &[]).success();
    let registry = Registry::start(Options::default());
    shop.load("shop.bundle", registry.host(), &["--handoff", "handoff"])
        .success();
    assert_eq!(registry.client().tags("charts/shop"), ["1.0.0", "2.0.0"]);
    let page = std::fs::read_to_string(shop.dir().join("handoff/INSTALL.md")).unwrap();
    let commands: Vec<_> = page
        .lines()
        .filter(|line| line.contains(" --version "))
        .collect();
    assert!(commands[0].contains("--install new ") && commands[0].contains("--version 2.0.0 "));
    assert!(commands[1].contains("--install old ") && commands[1].contains("--version 1.0.0 "));

    // The other way round, with the same lock: what fits is found, whatever its place.
    shop.spec(&format!(
        "charts:\n  - {{name: shop, repo: \"{url}\", version: \"1.0.0\", release: old}}\n  \
         - {{name: shop, repo: \"{url}\", version: \">=1\", release: new}}\n"
    ));
    let created = shop.create("other.bundle", &[]).exits(2);
    assert!(
        created.stderr.contains("the lock does not fit"),
        "{created:?}"
    );
}

/// A chart that pins its images by digest, in the ways that charts do.
fn pinned(shop: &Shop) -> ChartFiles {
    let digest = |name: &str| shop.images[name].digest;
    let (web, proxy) = (digest("shop/web:1.0"), digest("shop/proxy:3"));
    ChartFiles::new("pinned", "1.0.0")
        .file(
            "values.yaml",
            &format!(
                "web: {{registry: {HOST}, repository: shop/web, tag: \"1.0\", digest: \"{web}\"}}\n\
                 proxy: \"{HOST}/shop/proxy@{proxy}\"\n"
            ),
        )
        .file(
            "templates/pod.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: web\n      \
             image: \"{{ .Values.web.registry }}/{{ .Values.web.repository }}:{{ .Values.web.tag }}@{{ .Values.web.digest }}\"\n    \
             - name: proxy\n      image: {{ .Values.proxy | quote }}\n",
        )
}

#[test]
fn images_that_a_chart_pins_are_found_by_their_digests_inside() {
    require!("docker-registry", "helm3", "helm4");
    let shop = Shop::new();
    let archive = shop.archive(&pinned(&shop));
    shop.create("pinned.bundle", &["--chart", &archive])
        .success();
    // The tags move on, here and there: a digest is a digest.
    let other = &shop.images["shop/web:2.0"];
    shop.upstream.client().push("shop/web", "1.0", other);
    let registry = Registry::start(Options::default());
    let loaded = shop.load("pinned.bundle", registry.host(), &["--handoff", "handoff"]);
    let loaded = loaded.success();
    assert!(
        loaded.stderr.contains("2 of 2 images will be found"),
        "{loaded:?}"
    );
    assert!(!loaded.stderr.contains("only by a mirror"), "{loaded:?}");
    let web = shop.images["shop/web:1.0"].digest;
    for helm in HELMS {
        let cli = HelmCli::new(helm);
        let record = std::fs::read(shop.dir().join("handoff/handoff.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let overlay = record["releases"][0]["overlay"].as_str().unwrap();
        let overlay = shop.dir().join("handoff").join(overlay);
        let place = format!("oci://{}/charts/pinned", registry.host());
        let arguments = [
            "template",
            "x",
            &place,
            "--plain-http",
            "-f",
            overlay.to_str().unwrap(),
        ];
        let rendered = cli.run(&arguments).success().text();
        let expected = format!("{}/shop/web:1.0@{web}", registry.host());
        assert!(rendered.contains(&expected), "{helm}: {rendered}");
    }
    let registry_client = registry.client();
    registry_client.push("shop/web", "1.0", other);
    run(shop.bundle(&["check", "handoff"])).success();
}

#[test]
fn an_index_of_which_a_part_travels_is_checked_by_what_was_sent() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let arguments = ["--chart", &archive, "--platform", "linux/amd64"];
    let plan = shop.plan(&arguments);
    assert_eq!(images_of(&plan), RENDERED);
    shop.create("part.bundle", &arguments).success();
    let registry = Registry::start(Options::default());
    let loaded = shop.load("part.bundle", registry.host(), &["--handoff", "handoff"]);
    let loaded = loaded.success();
    assert!(loaded.stderr.contains("the smaller index"), "{loaded:?}");
    assert!(
        loaded.stderr.contains("4 of 4 images will be found"),
        "{loaded:?}"
    );
    let checked = run(shop.bundle(&["check", "handoff", "--format", "json"]))
        .success()
        .json();
    let images = checked["releases"][0]["images"].as_array().unwrap();
    assert!(
        images
            .iter()
            .all(|image| image["good"] == Value::Bool(true)),
        "{images:?}"
    );
}

#[test]
fn a_signed_bundle_of_charts_passes_every_other_command() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let keygen = ["keygen", "--no-password", "--output-key-prefix", "maker"];
    run(shop.bundle(&keygen)).success();
    let create = ["create", "--key", "maker.key", "--chart", &archive, "-o"];
    run(shop.making(&[&create[..], &["shop.bundle"]].concat())).success();
    let piped = run(shop.making(&[&create[..], &["-"]].concat())).success();
    let file = std::fs::read(shop.dir().join("shop.bundle")).unwrap();
    assert!(piped.stdout == file, "the same bytes by a pipe");
    run(shop.bundle(&["verify", "shop.bundle", "--key", "maker.pub"])).success();
    let inspected = run(shop.bundle(&["inspect", "shop.bundle"]))
        .success()
        .text();
    for text in ["shop", "1.2.3+0", "registry.example.com/shop/web:1.0"] {
        assert!(inspected.contains(text), "{text}: {inspected}");
    }
    let key = ["--key", "maker.pub"];
    let extract = ["extract", "shop.bundle", "-o", "layout"];
    run(shop.bundle(&[&extract[..], &key].concat())).success();
    let inspected = run(shop.bundle(&["inspect", "shop.bundle", "--format", "json"]));
    let inspected = inspected.success().json();
    assert_eq!(inspected["charts"][0]["version"], "1.2.3+0", "{inspected}");
}

#[test]
fn what_is_to_be_set_inside_is_looked_at_before_the_medium_leaves() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    // Nothing is rendered, so nothing but this would tell.
    let spec = |path: &str, value: &str| {
        shop.spec(&format!(
            "charts:\n  - chart: {archive}\n    discover: none\n    images: [{HOST}/shop/web:1.0]\n    \
             relocate: {{'{path}': '{value}'}}\n"
        ));
    };
    for path in ["imagePullSecrets[5].name", "image[", "image[x]", "image\\"] {
        spec(path, "{pullSecret}");
        shop.refuses(&[], 2, &["cannot set `", "helm --set"]);
    }
    spec("imagePullSecrets[0].name", "{pullSecret} of {registry}");
    shop.create("set.bundle", &[]).success();
    let registry = Registry::start(Options::default());
    let to = format!("{}/mirror", registry.host());
    shop.load("set.bundle", &to, &["--handoff", "handoff"])
        .success();
    let overlay = std::fs::read_to_string(shop.dir().join("handoff/values-shop.yaml")).unwrap();
    let overlay: Value = serde_saphyr::from_str(&overlay).unwrap();
    let expected = format!("registry-credentials of {to}");
    assert_eq!(overlay["imagePullSecrets"][0]["name"], expected);
}
