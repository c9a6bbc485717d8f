//! Bundles with charts are reproducible: from the lock, from one run to the next, and over a kill.

use std::time::Duration;

use crate::support::{
    chart_repository::ChartRepository,
    helm::HELMS,
    images::{Compression, Family, ImageBuilder, Layer},
    samples::EPOCH,
    shop::{HOST, Shop, chart},
    tools::{PATIENCE, Running, require, run, wait_until},
};

const LATER: &str = "1800000000";

/// A project with a chart of this repository and values.
fn project(shop: &Shop, repository: &ChartRepository) {
    shop.write("values.yaml", "image: {tag: \"1.0\"}\n");
    shop.spec(&format!(
        "charts:\n  - {{name: shop, repo: \"{}\", version: \"1.x\", values: [values.yaml]}}\n",
        repository.url()
    ));
}

fn published() -> ChartRepository {
    let repository = ChartRepository::start();
    repository.publish(&chart());
    repository
}

#[test]
fn two_runs_make_the_same_bytes_with_either_helm_and_with_random_output() {
    require!("helm3", "helm4");
    let shop = Shop::new();
    let random = "kind: Secret\napiVersion: v1\nmetadata: {name: r}\n\
                  stringData: {password: {{ randAlphaNum 20 | quote }}, made: {{ now | quote }}}\n";
    let archive = shop.archive(&chart().file("templates/random.yaml", random));
    let mut bundles = Vec::new();
    for (number, helm) in HELMS.iter().chain(&HELMS).enumerate() {
        let file = format!("{number}.bundle");
        let create = ["create", "--unsigned", "-o", &file, "--chart", &archive];
        let mut create = shop.making(&create);
        create.env("BUNDLE_HELM", crate::support::helm::helm_path(helm));
        run(create).success();
        bundles.push(std::fs::read(shop.dir().join(&file)).unwrap());
    }
    assert!(bundles.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_bundle_from_its_lock_is_the_same_at_any_time() {
    require!("helm3");
    let shop = Shop::new();
    let repository = published();
    project(&shop, &repository);
    shop.plan(&[]);
    let create = |file: &str, epoch: &str, more: &[&str]| {
        let arguments = [&["create", "--unsigned", "-o", file], more].concat();
        let mut create = shop.making(&arguments);
        create.env("SOURCE_DATE_EPOCH", epoch);
        run(create).success();
        std::fs::read(shop.dir().join(file)).unwrap()
    };
    let first = create("first.bundle", EPOCH, &[]);
    // A newer chart within the constraint, and a tag that has moved, change nothing.
    repository.publish(&crate::support::shop::chart_of("1.9.0"));
    let client = shop.upstream.client();
    client.push("shop/web", "1.0", &shop.images["shop/web:2.0"]);
    assert!(first == create("second.bundle", LATER, &[]));
    assert!(first != create("third.bundle", LATER, &["--no-lock"]));
    // The lock in the bundle is the one beside bundle.yaml.
    let inside = run(shop.bundle(&["inspect", "first.bundle", "--raw", "lock"]));
    let beside = std::fs::read_to_string(shop.dir().join("bundle.lock")).unwrap();
    assert_eq!(inside.success().text(), beside.trim_end());
}

#[test]
fn plan_check_says_what_has_moved() {
    require!("helm3");
    let shop = Shop::new();
    let repository = published();
    project(&shop, &repository);
    shop.plan(&[]);
    let lock = std::fs::read(shop.dir().join("bundle.lock")).unwrap();
    let check = || run(shop.making(&["plan", "--check"]));
    check().success();
    let moved = |because: &[&str]| {
        let checked = check().exits(5);
        for text in because {
            assert!(checked.stderr.contains(text), "{text}: {checked:?}");
        }
        let now = std::fs::read(shop.dir().join("bundle.lock")).unwrap();
        assert!(now == lock, "--check writes nothing");
    };
    // Values with another image.
    shop.write("values.yaml", "image: {tag: \"2.0\"}\n");
    let web = |tag: &str| format!("{HOST}/shop/web:{tag}");
    moved(&[
        &format!("{}  is new", web("2.0")),
        &format!("{}  is no longer asked for", web("1.0")),
        "release default/shop  values.yaml: was ",
    ]);
    // Values with the same images.
    shop.write("values.yaml", "image: {tag: \"1.0\"}\n# a word\n");
    moved(&["release default/shop  values.yaml: was "]);
    shop.write("values.yaml", "image: {tag: \"1.0\"}\n");
    check().success();
    // An image that is listed beside.
    let spec = std::fs::read_to_string(shop.dir().join("bundle.yaml")).unwrap();
    shop.write(
        "bundle.yaml",
        format!("{spec}images: [{HOST}/shop/tester:1]\n"),
    );
    moved(&[&format!("{HOST}/shop/tester:1  is new")]);
    // A chart that is no longer asked for.
    shop.spec(&format!("images: [{}]\n", web("1.0")));
    moved(&[
        "/charts/shop:1.2.3_0  is no longer asked for",
        "release default/shop  is no longer asked for",
    ]);
    shop.write("bundle.yaml", spec);
    check().success();
    // The chart, published again under its version.
    repository.publish(&chart().file("README.md", "changed in silence\n"));
    moved(&["/charts/shop:1.2.3_0  was "]);
}

#[test]
fn create_does_not_take_what_the_lock_does_not_have() {
    require!("helm3");
    let shop = Shop::new();
    let repository = published();
    project(&shop, &repository);
    shop.plan(&[]);
    let refused = |code: i32, because: &[&str]| {
        let before = shop.listing();
        let created = shop.create("shop.bundle", &[]).exits(code);
        for text in because {
            assert!(created.stderr.contains(text), "{text}: {created:?}");
        }
        assert_eq!(shop.listing(), before);
    };
    shop.write("values.yaml", "image: {tag: \"1.0\"}\n# a word\n");
    refused(
        2,
        &[
            "the release shop",
            "other values",
            "bundle plan",
            "--no-lock",
        ],
    );
    shop.write("values.yaml", "image: {tag: \"1.0\"}\n");
    let spec = std::fs::read_to_string(shop.dir().join("bundle.yaml")).unwrap();
    shop.write("bundle.yaml", spec.replace("1.x", "2.x"));
    refused(2, &["it is not in the lock, or its version is not"]);
    shop.write("bundle.yaml", spec);
    repository.publish(&chart().file("README.md", "changed in silence\n"));
    refused(5, &["version 1.2.3+0 was", "bundle plan"]);
    repository.publish(&chart());
    shop.create("shop.bundle", &[]).success();
}

#[test]
fn a_run_with_a_chart_goes_on_after_a_kill() {
    require!("helm3");
    let shop = Shop::with("helm3", "GET:/blobs/:slow=8000000");
    let repository = published();
    project(&shop, &repository);
    let large = ImageBuilder::new(Family::Oci, "linux/amd64")
        .layer(&Layer::sample(1, "stored", 24 << 20, Compression::Gzip))
        .build();
    shop.upstream.client().push("shop/web", "1.0", &large);
    let create = |file: &str, epoch: &str| {
        let mut create = shop.making(&["create", "--unsigned", "--no-lock", "-o", file]);
        create.env("SOURCE_DATE_EPOCH", epoch);
        create
    };
    run(create("whole.bundle", EPOCH)).success();
    let whole = std::fs::read(shop.dir().join("whole.bundle")).unwrap();
    let mut running = Running::start(create("killed.bundle", EPOCH), Vec::new());
    let state = shop.dir().join("killed.bundle.resume");
    wait_until("there is something to resume", PATIENCE, || state.exists());
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.is_running(), "too fast for this test");
    running.kill();
    drop(running);
    assert!(!shop.dir().join("killed.bundle").exists());
    // The chart is another one now: what was begun is what is finished.
    repository.publish(&crate::support::shop::chart_of("1.9.0"));
    let again = run(create("killed.bundle", LATER)).success();
    assert!(again.stderr.contains("resuming"), "{again:?}");
    assert!(std::fs::read(shop.dir().join("killed.bundle")).unwrap() == whole);
}
